#!/usr/bin/env python3
"""Runs recorded etcdctl invocations with our program against a real etcd and compares what they print.

    replay.py --etcd PATH --ctl PATH [--recordings FILE] [--only SEQ,SEQ] [--port N]

Every line of a recording is one invocation (Data/README.md). Expected differences are in `DEVIATIONS`, each with its
reason; everything else that differs is an error, and the exit status is 1.
"""

import argparse
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

# What we do differently on purpose: sequence number -> reason. A deviation that has gone is an error too.
DEVIATIONS = {
    "single-node-3.5.1.jsonl": {
        144: "comparing leases works; 3.5.1 crashes",
        411: "restoring belongs to `covey util`; etcdctl's restore is deprecated",
        417: "offline defragmentation belongs to `covey util`; the flag is deprecated",
    },
}
# Masks that the recordings lack: sizes of files, and the lease of two seconds that may have run out.
MORE_MASKS = {seq: ["db-size"] for seq in range(395, 399)} | {seq: ["lease-count"] for seq in range(215, 219)}
# What is compared after removing what one program says and the other need not.
STDERR_NOISE = re.compile(r"(?m)^(\{\"level\".*|\d{4}[-/]\d\d[-/]\d\d.*|(WARNING|INFO|ERROR): .*|stty: .*)\n?")
VERSION = re.compile(r"\b3\.5\.\d+\b")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Replay:
    def __init__(self, arguments):
        self.arguments = arguments
        with open(arguments.recordings) as lines:
            records = [json.loads(line) for line in lines]
        self.header, self.records = records[0], records[1:]
        self.masks = {name: mask for name, mask in self.header["masks"].items() if "regex" in mask}
        self.captures = {}
        self.folder = tempfile.mkdtemp(prefix="ctl-replay-")
        self.program = os.path.join(self.folder, "bin", "etcdctl")
        os.mkdir(os.path.dirname(self.program))
        os.symlink(os.path.abspath(arguments.ctl), self.program)

    # Ids are made from the advertised peer URL, which stays; where clients connect is a free port of the same width.
    def start_server(self):
        argv = [os.path.abspath(self.arguments.etcd)] + self.header["server_argv"][1:]
        url = argv[argv.index("--listen-client-urls") + 1]
        self.ports = (url.rsplit(":", 1)[1], str(free_port()))
        for option in ("--listen-client-urls", "--advertise-client-urls"):
            argv[argv.index(option) + 1] = self.here(argv[argv.index(option) + 1])
        argv[argv.index("--listen-peer-urls") + 1] = f"http://127.0.0.1:{free_port()}"
        self.server = subprocess.Popen(
            argv + ["--log-level", "error", "--unsafe-no-fsync"], cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=open(os.path.join(self.folder, "server.log"), "w"))
        url = argv[argv.index("--listen-client-urls") + 1]
        host, port = url.split("//")[1].split(":")
        for _ in range(200):
            try:
                socket.create_connection((host, int(port)), 0.1).close()
                return
            except OSError:
                if self.server.poll() is not None:
                    break
                time.sleep(0.05)
        sys.exit("the server did not start: " + open(os.path.join(self.folder, "server.log")).read()[-2000:])

    def here(self, text):
        return text.replace(":" + self.ports[0], ":" + self.ports[1])

    def substitute(self, text):
        text = self.here(text)
        return re.sub(r"\$\{(\w+)\}", lambda m: self.captures.get(m.group(1), m.group(0)), text)

    def start(self, argv, environment, stdin):
        return subprocess.Popen(
            [self.program] + [self.substitute(word) for word in argv], cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": self.folder, "ETCDCTL_API": "3", **environment},
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, record):
        environment = {name: self.substitute(value) for name, value in record.get("env", {}).items()}
        if not record.get("streaming"):
            feed = self.substitute(record["stdin"]).encode()
            process = self.start(record["argv"], environment, subprocess.PIPE if feed else subprocess.DEVNULL)
            try:
                out, error = process.communicate(feed or None, timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                out, error = process.communicate()
                return out, error, "time-out"
            return out, error, process.returncode
        return self.run_streaming(record, environment)

    def run_streaming(self, record, environment):
        feed = self.substitute(record["stdin"]).encode()
        process = self.start(record["argv"], environment, subprocess.PIPE if feed else subprocess.DEVNULL)
        if feed:
            process.stdin.write(feed)
            process.stdin.flush()
            if record.get("stop_signal") == "none":
                process.stdin.close()
                process.stdin = None
        time.sleep(0.5)
        for during in record.get("during", []):
            self.start(during["argv"], {}, subprocess.DEVNULL).communicate()
        time.sleep(0.5)
        if record.get("stop_signal") not in (None, "none") and process.poll() is None:
            process.send_signal(getattr(signal, record["stop_signal"]))
        try:
            out, error = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            out, error = process.communicate()
            return out, error, "time-out"
        return out, error, process.returncode

    def masked(self, data, record, stream):
        text = data.decode("utf-8", "surrogateescape").replace(":" + self.ports[1], ":" + self.ports[0])
        if stream == "stderr":
            text = STDERR_NOISE.sub("", text)
        for name in record.get("nondeterministic", []) + MORE_MASKS.get(record["seq"], []):
            mask = self.masks.get(name)
            if mask and mask["stream"] in ("any", stream):
                text = re.sub(mask["regex"], "#" + name, text)
        if "lease-count" in MORE_MASKS.get(record["seq"], []):
            text = re.sub(r"found \d leases|(,?\{\"id\":|\n?(\"ID\" : )?)#lease-id\}?", "", text)
        if "added-member-id" in record.get("nondeterministic", []) and "\x00" < text[:1] < " ":
            text = re.sub("\x08[\udc80-\udcff\u0080-\uffff]{1,10}[\x00-\x7f]?\x1a", "#id", text)
        text = VERSION.sub("3.5.x", text)
        lines = text.split("\n")
        if {"order", "key-order", "member-order", "leader"} & set(record.get("nondeterministic", [])):
            lines = sorted(lines)
        if "key-order" in record.get("nondeterministic", []):
            lines = ["".join(sorted(line)) for line in lines]
        # Boxes are as wide as what is in them.
        if set(record.get("nondeterministic", [])) & {"timing", "db-size", "raft-counters", "added-member-id", "hash"}:
            lines = [re.sub(r"[-+ ]{2,}", " ", line) for line in lines]
        return "\n".join(lines)

    def recorded(self, record, stream):
        if stream + "_b64" in record:
            return base64.b64decode(record[stream + "_b64"])
        return record.get(stream, "").encode("utf-8", "surrogateescape")

    def differences(self, record, out, error, code):
        found = []
        loose = record.get("nondeterministic", [])
        if code != record["exit"] and not ("exit" in loose and code in (-2, 3, record["exit"])):
            found.append(("exit", record["exit"], code))
        for stream, data in (("stdout", out), ("stderr", error)):
            if stream in loose or ("pointer" in loose and stream == "stderr"):
                continue
            want = self.masked(self.recorded(record, stream), record, stream)
            have = self.masked(data, record, stream)
            if want != have:
                found.append((stream, want, have))
        return found

    def all(self):
        known = DEVIATIONS.get(os.path.basename(self.arguments.recordings), {})
        only = {int(n) for n in self.arguments.only.split(",")} if self.arguments.only else None
        run = bad = 0
        for record in self.records:
            if record["tool"] != "etcdctl":
                continue
            out, error, code = self.run(record)
            for name, pattern in record.get("capture", {}).items():
                match = re.search(pattern, out.decode("utf-8", "replace"))
                if match:
                    self.captures[name] = match.group(1)
                    if name == "MEM4D":
                        self.captures["MEM4"] = format(int(match.group(1)), "x")
            if only and record["seq"] not in only:
                continue
            run += 1
            found = self.differences(record, out, error, code)
            seq = record["seq"]
            if seq in known:
                if not found:
                    bad += 1
                    print(f"{seq}: no longer deviates, but should: {known[seq]}")
                continue
            if found:
                bad += 1
                print(f"--- {seq}: {record['argv']}")
                for stream, want, have in found:
                    print(f"  {stream} wanted: {want!r}\n  {stream} got:    {have!r}")
                if self.arguments.verbose:
                    print(error.decode("utf-8", "replace"))
        print(f"{run} invocations, {bad} differ, {len(known)} known deviations")
        return bad

    def end(self):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--etcd", required=True)
    parser.add_argument("--ctl", required=True)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--recordings", default=os.path.join(here, "..", "Data", "single-node-3.5.1.jsonl"))
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    replay = Replay(parser.parse_args())
    replay.start_server()
    try:
        bad = replay.all()
    finally:
        replay.end()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
