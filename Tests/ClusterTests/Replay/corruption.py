#!/usr/bin/env python3
"""Members whose stores were damaged behind their back: the compact-hash check says who it is, and what becomes of writes.

    corruption.py [--seed S] [NAME...]
"""

import os

import grpc

from cluster import expect, scenario_main, until, words
from mixed import removed

CORRUPT = 2
FLAGS = {"covey": ["--feature-gates", "CompactHashCheck=true", "--compact-hash-check-time", "300ms"]}
ALIKE, PARTLY = "successfully checked hash on whole cluster", "successfully checked hash in part of the cluster"


def damage(node, old, new):
    """Bytes turned over on the disk, of a member that is stopped."""
    expect(len(old) == len(new), "the same length")
    folder, found = os.path.join(node.data, "member", "store"), 0
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            data = file.read()
        found += data.count(old)
        if old in data:
            with open(path, "wb") as file:
                file.write(data.replace(old, new))
    expect(found, "%r is in the store of %s" % (old, node.name))


def damaged(c, victims):
    """Each of them comes back with another value of k7, all have it from before."""
    for number, node in enumerate(victims):
        expect(node.stop() in (0, -15), "%s stops" % node.name)
        damage(node, b"the value 07", b"the vxlue 0%d" % number)
        node.start()
        c.ready()
    for number, node in enumerate(victims):
        expect(node.get("k7") == b"the vxlue 0%d" % number, "%s serves what is on its disk" % node.name)


def filled(c):
    for number in range(20):
        c[1].put("k%d" % number, "the value %02d" % number)
    c[1].put("k3", "written again")
    until("all have it", lambda: all(n.get("k3") == b"written again" for n in c))


def compact(c):
    """Below what is newest; its answer may get lost with a leader."""
    revision = until("a revision", lambda: c.leader().call("KV/Range", key=b"k").header.revision) - 1

    def ask():
        try:
            c.leader().call("KV/Compact", revision=revision, physical=True)
        except grpc.RpcError as error:
            return any(text in words(error) for text in ("has been compacted", "corrupt cluster"))
        return True
    until("compacted", ask)
    return revision


def said(node, text, revision):
    """In the node's log, about this revision."""
    return any(text in line and '"revision":"%d"' % revision in line for line in node.log().split("\n"))


def alarms(node):
    return sorted((a.memberID, a.alarm) for a in node.call("Maintenance/Alarm").alarms)


def restricted(c):
    """As etcd has it under CORRUPT: nothing is written, reads go on, health says why."""
    for node in c:
        for method, fields in (
                ("KV/Put", {"key": b"k", "value": b"v"}), ("KV/DeleteRange", {"key": b"k1"}), ("Lease/LeaseGrant", {"TTL": 100}),
                ("KV/Compact", {"revision": 3})):
            node.refused("DATA_LOSS etcdserver: corrupt cluster", method, **fields)
        expect(node.get("k1") == b"the value 01", "reads go on")
        status, body = node.http("/health")
        expect(status == 503 and "ALARM CORRUPT" in body, "health: %d %s" % (status, body))


def healthy_members_agree(stage):
    c = stage.cluster(3, flags=FLAGS)
    filled(c)
    for _ in range(3):
        revision = compact(c)
        until("the leader found all alike", lambda: said(c.leader(), ALIKE, revision))
        c[2].put("more", "1")
        c[3].call("KV/DeleteRange", key=b"k1")
        c[3].put("k1", "the value 01")
    # The answer for a compacted revision is the hash that was taken then, on every member, also after later compactions.
    hashes = {n.hash(revision) for n in c}
    expect(len(hashes) == 1, "hashes of the compaction: %s" % hashes)
    later = compact(c)
    until("compacted everywhere", lambda: all(n.hash()[1] == later for n in c))
    expect({n.hash(revision) for n in c} == hashes, "they are remembered")
    expect(all(alarms(n) == [] for n in c), "no alarm")
    expect(not any("Detected compaction hash mismatch" in n.log() for n in c), "no mismatch")
    # A member that is away is passed over, and compared when it has caught up.
    one = c.followers()[0]
    one.kill()
    until("a change", lambda: c.leader().put("while", "one is away", seconds=3))
    revision = compact(c)
    until("the rest is compared", lambda: said(c.leader(), PARTLY, revision))
    one.start()
    c.ready()
    until("all are compared", lambda: said(c.leader(), ALIKE, revision))
    expect(alarms(c[1]) == [], "still no alarm")


def corrupt_follower(stage):
    c = stage.cluster(3, flags=FLAGS)
    filled(c)
    victim = c.followers()[0]
    member = victim.id
    damaged(c, [victim])
    compact(c)
    until("the alarm names %s" % victim.name, lambda: alarms(c[1]) == [(member, CORRUPT)])
    restricted(c)
    expect("Detected compaction hash mismatch" in c.leader().log(), "the leader's log says why")
    # The way out: the damaged member goes, and what made the leader suspicious with it.
    via = next(n for n in c if n is not victim)
    until("it may be removed", lambda: removed(via, member), 30, 0.2)
    victim.ended(30)
    c.forget(victim)
    via.call("Maintenance/Alarm", action=2, memberID=member, alarm=CORRUPT)
    c.add(4, via=via)
    c[4].put("k7", "the value 07")
    compact(c)
    expect(c[4].get("k3") == b"written again", "served again")
    expect(alarms(via) == [], "and nobody complains")


def corrupt_leader(stage):
    c = stage.cluster(3, flags=FLAGS)
    filled(c)
    victim = c.followers()[0]
    damaged(c, [victim])
    c.lead(victim)
    compact(c)
    until("the leader accuses itself", lambda: alarms(c[1]) == [(victim.id, CORRUPT)])
    restricted(c)


def nobody_knows_who(stage):
    c = stage.cluster(3, flags=FLAGS)
    filled(c)
    damaged(c, c.followers())
    compact(c)
    until("everybody is suspected", lambda: alarms(c[1]) == [(0, CORRUPT)])
    restricted(c)


def real_members_are_passed_over(stage):
    """Release 3.5.1 is older than the check: it says that the revision is compacted, and its word does not count."""
    c = stage.cluster(kind=["covey", "covey", "etcd35"], flags=FLAGS)
    filled(c)
    c.lead(c[1])
    compact(c)
    until("what can be compared is alike", lambda: PARTLY in c[1].log())
    expect(alarms(c[3]) == [], "no alarm")
    damaged(c, [c[2]])
    c.lead(c[1])
    c[3].put("more", "1")
    compact(c)
    # Of three, one against one: a majority cannot be known.
    until("the cluster is suspected", lambda: alarms(c[3]) == [(0, CORRUPT)])
    restricted(c)


if __name__ == "__main__":
    scenario_main([
        healthy_members_agree, corrupt_follower, corrupt_leader, nobody_knows_who, real_members_are_passed_over])
