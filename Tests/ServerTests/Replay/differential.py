"""Sends the same random operations to two fresh servers and compares every answer.

    differential.py --a "COMMAND" --b "COMMAND" --protos DIR [--operations N] [--seed S]

Operations: puts, deletes, ranges with every option, transactions (nested too), leases, compactions, HashKV, users and
permissions, and watchers that stay open throughout, whose events are compared in order. The seed is printed first and
replays the run. Prints "N passed, N failed" where passed counts compared answers.
"""

import argparse
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading

import grpc

from peers import ALWAYS_MASKED, UNLIMITED, Server, compile_protos, masked
from google.protobuf import json_format

KV, LEASE, AUTH = "/etcdserverpb.KV/", "/etcdserverpb.Lease/", "/etcdserverpb.Auth/"
MAINTENANCE = "/etcdserverpb.Maintenance/"


class EndOfServer(Exception):
    """One of the servers is no more; there is nothing left to compare."""


class Side:
    """One of the two servers, with its clients and watchers."""

    def __init__(self, name, command, methods):
        self.name, self.methods = name, methods
        self.server = Server(command, ["--bcrypt-cost", "4"])
        self.channel = grpc.insecure_channel("127.0.0.1:%d" % self.server.client, options=UNLIMITED)
        self.calls, self.tokens, self.watchers = {}, {}, []

    def start(self, method, request, user=None):
        """Sends a request; `finish` waits for its answer."""
        if method not in self.calls:
            self.calls[method] = self.channel.unary_unary(method)
        metadata = [("token", self.tokens[user])] if user else None
        return self.calls[method].future(request, timeout=30, metadata=metadata)

    def call(self, method, request, user=None):
        return self.finish(method, self.start(method, request, user))

    def finish(self, method, future):
        """(status code, message, decoded answer)"""
        try:
            data = future.result()
        except grpc.RpcError as e:
            return e.code().value[0], e.details(), None
        message = self.methods[method][1]()
        message.ParseFromString(data)
        return 0, "", message

    def watch(self, create):
        watcher = Watcher(self, create)
        self.watchers.append(watcher)
        return watcher

    def stop(self):
        for w in self.watchers:
            w.call.cancel()
        self.channel.close()
        self.server.stop()
        self.server.remove()


class Watcher:
    """A watch on a stream of its own; collects events in the order in which they come."""

    def __init__(self, side, create):
        self.sending, self.events, self.end = queue.Queue(), [], None
        self.changed = threading.Condition()
        method = "/etcdserverpb.Watch/Watch"
        self.response = side.methods[method][1]
        self.sending.put(create)

        def requests():
            while True:
                item = self.sending.get()
                if item is None:
                    return
                yield item
        self.call = side.channel.stream_stream(method)(requests())
        threading.Thread(target=self.read, daemon=True).start()
        with self.changed:
            self.changed.wait_for(lambda: self.events or self.end, 20)

    def read(self):
        try:
            for data in self.call:
                message = self.response()
                message.ParseFromString(data)
                with self.changed:
                    if message.created or message.canceled:
                        self.events.append(("answer", message.created, message.canceled, message.compact_revision,
                                            message.watch_id, message.cancel_reason))
                    for e in message.events:
                        self.events.append(("event", e.SerializeToString(deterministic=True).hex(), e.kv.mod_revision))
                    if message.canceled:
                        self.end = "canceled"
                    self.changed.notify_all()
        except grpc.RpcError as e:
            with self.changed:
                self.end = str(e.code())
                self.changed.notify_all()

    def wait_for_revision(self, revision):
        """Waits until an event of this revision or later has come; false when it does not."""
        def there():
            return self.end or any(e[0] == "event" and e[2] >= revision for e in reversed(self.events[-300:]))
        with self.changed:
            return self.changed.wait_for(there, 20)


class Comparison:
    def __init__(self, a, b, methods, seed):
        self.sides, self.methods, self.random = (a, b), methods, random.Random(seed)
        self.passed, self.failed, self.done = 0, 0, 0
        self.revision, self.compacted = 1, 0
        self.keys = [b"k%d" % i for i in range(12)] + [b"dir/%d/%d" % (i, j) for i in range(3) for j in range(4)] + [b"\x00", b"\xff\xff"]
        self.leases, self.granted = [], []
        self.opened = 0
        self.nests = True

    # -- comparing

    def both(self, method, request, user=None, masks=()):
        data = request.SerializeToString()
        futures = [side.start(method, data, user) for side in self.sides]
        answers = [side.finish(method, future) for side, future in zip(self.sides, futures)]
        self.done += 1
        gone = [side.name for side in self.sides if side.server.process.poll() is not None]
        if gone:
            self.fail("%s: server %s ended itself:\n%s" % (method, gone, "".join(
                side.server.text() for side in self.sides if side.name in gone)))
            raise EndOfServer()
        shown = []
        for code, text, message in answers:
            decoded = None
            if message is not None:
                decoded = masked(json_format.MessageToDict(message, preserving_proto_field_name=True),
                                 ALWAYS_MASKED + list(masks))
                if getattr(request, "sort_target", 0) and "kvs" in decoded:
                    decoded["kvs"] = self.untied(decoded["kvs"], request)
            shown.append((code, text, decoded))
        if shown[0] == shown[1]:
            self.passed += 1
        else:
            self.fail("%s %s (user %s)\n  %s: %s\n  %s: %s" % (
                method, json_format.MessageToJson(request, indent=None)[:1500], user,
                self.sides[0].name, str(shown[0])[:1500], self.sides[1].name, str(shown[1])[:1500]))
        message = answers[0][2]
        if message is not None and message.HasField("header"):
            self.revision = max(self.revision, message.header.revision)
        return answers

    @staticmethod
    def untied(kvs, request):
        """Pairs with equal sort keys in the order of their keys; the order of the sort keys themselves stays."""
        name = [None, "version", "create_revision", "mod_revision", "value"][request.sort_target]
        groups = []
        for kv in kvs:
            if groups and groups[-1][0].get(name) == kv.get(name):
                groups[-1].append(kv)
            else:
                groups.append([kv])
        return [kv for group in groups for kv in sorted(group, key=lambda kv: kv["key"])]

    def fail(self, text):
        self.failed += 1
        print("FAIL after %d operations: %s" % (self.done, text), flush=True)

    def message(self, method):
        return self.methods[method][0]()

    # -- random parts

    def key(self):
        return self.random.choice(self.keys)

    def span(self):
        """(key, range_end)"""
        kind = self.random.randrange(8)
        if kind < 3:
            return self.key(), b""
        if kind == 3:
            return self.key(), b"\x00"
        if kind == 4:
            return b"\x00", b"\x00"
        if kind == 5:
            return b"dir/", b"dir0"
        ends = [self.key(), self.key()]
        # What an inverted range needs permission for differs; it selects nothing.
        return tuple(ends if self.nests else sorted(ends))

    def value(self):
        return bytes(self.random.getrandbits(8) for _ in range(self.random.choice([0, 1, 5, 40, 300])))

    def some_revision(self):
        return self.random.choice([0, 0, 0, self.revision, max(0, self.revision - self.random.randrange(40)),
                                   self.compacted, self.revision + 1, -3])

    def some_lease(self):
        return self.random.choice(self.leases + [0, 0, 0, 777]) if self.random.randrange(3) == 0 else 0

    def fill_put(self, p, in_txn=False):
        p.key = self.key()
        p.value = self.value()
        p.lease = self.some_lease() if self.nests else 0
        p.prev_kv = self.random.randrange(3) == 0 and (self.nests or not in_txn)
        # 3.5.1 ends itself when a transaction deletes a key and then puts it with an ignore flag.
        if in_txn:
            return
        if self.random.randrange(12) == 0:
            p.ignore_value = True
            if self.random.randrange(6):
                p.value = b""
        if self.random.randrange(12) == 0:
            p.ignore_lease = True
            if self.random.randrange(6):
                p.lease = 0

    def fill_delete(self, d):
        d.key, d.range_end = self.span()
        d.prev_kv = self.random.randrange(3) == 0

    def fill_range(self, r, in_txn=False):
        r.key, r.range_end = self.span()
        if not in_txn or self.random.randrange(8) == 0:
            r.revision = self.some_revision()
        r.limit = self.random.choice([0, 0, 0, 1, 2, 5, -1])
        # Equal sort keys may come in any order: `untied` puts them into one, and nothing may be cut off between them.
        r.sort_target = 0 if in_txn else self.random.choice([0, 0, 0, 1, 2, 3, 4])
        if r.sort_target:
            r.limit = 0
        r.sort_order = self.random.randrange(3)
        r.serializable = self.random.randrange(3) == 0
        r.keys_only = self.random.randrange(6) == 0
        r.count_only = self.random.randrange(8) == 0
        for name in ("min_mod_revision", "max_mod_revision", "min_create_revision", "max_create_revision"):
            if self.random.randrange(12) == 0:
                setattr(r, name, max(1, self.revision - self.random.randrange(60)))

    def fill_compare(self, c):
        c.key = self.key()
        if self.random.randrange(4) == 0:
            c.key, c.range_end = self.span()
        c.result = self.random.randrange(4)
        c.target = self.random.randrange(5)
        number = self.random.choice([0, 1, 2, self.revision, max(0, self.revision - self.random.randrange(20))])
        if c.target == 0:
            c.version = number
        elif c.target == 1:
            c.create_revision = number
        elif c.target == 2:
            c.mod_revision = number
        elif c.target == 3:
            c.value = self.value()
        else:
            c.lease = self.random.choice(self.leases + [0])

    def fill_txn(self, t, depth=0):
        for _ in range(self.random.choice([0, 1, 1, 2, 3])):
            self.fill_compare(t.compare.add())
        for branch in (t.success, t.failure):
            for _ in range(self.random.choice([0, 1, 2, 3, 4])):
                op = branch.add()
                kind = self.random.randrange(10)
                if kind < 4:
                    self.fill_put(op.request_put, in_txn=True)
                elif kind < 6:
                    self.fill_delete(op.request_delete_range)
                elif kind < 9 or depth == 2 or not self.nests:
                    self.fill_range(op.request_range, in_txn=True)
                else:
                    self.fill_txn(op.request_txn, depth + 1)

    # -- operations

    def step(self, user=None):
        kind = self.random.randrange(100)
        if kind < 35:
            m, fill = KV + "Put", self.fill_put
        elif kind < 45:
            m, fill = KV + "DeleteRange", self.fill_delete
        elif kind < 70:
            m, fill = KV + "Range", self.fill_range
        elif kind < 90:
            m, fill = KV + "Txn", self.fill_txn
        else:
            self.rare(self.random.randrange(8), user)
            return
        request = self.message(m)
        # 3.5.1 does not look into nested transactions, nor at a put's lease or its wish for the previous value, when it
        # checks permissions of transactions; current releases, and ours, do.
        self.nests = user in (None, "root")
        fill(request)
        self.both(m, request, user)

    def rare(self, kind, user):
        if kind <= 1:
            request = self.message(LEASE + "LeaseGrant")
            request.TTL, request.ID = self.random.choice([600, 1000, 0, -4]) + 3000, self.random.randrange(1, 40)
            answers = self.both(LEASE + "LeaseGrant", request, user and "root")
            if answers[0][0] == 0:
                self.leases.append(request.ID)
        elif kind == 2 and self.leases:
            request = self.message(LEASE + "LeaseRevoke")
            request.ID = self.random.choice(self.leases + [999])
            answers = self.both(LEASE + "LeaseRevoke", request, user and "root")
            if answers[0][0] == 0:
                self.leases.remove(request.ID)
        elif kind == 3 and self.leases:
            request = self.message(LEASE + "LeaseTimeToLive")
            request.ID, request.keys = self.random.choice(self.leases + [999]), True
            answers = self.both(LEASE + "LeaseTimeToLive", request, user and "root", masks=["TTL", "keys"])
            a, b = answers[0][2], answers[1][2]
            if a is not None and b is not None and sorted(a.keys) != sorted(b.keys):
                self.fail("keys of lease %d: %s and %s" % (request.ID, sorted(a.keys), sorted(b.keys)))
        elif kind == 4 and self.random.randrange(3) == 0 and self.done > self.opened + 300:
            # A watcher that still replays history would be cancelled on the one side and not on the other.
            request = self.message(KV + "Compact")
            request.revision = self.random.choice([self.revision - self.random.randrange(1, 30), self.compacted, self.revision + 5])
            request.physical = True
            answers = self.both(KV + "Compact", request, user and "root")
            if answers[0][0] == 0:
                self.compacted = request.revision
        elif kind == 5:
            request = self.message(MAINTENANCE + "HashKV")
            # Later releases answer at the compacted revision itself, 3.5.1 does not.
            request.revision = self.random.choice([0, self.revision, self.random.randint(self.compacted + 1, max(self.compacted + 1, self.revision))])
            self.both(MAINTENANCE + "HashKV", request, user and "root", masks=["hash_revision"])
        elif kind == 6 and user is None:
            self.open_watcher()
        elif kind == 7 and user is None and self.random.randrange(10) == 0:
            self.settle()

    def open_watcher(self):
        if len(self.sides[0].watchers) >= 40:
            return
        request = self.message("/etcdserverpb.Watch/Watch")
        create = request.create_request
        create.key, create.range_end = self.random.choice([(self.key(), b""), (b"dir/", b"dir0"), (b"\x00", b"\x00"), (b"k", b"l"), (b"k5", b"\x00")])
        create.start_revision = self.random.choice([0, 0, 1, self.compacted, self.revision, max(1, self.revision - 20)])
        create.prev_kv = self.random.randrange(2) == 0
        create.watch_id = self.random.choice([0, 7])
        if self.random.randrange(4) == 0:
            create.filters.append(self.random.randrange(2))
        self.opened = self.done
        data = request.SerializeToString()
        for side in self.sides:
            side.watch(data)

    def settle(self):
        """Writes every key, deletes every key, and waits until each watcher has seen what it must of both."""
        last = []
        for deletes in (False, True):
            request = self.message(KV + "Txn")
            for k in self.keys:
                op = request.success.add()
                if deletes:
                    op.request_delete_range.key = k
                else:
                    op.request_put.key, op.request_put.value = k, b"settled"
            last.append(self.both(KV + "Txn", request)[0][2].header.revision)
        for number, (a, b) in enumerate(zip(self.sides[0].watchers, self.sides[1].watchers)):
            # A watcher that filters deletes sees the puts only.
            for w, side in ((a, self.sides[0]), (b, self.sides[1])):
                if not w.wait_for_revision(last[0]):
                    self.fail("watcher %d on %s does not see revision %d; last %s" % (number, side.name, last[0], w.events[-2:]))
        # Deletes come after the puts in every stream that has them; compare what both have in common and the lengths.
        for number, (a, b) in enumerate(zip(self.sides[0].watchers, self.sides[1].watchers)):
            wanted = max([e[2] for e in a.events + b.events if e[0] == "event"] or [0])
            a.wait_for_revision(wanted)
            b.wait_for_revision(wanted)
            self.done += 1
            if a.events == b.events:
                self.passed += 1
            else:
                at = next((i for i, (x, y) in enumerate(zip(a.events, b.events)) if x != y), min(len(a.events), len(b.events)))
                self.fail("watcher %d differs at event %d: %s and %s" % (number, at, a.events[at:at + 2], b.events[at:at + 2]))

    # -- users and permissions

    def enable_auth(self):
        def do(method, **fields):
            request = self.message(AUTH + method)
            for k, v in fields.items():
                setattr(request, k, v)
            return self.both(AUTH + method, request)
        do("UserAdd", name="root", password="r")
        do("UserGrantRole", user="root", role="root")
        for name in ("ann", "bob", "eve"):
            do("UserAdd", name=name, password=name)
            do("RoleAdd", name="role-" + name)
            do("UserGrantRole", user=name, role="role-" + name)
        for _ in range(14):
            self.grant(None)
        do("RoleList")
        do("UserList")
        for name in ("ann", "bob", "eve"):
            do("RoleGet", role="role-" + name)
            do("UserGet", name=name)
        do("AuthEnable")
        for side in self.sides:
            for name, password in (("root", "r"), ("ann", "ann"), ("bob", "bob"), ("eve", "eve")):
                request = self.message(AUTH + "Authenticate")
                request.name, request.password = name, password
                code, text, answer = side.call(AUTH + "Authenticate", request.SerializeToString())
                if code or name not in ("root", "ann", "bob", "eve"):
                    self.fail("authenticate %s on %s: %s" % (name, side.name, text))
                    return False
                side.tokens[name] = answer.token
        return True

    def grant(self, user):
        request = self.message(AUTH + "RoleGrantPermission")
        request.name = "role-" + self.random.choice(["ann", "bob", "eve"])
        key, end = self.span()
        if end not in (b"", b"\x00") and end <= key:
            end = b""
        request.perm.key, request.perm.range_end, request.perm.permType = key, end, self.random.randrange(3)
        self.granted.append((request.name, key, end))
        self.both(AUTH + "RoleGrantPermission", request, user)

    def change_permission(self):
        """Which errors come of which permissions depends on their mixture: it changes throughout."""
        if not self.granted or self.random.randrange(2):
            return self.grant("root")
        request = self.message(AUTH + "RoleRevokePermission")
        request.role, request.key, request.range_end = self.granted.pop(self.random.randrange(len(self.granted)))
        self.both(AUTH + "RoleRevokePermission", request, "root")

    def run(self, operations):
        while self.done < operations * 6 // 10 and self.failed < 20:
            self.step()
        self.settle()
        if self.enable_auth():
            while self.done < operations and self.failed < 20:
                if self.random.randrange(200) == 0:
                    self.change_permission()
                self.step(self.random.choice(["root", "ann", "bob", "eve"]))
            request = self.message(MAINTENANCE + "HashKV")
            self.both(MAINTENANCE + "HashKV", request, "root", masks=["hash_revision"])


def at_once(a):
    """Most of the time one waits for the other: a pair of servers and a client for each core."""
    share = (a.operations + a.jobs - 1) // a.jobs
    runs = [
        subprocess.Popen(
            [sys.executable, __file__, "--a", a.a, "--b", a.b, "--protos", a.protos, "--operations", str(share),
             "--seed", str(a.seed + job)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for job in range(a.jobs)]
    # All of one after all of the other: a replay line belongs to what is above it.
    outputs = [run.communicate()[0] for run in runs]
    print("".join(outputs), end="", flush=True)
    totals = [re.search(r"^(\d+) passed, (\d+) failed$", output, re.M) for output in outputs]
    print("%d passed, %d failed" % tuple(sum(int(t[part]) for t in totals if t) for part in (1, 2)))
    return 1 if any(run.returncode for run in runs) or not all(totals) else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--a", required=True)
    p.add_argument("--b", required=True)
    p.add_argument("--protos", required=True)
    p.add_argument("--operations", type=int, default=100000)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    p.add_argument("--jobs", type=int, default=1, help="pairs of servers at once, each with its share and a seed of its own")
    a = p.parse_args()
    if a.jobs > 1:
        sys.exit(at_once(a))
    print("seed %d, %d operations" % (a.seed, a.operations), flush=True)
    with tempfile.TemporaryDirectory() as out:
        methods = compile_protos(a.protos, out)
        one, two = Side("a", a.a, methods), Side("b", a.b, methods)
        try:
            comparison = Comparison(one, two, methods, a.seed)
            try:
                comparison.run(a.operations)
            except EndOfServer:
                pass
        finally:
            one.stop()
            two.stop()
    if comparison.failed:
        print("replay with --seed %d --operations %d" % (a.seed, a.operations))
    print("%d passed, %d failed" % (comparison.passed, comparison.failed))
    sys.exit(1 if comparison.failed else 0)


if __name__ == "__main__":
    main()
