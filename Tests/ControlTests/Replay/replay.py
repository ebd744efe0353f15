#!/usr/bin/env python3
"""Runs recorded etcdctl invocations with our program against a real etcd and compares what they print.

    replay.py --etcd COMMAND --ctl PATH [--recordings FILE] [--only SEQ,SEQ]

It works the other way round too: `--etcd "covey server"` with a real etcdctl shows that our server looks like etcd to it.

Every line of a recording is one invocation (Data/README.md). Expected differences are in `DEVIATIONS`, each with its
reason; everything else that differs is an error, and the exit status is 1.
"""

import argparse
import base64
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "ServerTests", "Replay"))
from peers import free_port  # noqa: E402

# What we do differently on purpose: sequence number -> reason. A deviation that has gone is an error too.
DEVIATIONS = {
    "single-node-3.5.1.jsonl": {
        144: "comparing leases works; 3.5.1 crashes",
        417: "offline defragmentation belongs to `covey util`; the flag is deprecated",
    },
}
# The same where the server is ours and the tool the real one.
SERVER_DEVIATIONS = {
    "single-node-3.5.1.jsonl": {
        345: "whether auth is on is told to everybody, as by 3.7",
        361: "while auth is on the member list wants a user, as in 3.5.29",
        385: "a learner whose URL was changed stays a learner; 3.5.1 counts it among the voters then",
    },
}
# Masks that the recordings lack: sizes of files, and the lease of two seconds that may have run out.
MORE_MASKS = {seq: ["db-size"] for seq in range(395, 399)} | {seq: ["lease-count"] for seq in range(215, 219)}
# What is compared after removing what one program says and the other need not.
STDERR_NOISE = re.compile(r"(?m)^(\{\"level\".*|\d{4}[-/]\d\d[-/]\d\d.*|(WARNING|INFO|ERROR): .*|stty: .*)\n?")
VERSION = re.compile(r"\b3\.5\.\d+\b")


def in_any_order(text):
    """Members are listed by id, and that of an added one is new each time: one of sixteen comes before the first."""
    if "\x00" < text[:1] < " ":
        return "".join(sorted(text))
    member = re.compile(r'\{"ID":[^{}]*\}')
    members = iter(sorted(member.findall(text)))
    text = member.sub(lambda _: next(members), text)
    return re.sub(
        '(?m)^(ETCD_INITIAL_CLUSTER=")(.*)"$', lambda line: line[1] + ",".join(sorted(line[2].split(","))) + '"', text)


def unblocked():
    """What runs this may have blocked or ignored signals, which programs inherit: a shell's child has none blocked."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Replay:
    def __init__(self, arguments):
        self.arguments = arguments
        with open(arguments.recordings) as lines:
            records = [json.loads(line) for line in lines]
        self.header, self.records = records[0], records[1:]
        self.masks = {name: mask for name, mask in self.header["masks"].items() if "regex" in mask}
        # Ids are random: one in eight is a digit shorter than those that were recorded.
        if "lease-id" in self.masks:
            mask = self.masks["lease-id"]
            mask["regex"] = mask["regex"].replace("[0-9a-f]{16}", "[0-9a-f]{13,16}").replace(r"\d{18,19}", r"\d{16,19}")
        self.captures = {}
        self.folder = tempfile.mkdtemp(prefix="ctl-replay-")
        self.program = os.path.join(self.folder, "bin", "etcdctl")
        os.mkdir(os.path.dirname(self.program))
        os.symlink(os.path.abspath(arguments.ctl), self.program)

    def server_program(self):
        program, *words = shlex.split(self.arguments.etcd)
        return [os.path.abspath(program)] + words

    # Ids are made from the advertised peer URL, which stays; where clients connect is a free port of the same width.
    def start_server(self):
        argv = self.server_program() + self.header["server_argv"][1:]
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

    def start(self, argv, environment, stdin, out=subprocess.PIPE, error=subprocess.PIPE):
        return subprocess.Popen(
            [self.program] + [self.substitute(word) for word in argv], cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": self.folder, "ETCDCTL_API": "3", **environment},
            stdin=stdin, stdout=out, stderr=error, preexec_fn=unblocked)

    def run(self, record):
        environment = {name: self.substitute(value) for name, value in record.get("env", {}).items()}
        if not record.get("streaming"):
            feed = self.substitute(record.get("stdin", "")).encode()
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
        feed = self.substitute(record.get("stdin", "")).encode()
        wanted = len(self.recorded(record, "stdout"))
        watchers = self.watchers() + max(1, feed.count(b"watch "))
        files = [open(os.path.join(self.folder, name), "w+b") for name in ("streaming.out", "streaming.err")]
        process = self.start(
            record["argv"], environment, subprocess.PIPE if feed else subprocess.DEVNULL, files[0], files[1])
        if feed:
            process.stdin.write(feed)
            process.stdin.flush()
            if record.get("stop_signal") == "none":
                process.stdin.close()
                process.stdin = None
        if "watch" in record["argv"] or "-l" in record["argv"]:
            self.wait(process, lambda: self.watchers() >= watchers)
        for during in record.get("during", []):
            self.start(during["argv"], {}, subprocess.DEVNULL).communicate()
        self.wait(process, lambda: os.path.getsize(files[0].name) >= wanted)
        status = None
        # What failed when it was recorded ended before the signal came, and may take longer to get there now.
        ends_itself = record["exit"] > 0
        if record.get("stop_signal") not in (None, "none") and not ends_itself and process.poll() is None:
            process.send_signal(getattr(signal, record["stop_signal"]))
        try:
            # Standard input stays open until the process is gone: its end would be news.
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            status = "time-out"
        if process.stdin:
            process.stdin.close()
        texts = []
        for file in files:
            file.seek(0)
            texts.append(file.read())
            file.close()
        return texts[0], texts[1], process.returncode if status is None else status

    def wait(self, process, condition, seconds=15):
        """Until it comes true, the process ends, or the time is over: then the comparison says what is missing."""
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end and not condition():
            time.sleep(0.02)

    def watchers(self):
        """How many watches the server has, by its own account."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/metrics") as page:
            for line in page.read().decode().split("\n"):
                if line.startswith("etcd_debugging_mvcc_watcher_total "):
                    return int(float(line.split()[1]))
        return 0

    def masked(self, data, record, stream):
        text = data.decode("utf-8", "surrogateescape")
        if hasattr(self, "ports"):
            text = text.replace(":" + self.ports[1], ":" + self.ports[0])
        if stream == "stderr":
            text = STDERR_NOISE.sub("", text)
        for name in record.get("nondeterministic", []) + MORE_MASKS.get(record["seq"], []):
            mask = self.masks.get(name)
            if mask and mask["stream"] in ("any", stream):
                text = re.sub(mask["regex"], "#" + name, text)
        if 395 <= record["seq"] <= 398 and stream == "stdout" and "single" in self.arguments.recordings:
            # The hash loses its leading zeros, which the recorded mask does not know.
            text = re.sub(r"\b[0-9a-f]{4,7}\b(?= *[|,])", "#hash", text, count=1)
        if "lease-count" in MORE_MASKS.get(record["seq"], []):
            text = re.sub(r"found \d leases|(,?\{\"id\":|\n?(\"ID\" : )?)#lease-id\}?", "", text)
        if "added-member-id" in record.get("nondeterministic", []) and "\x00" < text[:1] < " ":
            text = re.sub(".\x08[\u0080-\U0010ffff]{1,10}[\x00-\x7f]?\x1a", "#id", text)
        text = VERSION.sub("3.5.x", text)
        if "added-member-id" in record.get("nondeterministic", []):
            text = in_any_order(text)
        lines = text.split("\n")
        if {"order", "key-order", "member-order", "leader", "added-member-id"} & set(record.get("nondeterministic", [])):
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
        ours = self.arguments.etcd.endswith(" server")
        known = (SERVER_DEVIATIONS if ours else DEVIATIONS).get(os.path.basename(self.arguments.recordings), {})
        only = {int(n) for n in self.arguments.only.split(",")} if self.arguments.only else None
        run = bad = 0
        for record in self.records:
            if record.get("tool", "etcdctl") != "etcdctl":
                continue
            self.before(record["seq"])
            out, error, code = self.run(record)
            for name, pattern in record.get("capture", {}).items():
                # An id of fewer digits, as one of sixteen has, is filled up with blanks.
                match = re.search(pattern.replace("Member (", "Member +("), out.decode("utf-8", "replace"))
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

    def before(self, seq):
        """What happened beside the recorded invocations."""

    def end(self):
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class ClusterReplay(Replay):
    """Three members; m1 leads at first, as it did when this was recorded."""

    def start_server(self):
        self.clients = {str(27790 + n): str(free_port()) for n in range(3)}
        self.members = []
        initial = ",".join(f"m{n}=http://127.0.0.1:{27800 + n}" for n in range(3))
        for n in range(3):
            client = f"http://127.0.0.1:{self.clients[str(27790 + n)]}"
            self.members.append(subprocess.Popen(
                self.server_program() + ["--name", f"m{n}", "--data-dir", f"m{n}.etcd",
                 "--listen-client-urls", client, "--advertise-client-urls", client,
                 "--listen-peer-urls", f"http://127.0.0.1:{27800 + n}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{27800 + n}",
                 "--initial-cluster", initial, "--initial-cluster-token", "rec3", "--log-level", "error",
                 "--unsafe-no-fsync"],
                cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        every = "--endpoints=" + ",".join(f"127.0.0.1:{27790 + n}" for n in range(3))
        for _ in range(100):
            if self.tool([every, "put", "ready", "1"]).returncode == 0:
                break
        self.tool([every, "del", "ready"])
        self.tool([every, "move-leader", "138901faa9c73b71"])
        self.captures = {"FOLEP": self.here("127.0.0.1:27790"), "FOLLOWER": "3e97691411bfe19f"}

    def here(self, text):
        for recorded, port in getattr(self, "clients", {}).items():
            text = text.replace(":" + recorded, ":" + port)
        return text

    def masked(self, data, record, stream):
        text = data.decode("utf-8", "surrogateescape")
        for recorded, port in self.clients.items():
            text = text.replace(":" + port, ":" + recorded)
        if "leader" in record["nondeterministic"]:
            text = re.sub(r"true|false", "#bool", text)
        if record["seq"] < 17 or 24 <= record["seq"] <= 37:
            # Two revisions were made to find out when the cluster was ready.
            text = re.sub(r'("[Rr]evision" ?: ?)\d+', r"\1#", text)
        if record["seq"] in (9, 10, 11):
            text = re.sub(r'\b\d{8,10}\b|"compact_revision":-?\d+|[-+ ]+', "#", text)
        if record["seq"] == 35:
            text = re.sub(r"\d+", "#", text)
        if record["seq"] in (16, 27):
            text = ""
        if record["seq"] == 36:
            text = "\n".join(sorted(text.split("\n")))
        if record["seq"] in (13, 25):
            text = re.sub(r'"member_id":\d+', "#", text)
        if record["seq"] in (15, 25, 26):
            text = "\n".join(line for line in text.split("\n") if "MemberID" not in line)
        if record["seq"] == 25 or 31 <= record["seq"] <= 34:
            text = re.sub(r'"?memberID"?:\d+', "memberID:#", text)
        if record["seq"] in (3, 31, 34, 39):
            text = re.sub(r"(\d+,? \|? *){3}", "# ", text)
        text = re.sub(r'("raft_term":|"RaftTerm" : )\d+', r"\1#", text)
        if record["seq"] == 6:
            text = "\n".join(sorted(re.split(r"(?=\{)|[],]", text)))
        return super().masked(text.encode("utf-8", "surrogateescape"), record, stream)

    def tool(self, argv, feed=None):
        return subprocess.run(
            [self.program] + [self.here(word) for word in argv], input=feed, capture_output=True, timeout=60,
            cwd=self.folder)

    def before(self, seq):
        if seq == 23:
            # Filling the stores until every member is out of space takes chance; the alarms can also be raised by hand.
            for n in range(10):
                self.tool(["--endpoints=127.0.0.1:27790", "put", f"big{n}", "x"])
            for member in ("7170820668863525960", "4510189086752891295", "1407658534631848817"):
                alarm = json.dumps({"action": "ACTIVATE", "memberID": member, "alarm": "NOSPACE"}).encode()
                urllib.request.urlopen(self.here("http://127.0.0.1:27790/v3/maintenance/alarm"), alarm).read()
        if seq == 38:
            for member in self.members[1:]:
                member.terminate()
                member.wait()

    def end(self):
        for member in self.members:
            if member.poll() is None:
                member.kill()
                member.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--etcd", required=True)
    parser.add_argument("--ctl", required=True)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--recordings", default=os.path.join(here, "..", "Data", "single-node-3.5.1.jsonl"))
    parser.add_argument("--only", default="")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    kind = ClusterReplay if "cluster" in os.path.basename(arguments.recordings) else Replay
    replay = kind(arguments)
    replay.start_server()
    try:
        bad = replay.all()
    finally:
        replay.end()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
