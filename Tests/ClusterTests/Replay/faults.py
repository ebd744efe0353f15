#!/usr/bin/env python3
"""Members under concurrent clients while some are killed, paused or lose their disks; is every history linearizable?

    faults.py [--seconds N] [--seed S] [--members 3|5] [--tls yes|no] [--quota MEGABYTES] [NAME...]

Three or five members, with TLS and client certificates on both ports or without, with a quota that is exceeded now and
then (faults go on under the alarm) or without: what is not given on the command line changes from stretch to stretch of a
run, the seed says where it begins. Each client works on a few registers through any member: writes of values never used before, linearizable reads,
compare-and-set transactions. What a client does not hear back about may have happened at any later time. A seed decides
what fails when; threads and the network are not replayed.
"""

import itertools
import random
import subprocess
import threading
import time

import grpc

import checker
from cluster import Failure, Node, Violation, expect, scenario_main, until, words

CLIENTS, KEYS = 8, 4
# The server says that the request was never proposed, or the connection was never made.
NEVER_HAPPENED = (
    "failed to connect", "Connection refused", "etcdserver: no leader", "etcdserver: too many requests",
    "etcdserver: mvcc: database space exceeded")


class Client(threading.Thread):
    """One operation after another on random registers and members; remembers when each began and ended."""

    def __init__(self, cluster, number, seed, values, registers):
        super().__init__(daemon=True)
        self.cluster, self.number, self.random, self.values = cluster, number, random.Random(seed * 1000 + number), values
        self.registers = registers
        self.history, self.stopped, self.seen, self.errors = [], False, {}, {}

    def run(self):
        while not self.stopped:
            nodes = list(self.cluster)
            # Mostly its own member, now and then another, paused or dead ones included: clients do not know.
            node = nodes[self.number % len(nodes)] if self.random.random() < 0.6 else self.random.choice(nodes)
            self.once(node, self.random.choice(self.registers))

    def once(self, node, key):
        kind = self.random.choice(("write", "read", "read", "swap"))
        argument, result, end = None, None, None
        began = time.monotonic()
        try:
            if kind == "write":
                argument = next(self.values)
                node.put(key, argument, seconds=2)
            elif kind == "read":
                value = node.get(key, seconds=2)
                result = int(value) if value is not None else None
            else:
                argument = (self.seen.get(key), next(self.values))
                result = self.swap(node, key, *argument)
            end = time.monotonic()
        except grpc.RpcError as error:
            said = words(error)
            self.errors[said] = self.errors.get(said, 0) + 1
            if kind == "read" or any(text in said for text in NEVER_HAPPENED):
                time.sleep(0.01)
                return
        except ValueError:
            return  # The channel was closed before: the member has been replaced.
        if end is not None:
            self.seen[key] = result if kind == "read" else argument if kind == "write" else argument[1] if result else self.seen.get(key)
        self.history.append((key, (began, end, kind, argument, result)))

    def swap(self, node, key, old, new):
        request = node.type("KV/Txn")()
        compare = request.compare.add()
        compare.key = key.encode()
        if old is None:
            compare.target, compare.create_revision = 1, 0
        else:
            compare.target, compare.value = 3, b"%d" % old
        put = request.success.add().request_put
        put.key, put.value = key.encode(), b"%d" % new
        return node.call("KV/Txn", message=request, seconds=2).succeeded


class Load:
    """The clients, and the judgement over what they saw. Registers are never used again: what an earlier load left under
    way must not appear in them."""
    count = itertools.count(1)

    def __init__(self, cluster, seed):
        values, number = itertools.count(1), next(Load.count)
        registers = ["r%d/%d" % (number, key) for key in range(KEYS)]
        self.clients = [Client(cluster, n, seed, values, registers) for n in range(CLIENTS)]
        for client in self.clients:
            client.start()

    def operations(self):
        return sum(len(c.history) for c in self.clients)

    def last_end(self):
        return max((c.history[-1][1][1] or 0 for c in self.clients if c.history), default=0)

    def stop(self):
        for client in self.clients:
            client.stopped = True
        for client in self.clients:
            client.join(15)

    def judge(self):
        """Number of operations checked; a Failure names the first register whose history cannot be."""
        known = 0
        for key in sorted({k for c in self.clients for k, _ in c.history}):
            history = [o for c in self.clients for k, o in c.history if k == key]
            known += len(history)
            problem = checker.check(history)
            if problem:
                value, operations = problem
                lines = "\n".join("  %.6f %s %s %s -> %s" % (
                    o[0], "%.6f" % o[1] if o[1] else "never", o[2], o[3], o[4]) for o in sorted(operations)[:30])
                raise Violation("history of %s is not linearizable: with %s there, none of these fits:\n%s" % (key, value, lines))
        return known

    def unknown(self):
        return sum(o[1] is None for c in self.clients for _, o in c.history)

    def errors(self):
        total = {}
        for client in self.clients:
            for text, count in client.errors.items():
                text = text.split(" ipv4")[0].split("; last")[0][:80]
                total[text] = total.get(text, 0) + count
        return total


def write_gap(c, break_leader):
    """How long no client heard of a success, from the moment the leader goes; only measured, never demanded."""
    leader = c.leader()
    broken = time.monotonic()
    break_leader(leader)
    others = [n for n in c if n is not leader and n.running and not n.paused]
    # What a member passes on to a leader that is gone is lost, and its client waits for nothing: so a new put every while.
    method = "/etcdserverpb.KV/Put"
    request, answer = c.programs.methods[method]
    calls = [n.open().unary_unary(method, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
             for n in others]
    flying = []
    while time.monotonic() - broken < 30:
        flying += [call.future(request(key=b"gap", value=b"1"), timeout=5) for call in calls]
        time.sleep(0.02)
        for put in [p for p in flying if p.done()]:
            flying.remove(put)
            if put.code() == grpc.StatusCode.OK:
                for other in flying:
                    other.cancel()
                return time.monotonic() - broken
    raise Failure("nobody leads 30 s after %s, the leader, was gone" % leader.name)


def recovered(c, load):
    """After each fault all members are back and the clients are served: with reads at least, while the alarm is raised."""
    for node in c:
        if node.paused:
            node.resume()
        elif not node.running:
            node.start()
    c.ready(health="/health?exclude=NOSPACE")
    count = load.operations()
    until("clients are served again", lambda: load.operations() > count + 20, 30)


KINDS = ("kill leader", "kill leader", "kill follower", "pause leader", "pause follower", "kill all", "pause then kill",
         "stop leader", "kill two", "full disk", "full disk", "slow disk")
# The write gap cannot be measured while nobody may write.
UNDER_ALARM = ("kill follower", "pause follower", "kill all", "pause then kill", "kill two", "full disk", "slow disk")


def fault(c, load, rng, gaps, kinds=KINDS):
    kind = rng.choice(kinds)
    if kind == "kill leader":
        gaps.append(write_gap(c, Node.kill))
    elif kind == "pause leader":
        gaps.append(write_gap(c, Node.pause))
        time.sleep(rng.uniform(0, 2))
    elif kind == "stop leader":
        write_gap(c, Node.stop)
    elif kind == "kill follower":
        rng.choice(c.followers()).kill()
        time.sleep(rng.uniform(0, 1.5))
    elif kind == "pause follower":
        rng.choice(c.followers()).pause()
        time.sleep(rng.uniform(0, 3))
    elif kind == "pause then kill":
        one, other = rng.sample(list(c), 2)
        one.pause()
        time.sleep(rng.uniform(0, 1))
        other.kill()
        time.sleep(rng.uniform(0, 1))
        one.resume()
        other.start()
    elif kind == "full disk":
        # Wherever it meets the full disk a member ends itself, having acknowledged nothing that it did not write.
        node = rng.choice(list(c))
        node.kill()
        node.start(failpoints=rng.choice((
            "log.write=error:ENOSPC@%d+", "log.write=short:100@%d", "log.sync=error:EIO@%d", "store.commit=error:ENOSPC@%d+",
            "log.write=exit@%d", "log.synced=exit@%d", "store.committed=exit@%d")) % rng.randrange(1, 60))
        try:
            node.process.wait(4)
        except subprocess.TimeoutExpired:
            node.kill()
    elif kind == "slow disk":
        node = rng.choice(list(c))
        node.kill()
        node.start(failpoints="log.sync=delay:%d@5+" % rng.choice((20, 100, 400)))
        if rng.random() < 0.5:
            try:
                c.lead(node, 3)
            except Failure:
                pass
        time.sleep(rng.uniform(0.5, 2))
        node.kill()
    elif kind == "kill two":
        for node in rng.sample(list(c), 2):
            node.kill()
        time.sleep(rng.uniform(0, 1))
    else:
        for node in c:
            node.kill()
    return kind


ALARM, NOSPACE, FILL = "Maintenance/Alarm", 1, b"fill/"


def alarm_under_faults(c, load, rng, shape):
    """The store is filled until nobody may write; what fails meanwhile must not bring writes back, nor lose the way out."""
    piece = bytes(shape.quota << 14)  # A sixty-fourth of the quota.

    def full():
        for number in range(128):
            try:
                c.leader().put(FILL + b"%d" % number, piece, seconds=5)
            except grpc.RpcError as error:
                if "database space exceeded" in words(error):
                    return True
        return False
    until("the quota is exceeded", full, 40)
    until("the alarm is raised", lambda: len(c.leader().call(ALARM).alarms) > 0)
    done = []

    def refused(node):
        try:
            node.put("no", "room", seconds=5)
        except grpc.RpcError as error:
            return "database space exceeded" in words(error)
        raise Violation("%s took a put under the alarm" % node.name)
    for _ in range(rng.randrange(1, 3)):
        done.append("alarm, " + fault(c, load, rng, [], UNDER_ALARM))
        recovered(c, load)
        until("the alarm is known after: " + done[-1], lambda: len(c.leader().call(ALARM).alarms) > 0)
        for node in c:
            until("%s refuses to write" % node.name, lambda: refused(node))
    until("what filled it is deleted", lambda: c.leader().call("KV/DeleteRange", key=FILL, range_end=FILL[:-1] + b"0", seconds=5))
    compacted(c)

    def writable():
        leader = c.leader()
        for alarm in leader.call(ALARM).alarms:
            leader.call(ALARM, action=2, memberID=alarm.memberID, alarm=alarm.alarm)
        return all(n.put("room", "1", seconds=3) for n in c) and not leader.call(ALARM).alarms
    until("there is room again", writable, 60, 0.2)
    return done


def compacted(c):
    """Up to now, and what was removed is gone."""
    def compact():
        leader = c.leader()
        revision = leader.call("KV/Range", key=b"none").header.revision
        try:
            leader.call("KV/Compact", revision=revision, physical=True)
        except grpc.RpcError as error:
            # The answer to an attempt before may have been lost.
            return "has been compacted" in words(error)
        return True
    until("the store is compacted", compact, 30, 0.1)


class Shape:
    """What kind of cluster a stretch of the run has."""

    def __init__(self, members, tls, quota):
        self.members, self.tls, self.quota = members, tls, quota

    def __str__(self):
        return "%d members%s%s" % (self.members, ", TLS" if self.tls else "", ", quota" if self.quota else "")

    def cluster(self, stage):
        flags = FLAGS["covey"] + (["--quota-backend-bytes", str(self.quota << 20)] if self.quota else [])
        return stage.cluster(self.members, flags={"covey": flags}, tls=self.tls)


def shapes(stage, first=0):
    """One after the other, without end. Every second one has TLS; eight in a row are all there are."""
    given = stage.programs
    for turn in itertools.count(stage.seed + first):
        members = given.members or (5 if turn // 2 % 2 else 3)
        tls = given.tls if given.tls is not None else turn % 2 == 1
        quota = given.quota if given.quota is not None else (QUOTA if (turn + turn // 2 + turn // 4) % 2 else 0)
        yield Shape(members, tls, quota)


FLAGS = {"covey": ["--snapshot-count", "500", "--snapshot-catchup-entries", "100"]}
# Megabytes: as little as the clients' own history leaves room in.
QUOTA = 16
# Rounds with one cluster before the next shape's turn, in a long run; a short one changes with each.
ROUNDS = 4


def faults_under_load(stage):
    """Rounds of half a minute, each with a history of its own: the longer a history the dearer its judgement."""
    seconds = stage.programs.seconds or 45
    until_when = time.monotonic() + seconds
    # A short run is cut in two, so that it sees two shapes.
    length = min(30, seconds / 2)
    stretch = ROUNDS if seconds >= 300 else 1
    rounds, unknown, seen, c = 0, 0, [], None
    tally, upcoming = stage.tally, shapes(stage)
    while len(seen) < 2 or time.monotonic() < until_when - 1:
        if rounds % stretch == 0:
            if c is not None:
                c.end()
            shape = next(upcoming)
            seen.append(str(shape))
            c = shape.cluster(stage)
        rounds += 1
        load = Load(c, stage.seed + rounds)
        end = time.monotonic() + max(5, min(length, until_when - time.monotonic()))
        alarmed = not shape.quota
        while time.monotonic() < end:
            time.sleep(stage.random.uniform(0.1, 0.8))
            if not alarmed:
                alarmed = True
                tally.faults.update(alarm_under_faults(c, load, stage.random, shape))
                continue
            tally.faults[fault(c, load, stage.random, tally.gaps)] += 1
            recovered(c, load)
        load.stop()
        tally.operations += load.judge()
        unknown += load.unknown()
        expect(c.same(5), "compared")
        if stage.programs.seconds:
            print("round %d, %s: %d operations so far, %d unknown, faults %s, errors %s" % (
                rounds, shape, tally.operations, unknown, dict(tally.faults), load.errors()), flush=True)
    return "%d operations (%d unknown) linearizable under %s; %s; shapes: %s" % (
        tally.operations, unknown, dict(tally.faults), tally.gap_line(), "; ".join(dict.fromkeys(seen)))


def replacements_under_load(stage):
    """Members are replaced by new ones, first as learners, five at a time in between, while leaders are killed."""
    shape = next(shapes(stage, first=1))
    shape.quota = 0
    c = shape.cluster(stage)
    load = Load(c, stage.seed)
    end, replaced, killed, number = time.monotonic() + (stage.programs.seconds or 30), 0, 0, shape.members
    checked = 0
    # The number is the last byte of an address.
    while (time.monotonic() < end or not replaced) and number < 250:
        old = stage.random.choice(list(c))
        dead = stage.random.random() < 0.4
        member = until("who goes", lambda: old.id)
        if dead:
            old.kill()
            via = c.leader()
            until("the dead member is removed", lambda: asked(via, "Cluster/MemberRemove", ID=member), 30, 0.2)
            c.forget(old)
        number += 1
        new = c.add(number, learner=True, via=c.leader())
        if stage.random.random() < 0.5:
            # A leader that goes while a learner catches up.
            leader = c.leader()
            if leader is not new:
                leader.kill()
                killed += 1
                # Of two voters none can lead alone.
                if not dead or shape.members > 3:
                    until("another leads", lambda: c.leader() is not leader)
                leader.start()
                until("it is back", lambda: leader.http("/health")[0] == 200)
        c.promote(new)
        if not dead:
            via = next(n for n in c.running if n is not old)
            until("%s is removed" % old.name, lambda: asked(via, "Cluster/MemberRemove", ID=member), 30, 0.2)
            expect(old.ended(30) == 0, "%s ended with %s" % (old.name, old.process.returncode))
            c.forget(old)
        replaced += 1
        count = load.operations()
        until("clients are served", lambda: load.operations() > count + 20, 30)
        # History of a length that can still be judged.
        if load.operations() > 20_000:
            load.stop()
            checked += load.judge()
            load = Load(c, stage.seed + replaced)
    load.stop()
    checked += load.judge()
    c.same(10)
    stage.tally.operations += checked
    stage.tally.faults.update({"replace": replaced, "kill leader": killed})
    return "%d operations linearizable while in a cluster of %s %d were replaced and %d leaders killed" % (
        checked, shape, replaced, killed)


def asked(via, method, **fields):
    """A membership call that may have to be repeated, and may have worked although its answer was lost."""
    try:
        via.call(method, **fields)
        return True
    except grpc.RpcError as error:
        if "member not found" in words(error):
            return True
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
            return False
        raise Failure("%s: %s" % (method, words(error))) from None


def leader_is_replaced(stage):
    """How long clients wait for the next leader, by kill and by pause."""
    c = stage.cluster(3)
    lines = []
    for how, action in (("killed", Node.kill), ("paused", Node.pause)):
        gaps = []
        for _ in range(4):
            gaps.append(write_gap(c, action))
            stage.tally.faults["replace leader"] += 1
            for node in c:
                if node.paused:
                    node.resume()
                elif not node.running:
                    node.start()
            c.ready()
            c.leader()
        stage.tally.gaps += gaps
        lines.append("leader %s: writes again after %s ms" % (how, ", ".join("%.0f" % (g * 1000) for g in gaps)))
    return "; ".join(lines)


if __name__ == "__main__":
    scenario_main([faults_under_load, replacements_under_load, leader_is_replaced])
