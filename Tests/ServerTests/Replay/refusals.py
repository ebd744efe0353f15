"""What a server that cannot start says, beside a real one: for each command line the exit code, and the last words in the
log (level, message, error) or, where the flags cannot be read, the first line.

    refusals.py --server "PATH server" --real FOLDER [--protos FOLDER] [--only NAME]

Prints "N refusals agree"; or what differs, and ends with 1.
"""

import argparse
import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import tempfile

from peers import free_ports

FILES = {
    "scheme.yml": "listen-client-urls: foo://x\n", "duration.yml": "backend-batch-interval: 10m\n",
    "number.yml": "snapshot-count: abc\n",
}


def cases(taken):
    """Name, words, environment; PEER and CLIENT stand for free ports. Not here: what is refused only since 3.5.1, or in
    better words since."""
    peer, client = "http://127.0.0.1:PEER", "http://127.0.0.1:CLIENT"
    usual = {
        "--data-dir": "data", "--listen-peer-urls": peer, "--initial-advertise-peer-urls": peer, "--initial-cluster":
        "default=" + peer, "--listen-client-urls": client, "--advertise-client-urls": client,
    }

    def with_(*pairs, **env):
        words = dict(usual)
        words.update(zip(pairs[::2], pairs[1::2]))
        flat = []
        for name, value in words.items():
            flat += [name] if value is None else [name, value]
        return flat, env

    secure = client.replace("http:", "https:")
    return {
        "an unknown flag": (["--bogus"], {}),
        "a number": with_("--snapshot-count", "abc"),
        "a boolean": (["--pre-vote=x"], {}),
        "a duration": with_("--grpc-keepalive-timeout", "5"),
        "a word": (["extra"], {}),
        "a cluster state": with_("--initial-cluster-state", "bogus"),
        "an origin without port": with_("--cors", "http://x"),
        "a scheme": with_("--listen-client-urls", "foo://x"),
        "a path": with_("--listen-client-urls", "http://127.0.0.1:1/x"),
        "no port": with_("--listen-client-urls", "http://127.0.0.1"),
        "no advertised URL": (["--data-dir", "data", "--listen-client-urls", client], {}),
        "a name to listen on": with_("--listen-client-urls", "http://foo.com:29000"),
        "no advertised peer host": with_("--initial-advertise-peer-urls", "http://:1"),
        "no advertised client host": with_("--advertise-client-urls", "http://:1"),
        "two ways of bootstrap": with_("--discovery-srv", "x.y"),
        "two others": with_("--discovery", "http://x:1/t"),
        "heartbeat 0": with_("--heartbeat-interval", "0"),
        "election 0": with_("--election-timeout", "0"),
        "election too short": with_("--heartbeat-interval", "500"),
        "election too long": with_("--election-timeout", "60000"),
        "compaction mode": with_("--auto-compaction-mode", "bogus"),
        "retention": with_("--auto-compaction-retention", "abc"),
        "retention below zero": with_("--auto-compaction-retention", "-1"),
        "the old logger": with_("--logger", "capnslog"),
        "another logger": with_("--logger", "x"),
        "two outputs": with_("--log-outputs", "default,stderr"),
        "rotation without a file": with_("--enable-log-rotation", None),
        "no such file": (["--config-file", "nosuch.yml"], {}),
        "a scheme in a file": (["--config-file", "scheme.yml"], {}),
        "a duration in a file": (["--config-file", "duration.yml"], {}),
        "a number in a file": (["--config-file", "number.yml"], {}),
        "not its own name": with_("--name", "n1"),
        "a peer URL not advertised": with_("--initial-cluster", "default=http://127.0.0.1:1"),
        "fewer advertised than listed": with_("--initial-cluster", "default=%s,default=http://127.0.0.1:1" % peer),
        "an advertised URL not listed": with_("--initial-advertise-peer-urls", peer + ",http://127.0.0.1:9"),
        "one URL for two": with_("--initial-cluster", "default=%s,b=%s" % (peer, peer)),
        "a member without URL": with_("--initial-cluster", "default"),
        "a member's scheme": with_("--initial-cluster", "default=foo://x"),
        "https without certificate": with_("--listen-client-urls", secure),
        "a cipher": with_("--cipher-suites", "BOGUS"),
        "a token type": with_("--auth-token", "bogus"),
        "a token without method": with_("--auth-token", "jwt"),
        "a token's key": with_("--auth-token", "jwt,pub-key=/nonexistent,priv-key=/nonexistent,sign-method=RS256"),
        "a client port that is taken": with_("--listen-client-urls", "http://127.0.0.1:%d" % taken),
        "a peer port that is taken": with_("--listen-peer-urls", "http://127.0.0.1:%d" % taken),
        "v2 and not": with_("--enable-v2", None, "--v2-deprecation", "write-only"),
        "nobody to join": with_("--initial-cluster-state", "existing"),
        "a certificate that is not there": with_(
            "--cert-file", "/nonexistent", "--key-file", "/nonexistent", "--listen-client-urls", secure,
            "--advertise-client-urls", secure),
        "a member's certificate that is not there": with_(
            "--peer-cert-file", "/nonexistent", "--peer-key-file", "/nonexistent", "--listen-peer-urls",
            peer.replace("http:", "https:"), "--initial-advertise-peer-urls", peer.replace("http:", "https:"),
            "--initial-cluster", "default=" + peer.replace("http:", "https:")),
        "a certificate that is never valid": with_(
            "--auto-tls", None, "--self-signed-cert-validity", "0", "--listen-client-urls", secure, "--advertise-client-urls",
            secure),
        "a data directory that cannot be": with_("--data-dir", "/proc/nonexistent"),
        "a variable and a flag": with_(ETCD_DATA_DIR="y"),
        "a variable's number": with_(ETCD_SNAPSHOT_COUNT="abc"),
        "a variable's URL": ([], {"ETCD_LISTEN_PEER_URLS": "foo"}),
    }


def end_of(command, words, env):
    """Exit code, and the last words."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ETCD", "COVEY"))}
    with tempfile.TemporaryDirectory(prefix="covey-refusals-") as folder:
        for name, text in FILES.items():
            with open(folder + "/" + name, "w") as file:
                file.write(text)
        process = subprocess.Popen(
            command + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
            env=dict(clean, SWIFT_BACKTRACE="enable=no", **env))
        try:
            _, text = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return "does not end", []
    records, first = [], None
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            first = first or line
            continue
        if record.get("level") in ("warn", "error", "fatal"):
            records.append((record["level"], record["msg"], record.get("error", "")))
    if process.returncode == 2:
        return 2, [first]
    # What came before the end differs in what else there was to warn of.
    fatal = [r for r in records if r[0] == "fatal"]
    return process.returncode, fatal or records[-1:] or [first]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--real", required=True, help="the folder of a release")
    parser.add_argument("--protos")
    parser.add_argument("--only")
    options = parser.parse_args()
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    todo = cases(taken.getsockname()[1])
    ports = [str(port) for port in free_ports(2 * len(todo))]

    def compare(name):
        words, env = todo[name]
        at = 2 * list(todo).index(name)
        words = [w.replace("PEER", ports[at]).replace("CLIENT", ports[at + 1]) for w in words]
        here, there = end_of(options.server.split(" "), words, env), end_of([options.real + "/etcd"], words, env)
        return None if here == there else "%s\n  real %s\n  here %s" % (name, there, here)

    names = [n for n in todo if not options.only or options.only in n]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        wrong = [w for w in pool.map(compare, names) if w]
    if wrong:
        sys.exit("\n".join(wrong))
    print("%d refusals agree" % len(names))


if __name__ == "__main__":
    main()
