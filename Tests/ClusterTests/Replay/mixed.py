#!/usr/bin/env python3
"""Covey members and real etcd members in one cluster: joining, leading, snapshots both ways, all kinds under load, the
walk of a live cluster from one program to the other and back, and backups that cross over.

    mixed.py [--seconds N] [--seed S] [NAME...]
"""

import collections
import re
import os
import subprocess
import threading
import time

import grpc

from cluster import Node, Watch, Writer, expect, scenario_main, until, words

# Covey lets entries go soon, so that a member that was away needs a snapshot. Real servers of these versions always keep
# 5000 entries, once they have taken a snapshot at all.
SOON = {"covey": ["--snapshot-count", "100", "--snapshot-catchup-entries", "10"], "etcd35": ["--snapshot-count", "100"],
        "etcd34": ["--snapshot-count", "100"]}
REAL_KEEPS = 5000


def bulk(node, count, prefix="bulk", keys=200, size=20):
    """Many puts on one connection, fifty at a time."""
    method = "/etcdserverpb.KV/Put"
    request, answer = node.cluster.programs.methods[method]
    call = node.open().unary_unary(method, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
    flying = collections.deque()
    for number in range(count):
        flying.append(call.future(request(key=b"%s/%d" % (prefix.encode(), number % keys), value=b"%0*d" % (size, number)), timeout=30))
        if len(flying) >= 50:
            flying.popleft().result()
    for future in flying:
        future.result()


def snapshots_received(node):
    """By the node's own log: both programs say that they applied a snapshot."""
    return node.log().count('"msg":"applied snapshot"')


def joins(stage, kind):
    """A Covey member joins a live real cluster, is promoted, leads it, gives and takes snapshots."""
    c = stage.cluster(kind=[kind] * 3, flags=SOON)
    bulk(c.leader(), 400)
    lease = c[1].call("Lease/LeaseGrant", TTL=1000).ID
    c[1].put("leased", "1", lease=lease)
    ours = c.add(4, kind="covey", learner=True)
    until("the learner has the data", lambda: ours.get("leased", serializable=True) == b"1")
    expect(snapshots_received(ours) == 1, "it got them as a snapshot")
    c.promote(ours)
    expect([m.name for m in c[1].call("Cluster/MemberList").members if m.ID == ours.member] == ["n4"], "it is published")
    c.lead(ours)
    for node in c:
        node.put("led/" + node.name, "by covey")
    expect(ours.get("led/n1") == b"by covey" and c[3].get("led/n2") == b"by covey", "writes on all go through it")
    expect(c[2].call("Lease/LeaseTimeToLive", ID=lease, keys=True).keys[0] == b"leased", "it answers for leases")
    c.same(5)
    # A real member that was away gets a snapshot from us.
    away = c[2]
    before = snapshots_received(away)
    away.stop()
    # Covey forgets a thousand entries at a time.
    bulk(ours, 2500)
    away.start()
    until("the member that was away is healthy", lambda: away.http("/health")[0] == 200)
    c.same(5)
    expect(snapshots_received(away) > before, "it was sent a snapshot")
    expect(c.leader() is ours, "by the Covey leader")
    # And we, away, get one from a real leader.
    here = ours.call("Maintenance/Status").raftIndex
    ours.kill()
    leader = c.leader()
    bulk(leader, REAL_KEEPS, keys=500)

    def forgotten():
        """It snapshots and forgets in the background, and not at all for half a minute after it has sent a snapshot."""
        bulk(leader, 300, keys=500)
        return any(int(index) > here for index in re.findall(r'"compacted Raft logs","compact-index":(\d+)', leader.log()))

    until("the real leader forgot what we miss", forgotten, 120)
    ours.start()
    until("we are healthy again", lambda: ours.http("/health")[0] == 200)
    c.same(5)
    expect(snapshots_received(ours) == 2, "from a snapshot of the real leader: %d" % snapshots_received(ours))
    # The snapshot's leases and leadership are worth something.
    c.lead(ours)
    c[1].call("Lease/LeaseRevoke", ID=lease)
    expect(c[3].get("leased") is None, "revoked with its key")
    c.same()


def joins_35(stage):
    joins(stage, "etcd35")


def joins_34(stage):
    joins(stage, "etcd34")


class MixedLoad:
    """Puts, deletes, transactions, leases, compaction and changes of users on all members, by a few threads."""

    def __init__(self, c, rng):
        self.c, self.random, self.stopped = c, rng, False
        self.done, self.problems = collections.Counter(), collections.Counter()
        self.token = ()
        self.threads = [threading.Thread(target=self.run, args=(what, seed), daemon=True) for seed, what in enumerate(
            (self.put, self.put, self.delete, self.transaction, self.transaction, self.lease, self.compact, self.users))]
        for thread in self.threads:
            thread.start()

    def run(self, what, seed):
        import random
        rng = random.Random(self.random.random() + seed)
        while not self.stopped:
            nodes = [n for n in self.c if n.running]
            try:
                what(rng.choice(nodes), rng)
                self.done[what.__name__] += 1
            except grpc.RpcError as error:
                self.problems["%s %s" % (what.__name__, words(error)[:70])] += 1
                time.sleep(0.02)
            except ValueError:
                pass

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join(20)

    def ask(self, node, method, **fields):
        return node.call(method, seconds=3, metadata=self.token, **fields)

    def put(self, node, rng):
        self.ask(node, "KV/Put", key=b"k/%d" % rng.randrange(200), value=rng.randbytes(rng.randrange(100)))

    def delete(self, node, rng):
        start = rng.randrange(200)
        self.ask(node, "KV/DeleteRange", key=b"k/%d" % start, range_end=b"k/%d" % (start + rng.randrange(1, 4)))
        time.sleep(0.01)

    def transaction(self, node, rng):
        request = node.type("KV/Txn")()
        key = b"k/%d" % rng.randrange(200)
        compare = request.compare.add()
        compare.key, compare.target, compare.result, compare.version = key, 0, 1, rng.randrange(3)
        for branch in (request.success, request.failure):
            put = branch.add().request_put
            put.key, put.value = key, rng.randbytes(10)
            branch.add().request_range.key = key
            put = branch.add().request_put
            put.key, put.value = b"t/%d" % rng.randrange(50), b"%d" % rng.randrange(1000)
            branch.add().request_delete_range.key = b"x/%d" % rng.randrange(50)
            nested = branch.add().request_txn
            inner = nested.success.add().request_put
            inner.key, inner.value = b"n/%d" % rng.randrange(50), b"nested"
        self.ask(node, "KV/Txn", message=request)

    def lease(self, node, rng):
        lease = self.ask(node, "Lease/LeaseGrant", TTL=rng.choice((2, 3, 100))).ID
        for number in range(3):
            self.ask(node, "KV/Put", key=b"x/%d" % rng.randrange(50), value=b"leased %d" % number, lease=lease)
        if rng.random() < 0.5:
            self.ask(node, "Lease/LeaseRevoke", ID=lease)
        time.sleep(0.05)

    def compact(self, node, rng):
        time.sleep(rng.uniform(0.5, 1.5))
        revision = self.ask(node, "KV/Range", key=b"k").header.revision
        self.ask(node, "KV/Compact", revision=max(1, revision - rng.randrange(200, 800)))

    def users(self, node, rng):
        time.sleep(0.1)
        name = "u%d" % rng.randrange(5)
        what = rng.randrange(6)
        if what == 0:
            self.ask(node, "Auth/UserAdd", name=name, password="p")
        elif what == 1:
            self.ask(node, "Auth/RoleAdd", name=name)
        elif what == 2:
            self.ask(node, "Auth/UserGrantRole", user=name, role=name)
        elif what == 3:
            request = node.type("Auth/RoleGrantPermission")(name=name)
            request.perm.permType, request.perm.key, request.perm.range_end = 2, b"a", b"c"
            self.ask(node, "Auth/RoleGrantPermission", message=request)
        elif what == 4:
            self.ask(node, "Auth/UserDelete", name=name)
        else:
            self.ask(node, "Auth/RoleDelete", name=name)


def same_users(c):
    """Every member tells the same story about users and roles. (Not asked: AuthStatus. A 3.5.1 member proposes it, and a
    3.4 member that meets it in the log panics.)"""
    def told(node):
        users = node.call("Auth/UserList").users
        roles = node.call("Auth/RoleList").roles
        return (
            [(u, list(node.call("Auth/UserGet", name=u).roles)) for u in users],
            # What the role root may do is written out by some releases and not by others.
            [(r, [(p.permType, p.key, p.range_end) for p in node.call("Auth/RoleGet", role=r).perm]) for r in roles if r != "root"])
    stories = {n.name: told(n) for n in c.running}
    expect(len({repr(s) for s in stories.values()}) == 1, "users and roles differ: %s" % stories)


def all_kinds_under_load(stage):
    """One member of each kind; rounds of load with members killed, stopped and started, then everything compared."""
    c = stage.cluster(kind=["covey", "etcd35", "etcd34"], flags=SOON)
    c[1].call("Auth/UserAdd", name="root", password="r")
    c[1].call("Auth/RoleAdd", name="root")
    c[1].call("Auth/UserGrantRole", user="root", role="root")
    seconds, compared, total, problems, faults = stage.programs.seconds or 30, 0, collections.Counter(), collections.Counter(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        load = MixedLoad(c, stage.random)
        round_end = min(end, time.monotonic() + 15)
        while time.monotonic() < round_end:
            time.sleep(stage.random.uniform(0.3, 1.5))
            victim = stage.random.choice(list(c))
            what = stage.random.choice(("kill", "stop", "lead"))
            faults += 1
            stage.tally.faults[what] += 1
            if what == "lead":
                try:
                    c.lead(victim)
                except grpc.RpcError:
                    pass
                continue
            # Releases 3.5.0 to 3.5.2 lose track of what they applied when killed: known, theirs, and not the question here.
            if what == "stop" or victim.kind == "etcd35":
                victim.stop()
            else:
                victim.kill()
            time.sleep(stage.random.uniform(0, 1.5))
            victim.start()
            until("%s is healthy" % victim.name, lambda: victim.http("/health")[0] == 200, 40)
        load.stop()
        total += load.done
        problems += load.problems
        # With auth on, tokens of one member are known to all.
        c[1].call("Auth/AuthEnable")
        token = until("a token", lambda: c[2].call("Auth/Authenticate", name="root", password="r").token)
        for node in c:
            until("the token holds on " + node.name, lambda: node.put("auth/on", node.name, metadata=(("token", token),)), 10)
            node.refused(["INVALID_ARGUMENT etcdserver: user name is empty"], "KV/Put", key=b"auth/no", value=b"x")
        c[3].call("Auth/AuthDisable", metadata=(("token", token),))
        until("auth is off everywhere", lambda: all(n.put("auth/off", "1") for n in c))
        compared += c.same(20)
        same_users(c)
        if stage.programs.seconds:
            print("so far %s, faults %d, refused %s" % (dict(total), faults, dict(problems.most_common(6))), flush=True)
    stage.tally.operations += sum(total.values())
    expect(total["transaction"] > 50 and total["compact"] > 2 and total["lease"] > 10, "the load did little: %s" % total)
    return "HashKV alike at %d revisions after %s, %d faults" % (compared, dict(total), faults)


def walk(stage):
    """Three real members replaced by Covey one by one under a writer and a watcher, and then walked back."""
    c = stage.cluster(kind=["etcd35"] * 3)
    writer = Writer(lambda: c.running)
    watch = Watch(lambda: c.running, b"w/", b"w0", 1)
    until("writes flow", lambda: len(writer.acknowledged) > 50)
    silences, number = [], 3
    for kind in ("covey", "etcd35"):
        for old in list(c):
            writer.reset()
            number += 1
            new = c.add(number, kind=kind, learner=True, via=c.leader())
            c.promote(new)
            member = old.id
            via = next(n for n in c.running if n is not old)
            # As careful operators do, except for one of three, which goes while it leads.
            if c.leader() is old and old.number % 3 != 0:
                c.lead(new)
            elif old.number % 3 == 0:
                c.lead(old)
            until("%s may be removed" % old.name, lambda: removed(via, member), 30, 0.2)
            old.ended(30)
            del c.nodes[old.number]
            count = len(writer.acknowledged)
            until("writes go on", lambda: len(writer.acknowledged) > count + 20)
            silences.append("%s->%s %.0f ms" % (old.kind, new.kind, writer.longest * 1000))
        expect({n.kind for n in c} == {kind} and len(c.nodes) == 3, "all are " + kind)
        c.same(10)
    writer.stop()
    last = max(writer.acknowledged.values())
    until("the watcher has seen the last write", lambda: watch.next > last or None, 20)
    watch.stop()
    expect(watch.problem is None, "watch: %s" % watch.problem)
    seen = {}
    for revision, kind, key, value in watch.events:
        expect(revision not in seen, "event of revision %d twice" % revision)
        seen[revision] = (key, value)
    revisions = [e[0] for e in watch.events]
    expect(revisions == sorted(revisions), "events out of order")
    for number, revision in writer.acknowledged.items():
        expect(seen.get(revision) == (b"w/%d" % (number % 50), b"%d" % number), "write %d, acknowledged at %d: %s" % (
            number, revision, seen.get(revision)))
    return "%d writes, %d failed, %d events; longest silences: %s" % (
        len(writer.acknowledged), len(writer.failed), len(watch.events), ", ".join(silences))


def removed(via, member):
    try:
        via.call("Cluster/MemberRemove", ID=member)
        return True
    except grpc.RpcError as error:
        if "member not found" in words(error):
            return True
        return False


class Flood:
    """Many puts under way through one member all the time, and how those ended that failed."""
    WIDTH = 40

    def __init__(self, node):
        self.node, self.done, self.errors, self.stopped = node, 0, collections.Counter(), False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        method = "/etcdserverpb.KV/Put"
        request, answer = self.node.cluster.programs.methods[method]
        put = self.node.open().unary_unary(
            method, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
        flying = collections.deque()
        while flying or not self.stopped:
            while len(flying) < self.WIDTH and not self.stopped:
                flying.append(put.future(request(key=b"flood/" + self.node.name.encode(), value=b"x"), timeout=20))
            future = flying.popleft()
            if future.exception() is None:
                self.done += 1
            else:
                self.errors[words(future.exception()).split(";")[0]] += 1
                time.sleep(0.002)

    def stop(self):
        self.stopped = True
        self.thread.join(30)


def leader_removed_by_a_real_member(stage):
    """A real member just proposes the removal of a Covey leader. No put waits for its time-out because of that: neither
    at the leader, nor at those who pass theirs on to it. With two members the one that asks must lead next."""
    clusters = [stage.cluster(kind=["covey"] + ["etcd35"] * others) for others in (1, 2)]
    lines = []
    for c in clusters:
        problem, line = removal_under_flood(c)
        if problem:
            # On a starved machine the leadership may not be handed over in time: then it is as among real members.
            lines.append("first " + problem)
            problem, line = removal_under_flood(stage.cluster(kind=[n.kind for n in c]))
        expect(not problem, "%s (%s)" % (problem, "; ".join(lines)))
        lines.append(line)
    return "; ".join(lines)


def removal_under_flood(c):
    """(problem or None, what was seen)"""
    leader, via, member = c[1], c[2], c[1].id
    c.lead(leader)
    floods = [Flood(node) for node in c]
    until("puts flow on all", lambda: all(flood.done > 100 for flood in floods))

    def remove():
        # Refused until the members have been connected for five seconds. Leadership may have moved meanwhile.
        c.lead(leader)
        return removed(via, member)
    until("the leader may be removed", remove, 40, 0.2)
    expect(leader.ended(20) == 0, "the removed leader ended with status %s" % leader.process.returncode)
    counts = [flood.done for flood in floods[1:]]
    until("puts go on", lambda: all(flood.done > count + 100 for flood, count in zip(floods[1:], counts)))
    for flood in floods:
        flood.stop()
    problem = None
    for flood in floods[1:]:
        if flood.errors:
            problem = "puts through %s: %s" % (flood.node.name, dict(flood.errors))
    waited = [text for text in floods[0].errors if "timed out" in text or "DEADLINE" in text]
    if waited:
        problem = "puts through the leader waited: %s" % waited
    return problem, "%d members: %d puts, at the leader %s" % (
        len(floods), sum(f.done for f in floods), dict(floods[0].errors))


def tool(argv, environment=None, **more):
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3", **(environment or {})}, **more)
    expect(done.returncode == 0, "%s: %s%s" % (" ".join(argv), done.stdout, done.stderr))
    return done.stdout


def backups_cross_over(stage):
    """`snapshot save` from a leader of one kind, restored by the other's tools and served by the other's members."""
    programs = stage.programs
    etcdctl, etcdutl = (os.path.join(programs.tools35, name) for name in ("etcdctl", "etcdutl"))
    restores = {
        "etcd35": [etcdutl, "snapshot", "restore"], "covey": [programs.covey, "util", "snapshot", "restore"],
        "etcd34": ["/usr/bin/etcdctl", "snapshot", "restore"]}
    for source, targets in (("covey", ("etcd35", "etcd34")), ("etcd35", ("covey",)), ("etcd34", ("covey",))):
        old = stage.cluster(kind=[source] * 3, flags=SOON)
        leader = old.leader()
        bulk(leader, 1200, size=200)
        lease = leader.call("Lease/LeaseGrant", TTL=5000).ID
        leader.put("leased", "1", lease=lease)
        leader.call("KV/DeleteRange", key=b"bulk/1", range_end=b"bulk/2")
        leader.call("KV/Compact", revision=700)
        leader.call("Auth/UserAdd", name="alice", password="wonder")
        leader.call("Auth/RoleAdd", name="reader")
        leader.call("Auth/UserGrantRole", user="alice", role="reader")
        load = Writer(lambda: old.running, key=b"during/")
        file = os.path.join(old.directory, "backup.db")
        until("writes flow", lambda: len(load.acknowledged) > 20)
        tool([etcdctl, "--endpoints", leader.client_url, "snapshot", "save", file])
        load.stop()
        status = tool([etcdutl, "snapshot", "status", file, "-w", "json"])
        expect('"totalKey"' in status, "status: " + status)
        for target in targets:
            new = stage.unstarted(kind=[target] * 3)
            initial = ",".join("%s=%s" % (n.name, n.peer_url) for n in new)
            for node in new:
                tool(restores[target] + [
                    file, "--name", node.name, "--initial-cluster", initial, "--initial-advertise-peer-urls", node.peer_url,
                    "--initial-cluster-token", "scenario", "--data-dir", node.data])
            new.start()
            answer = new[1].call("KV/Range", key=b"k")
            revision = answer.header.revision
            expect(new[2].hash(revision)[0] == old[1].hash(revision)[0], "HashKV of the %s differs at %d" % (target, revision))
            expect(new[3].get("bulk/7") == old[1].get("bulk/7"), "a key")
            expect(new[2].call("Lease/LeaseTimeToLive", ID=lease, keys=True).keys[0] == b"leased", "the lease")
            expect(list(new[1].call("Auth/UserGet", name="alice").roles) == ["reader"], "the user")
            members = new[3].call("Cluster/MemberList").members
            expect(sorted(m.name for m in members) == ["n1", "n2", "n3"], "members: %s" % members)
            for node in new:
                node.put("after/" + node.name, "restored")
            new.same(10)
            for node in new:
                node.kill()
        for node in old:
            node.kill()


def received_in_pieces(stage):
    """A member that is sent the store ends at each step of taking it over, and goes on from there when it starts again:
    sent by one of ours, which becomes a store while it comes, and by a real one, which becomes a file first."""
    for kind in ("covey", "etcd35"):
        c = stage.cluster(kind=[kind] * 3, flags=SOON)
        leader = c.leader()
        # Pages of many pairs, pairs of many pages, and buckets within the root's page.
        bulk(leader, 2500 if kind == "covey" else REAL_KEEPS + 500, keys=1500)
        for number, size in enumerate((1, 4000, 100_000, 1_000_000)):
            leader.put("large/%d" % number, b"%d" % number * size)
        leader.call("Lease/LeaseGrant", TTL=1000)
        for number, place in enumerate(("snapshot.kept", "snapshot.marked", "snapshot.swap")):
            node = c.add(10 + number, kind="covey", learner=True, start=False)
            node.start("existing", list(c), failpoints=place + "=exit")
            expect(node.ended() == 86, "it ends at " + place)
            node.start("existing")
            until("it has the data after " + place, lambda: node.get("large/3", serializable=True) == b"3" * 1_000_000)
            c.promote(node)
            c.same(3)
            store = os.path.join(node.data, "member")
            left = [n for n in os.listdir(store) + os.listdir(os.path.join(store, "snap"))
                    if n.startswith("tmp") or n.endswith((".snap.db", ".received", ".old", ".new")) or "incoming" in n]
            expect(not left, "nothing is left over after %s: %s" % (place, left))
            # What the log does not know of is sent again; what it does is there.
            said = {"covey": "takes the place of the one before", "etcd35": "restoring the store from the received"}[kind]
            expect((said in node.log()) == (place != "snapshot.kept"), "it goes on from what it has after " + place)
            leader.call("Cluster/MemberRemove", ID=node.member)
            c.forget(node)
        for node in c:
            node.kill()


if __name__ == "__main__":
    scenario_main([joins_35, joins_34, all_kinds_under_load, walk, leader_removed_by_a_real_member, received_in_pieces, backups_cross_over])
