"""Kills a server again and again under load and checks that nothing acknowledged is lost and nothing applied twice.

    crash.py --server "COMMAND" --protos DIR [--kills N] [--seed S] [--failpoints LIST]

Writers put increasing numbers to keys of their own and count each put with a compare-and-set transaction on a counter
of their own. After each kill the server is started again on its data, and then: every acknowledged put is there (or a
later one that was in flight), every counter equals the acknowledged increments or one more where an answer was lost,
the revision never goes back, and HashKV of the store equals that of the same store after one more restart. With
--failpoints the server is started with COVEY_FAILPOINTS set to one of the comma-separated places, so that it ends itself
there. Prints "N passed, N failed", a pass being a kill survived.
"""

import argparse
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import grpc

from peers import UNLIMITED, Server, compile_protos, free_port

KV = "/etcdserverpb.KV/"


class Member:
    """A server that can be killed and started again on the same data."""

    def __init__(self, command):
        self.command = command
        self.directory = tempfile.mkdtemp(prefix="covey-crash-")
        self.client, self.peer = free_port(), free_port()
        self.process = None

    def start(self, failpoint=None):
        url, peer = "http://127.0.0.1:%d" % self.client, "http://127.0.0.1:%d" % self.peer
        environment = dict(os.environ)
        if failpoint:
            environment["COVEY_FAILPOINTS"] = failpoint
        self.log = open(os.path.join(self.directory, "log"), "ab")
        self.process = subprocess.Popen(
            shlex.split(self.command) + [
                "--name", "n1", "--data-dir", os.path.join(self.directory, "data"),
                "--listen-client-urls", url, "--advertise-client-urls", url,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", "n1=" + peer, "--snapshot-count", "500"],
            stdout=self.log, stderr=self.log, env=environment)

    def wait_ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                if Server.get(self, "/health")[0] == 200:
                    return True
            except OSError:
                pass
            time.sleep(0.01)
        return False

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def tail(self):
        with open(os.path.join(self.directory, "log"), "rb") as f:
            return f.read().decode(errors="replace")[-3000:]


class Writer(threading.Thread):
    """Puts 1, 2, 3... to one key and increments one counter, one request at a time, until the server is gone."""

    def __init__(self, number, member, methods, state):
        super().__init__(daemon=True)
        self.number, self.member, self.methods, self.state = number, member, methods, state
        self.problem = None

    def run(self):
        channel = grpc.insecure_channel("127.0.0.1:%d" % self.member.client, options=UNLIMITED)
        put, txn = channel.unary_unary(KV + "Put"), channel.unary_unary(KV + "Txn")
        me = self.state
        try:
            while True:
                request = self.methods[KV + "Put"][0]()
                me["sent"] += 1
                request.key, request.value = b"put/%d" % self.number, b"%d" % me["sent"]
                put(request.SerializeToString(), timeout=20)
                me["acknowledged"] = me["sent"]
                request = self.methods[KV + "Txn"][0]()
                c = request.compare.add()
                c.key, c.target, c.value = b"count/%d" % self.number, 3, b"%d" % me["count"]
                p = request.success.add().request_put
                p.key, p.value = b"count/%d" % self.number, b"%d" % (me["count"] + 1)
                me["pending"] = True
                answer = self.methods[KV + "Txn"][1]()
                answer.ParseFromString(txn(request.SerializeToString(), timeout=20))
                me["pending"] = False
                if not answer.succeeded:
                    self.problem = "counter %d was not %d" % (self.number, me["count"])
                    return
                me["count"] += 1
        except grpc.RpcError:
            pass
        finally:
            channel.close()


class Crash:
    def __init__(self, command, methods, seed, writers):
        self.member, self.methods, self.random = Member(command), methods, random.Random(seed)
        self.states = [{"sent": 0, "acknowledged": 0, "count": 0, "pending": False} for _ in range(writers)]
        self.revision = 0
        self.passed, self.failed = 0, 0

    def call(self, method, request):
        with grpc.insecure_channel("127.0.0.1:%d" % self.member.client, options=UNLIMITED) as channel:
            answer = self.methods[method][1]()
            answer.ParseFromString(channel.unary_unary(method)(request.SerializeToString(), timeout=30))
            return answer

    def value(self, key):
        request = self.methods[KV + "Range"][0]()
        request.key = key
        answer = self.call(KV + "Range", request)
        self.seen_revision = answer.header.revision
        return int(answer.kvs[0].value) if answer.kvs else 0

    def check(self):
        """What is wrong with the store after a restart; empty when nothing is."""
        wrong = []
        for number, me in enumerate(self.states):
            put, count = self.value(b"put/%d" % number), self.value(b"count/%d" % number)
            if not me["acknowledged"] <= put <= me["sent"]:
                wrong.append("put/%d is %d; acknowledged %d, sent %d" % (number, put, me["acknowledged"], me["sent"]))
            if count not in ((me["count"], me["count"] + 1) if me["pending"] else (me["count"],)):
                wrong.append("count/%d is %d, wanted %d%s" % (number, count, me["count"], " or one more" if me["pending"] else ""))
            me.update(acknowledged=put, count=count, pending=False)
            if self.seen_revision < self.revision:
                wrong.append("revision went back from %d to %d" % (self.revision, self.seen_revision))
            self.revision = self.seen_revision
        return wrong

    def prepare(self):
        for number in range(len(self.states)):
            request = self.methods[KV + "Put"][0]()
            request.key, request.value = b"count/%d" % number, b"0"
            self.call(KV + "Put", request)

    def hash(self):
        method = "/etcdserverpb.Maintenance/HashKV"
        return self.call(method, self.methods[method][0]()).hash

    def run(self, kills, failpoints):
        self.member.start()
        if not self.member.wait_ready():
            print("the server does not start:\n" + self.member.tail())
            self.failed += 1
            return
        self.prepare()
        for number in range(kills):
            writers = [Writer(i, self.member, self.methods, s) for i, s in enumerate(self.states)]
            for w in writers:
                w.start()
            armed = bool(failpoints) and number % 2 == 1
            if armed:
                try:
                    self.member.process.wait(5)
                except subprocess.TimeoutExpired:
                    pass
            else:
                threading.Event().wait(self.random.uniform(0.005, 0.25))
            self.member.kill()
            for w in writers:
                w.join(30)
            next_point = self.random.choice(failpoints) if failpoints and number % 2 == 0 else None
            self.member.start()
            wrong = [w.problem for w in writers if w.problem]
            wrong += self.check() if self.member.wait_ready() else ["does not start again:\n" + self.member.tail()]
            if not wrong and number % 10 == 0:
                before = self.hash()
                self.member.kill()
                self.member.start()
                if not self.member.wait_ready() or self.hash() != before:
                    wrong.append("HashKV differs after one more restart")
            if wrong:
                self.failed += 1
                print("FAIL at kill %d%s: %s" % (number, " (failpoint)" if armed else "", "; ".join(wrong)), flush=True)
                if "does not start" in wrong[-1]:
                    return
            else:
                self.passed += 1
            if self.random.randrange(8) == 0:
                request = self.methods[KV + "Compact"][0]()
                request.revision = self.revision
                try:
                    self.call(KV + "Compact", request)
                except grpc.RpcError:
                    pass
            if next_point:
                self.member.kill()
                self.member.start(next_point)
                self.member.wait_ready()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--server", required=True)
    p.add_argument("--protos", required=True)
    p.add_argument("--kills", type=int, default=50)
    p.add_argument("--writers", type=int, default=4)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    p.add_argument("--failpoints", default="")
    a = p.parse_args()
    print("seed %d, %d kills" % (a.seed, a.kills), flush=True)
    with tempfile.TemporaryDirectory() as out:
        crash = Crash(a.server, compile_protos(a.protos, out), a.seed, a.writers)
        try:
            crash.run(a.kills, [f for f in a.failpoints.split(",") if f])
        finally:
            if crash.member.process:
                crash.member.kill()
            if not crash.failed:
                shutil.rmtree(crash.member.directory, ignore_errors=True)
    print("%d passed, %d failed" % (crash.passed, crash.failed))
    sys.exit(1 if crash.failed else 0)


if __name__ == "__main__":
    main()
