#!/usr/bin/env python3
"""Members come, go, move, lose their disks and their quorum.

    members.py [--covey COMMAND] [--subject covey|etcd35] [NAME...]

With --subject etcd35 the same scenarios run on real members, which shows that they ask for what etcd does.
"""

import json
import threading
import time

import grpc

from cluster import Failure, Watch, Writer, expect, scenario_main, until, words

REMOVED = "the member has been permanently removed from the cluster"
# 3.4 and 3.5 say UNAVAILABLE, later ones what follows.
NOT_LEARNER = [code + " etcdserver: rpc not supported for learner" for code in ("UNAVAILABLE", "FAILED_PRECONDITION")]
NOT_FOUND = "NOT_FOUND etcdserver: member not found"
NOT_STARTED = "UNKNOWN etcdserver: re-configuration failed due to not enough started members"
UNHEALTHY = "UNAVAILABLE etcdserver: unhealthy cluster"


def remove(via, node, member):
    """Removes and sees the member stop for good."""
    def ask():
        try:
            via.call("Cluster/MemberRemove", ID=member)
        except grpc.RpcError as error:
            # Connections that are not yet five seconds old, or were lost for a moment.
            if words(error) == UNHEALTHY:
                return False
            # Nor does a member that removes itself end before it has answered.
            raise Failure("MemberRemove: " + words(error)) from None
        return True
    until("%s may be removed" % node.name, ask, 30, 0.2)
    expect(node.ended(20) == 0, "%s ended with status %s" % (node.name, node.process.returncode))
    expect(REMOVED in node.log(), "%s did not say that it was removed" % node.name)


def members_come_and_go(stage):
    c = stage.cluster(3)
    for number in range(200):
        c.running[number % 3].put("k%d" % (number % 20), number)
    c.add(4)
    expect(c[4].get("k19") == b"199", "the new member has the data")
    c[4].put("from", "n4")
    # A follower, asked of another follower.
    leader = c.leader()
    followers = c.followers()
    gone = followers[0]
    remove(followers[1], gone, gone.id)
    for node in c.running:
        # Each lists what it has applied: a slow disk may keep one behind.
        until("%s no longer lists the removed member" % node.name,
              lambda: len(node.call("Cluster/MemberList").members) == 3)
    # The leader, asked of a follower: another leads, and writes go on.
    via = next(n for n in c.running if n is not leader)
    remove(via, leader, leader.id)
    until("a new leader", lambda: c.leader() is not leader)
    until("writes go on", lambda: via.put("after", "leader removed", seconds=2))
    # A member that removes itself: the one that leads now.
    self_removed = c.leader()
    rest = next(n for n in c.running if n is not self_removed)
    remove(self_removed, self_removed, self_removed.id)
    until("the last one writes alone", lambda: rest.put("after", "all removed", seconds=2))
    expect(len(rest.call("Cluster/MemberList").members) == 1, "one member is left")
    rest.refused(NOT_STARTED, "Cluster/MemberRemove", ID=rest.id)
    # Removed members do not come back with their old data; where nobody can tell them they must know by themselves.
    gone.start()
    expect(gone.ended(30) is not None, "a removed member came back")
    expect(REMOVED in gone.log().rsplit("----", 1)[1], "it says why")
    expect(rest.get("after") == b"all removed", "nothing came of it")


def wait_connected(c):
    """Until every member has been connected with the others for the five seconds that strict checks want."""
    time.sleep(5.2)


def learner_life(stage):
    c = stage.cluster(3)
    for number in range(50):
        c[1].put("k%d" % number, number)
    learner = c.add(4, learner=True, start=False)
    c[1].refused("FAILED_PRECONDITION etcdserver: too many learner members in cluster",
                 "Cluster/MemberAdd", peerURLs=["http://127.0.0.1:1"], isLearner=True)
    for node in c.running:
        node.refused("FAILED_PRECONDITION etcdserver: can only promote a learner member which is in sync with leader",
                     "Cluster/MemberPromote", ID=learner.member)
    voter = c[2].id
    for node in c.running:
        node.refused("FAILED_PRECONDITION etcdserver: can only promote a learner member", "Cluster/MemberPromote", ID=voter)
        node.refused(NOT_FOUND, "Cluster/MemberPromote", ID=12345)
        node.refused(NOT_FOUND, "Cluster/MemberRemove", ID=12345)
        node.refused(NOT_FOUND, "Cluster/MemberUpdate", ID=12345, peerURLs=["http://127.0.0.1:2"])
    c[1].refused("FAILED_PRECONDITION etcdserver: Peer URLs already exists", "Cluster/MemberAdd", peerURLs=[c[2].peer_url])
    c[1].refused("FAILED_PRECONDITION etcdserver: Peer URLs already exists",
                 "Cluster/MemberUpdate", ID=c[1].id, peerURLs=[c[2].peer_url])
    c[1].refused("INVALID_ARGUMENT etcdserver: given member URLs are invalid", "Cluster/MemberAdd", peerURLs=["nonsense"])
    c.leader().refused("FAILED_PRECONDITION etcdserver: bad leader transferee", "Maintenance/MoveLeader", targetID=learner.member)
    c.followers()[0].refused("FAILED_PRECONDITION etcdserver: not leader", "Maintenance/MoveLeader", targetID=voter)

    learner.start("existing", list(c))
    until("the learner has the data", lambda: learner.get("k49", serializable=True) == b"49")
    expect(learner.status().isLearner, "status says learner")
    learner.refused(NOT_LEARNER, "KV/Range", key=b"k1")
    learner.refused(NOT_LEARNER, "KV/Put", key=b"k1", value=b"no")
    learner.refused(NOT_LEARNER, "Cluster/MemberList")
    learner.refused(NOT_LEARNER, "Lease/LeaseGrant", TTL=10)
    # Kept out of the quorum: with one voter away writes go on, with two they do not, learner or not.
    away = c.followers()
    away = [n for n in away if n is not learner][:2]
    away[0].kill()
    until("writes go on", lambda: c.leader().put("one away", "1", seconds=3))
    away[0].start()
    c.ready()
    c.promote(learner, via=next(n for n in c.followers() if n is not learner))
    learner.refused("FAILED_PRECONDITION etcdserver: can only promote a learner member",
                    "Cluster/MemberPromote", ID=learner.member)
    until("no longer a learner", lambda: not learner.status().isLearner)
    c.lead(learner)
    learner.put("led by", "learner")
    # As a voter it counts: of four, one may be away.
    expect(c[1].get("led by") == b"learner", "the others follow")
    c.same(5)
    # A learner may be removed without any check.
    other = c.add(5, learner=True)
    until("the second learner has the data", lambda: other.get("led by", serializable=True) == b"learner")
    remove(c[1], other, other.member)


def peer_url_changes_while_away(stage):
    c = stage.cluster(3)
    moved = c.followers()[0]
    member = moved.id
    moved.stop()
    c.leader().put("while", "away")
    moved.peer_url = "http://%s:%d" % (moved.host, 34381)
    via = c.running[0]
    answer = via.call("Cluster/MemberUpdate", ID=member, peerURLs=[moved.peer_url])
    expect([list(m.peerURLs) for m in answer.members if m.ID == member] == [[moved.peer_url]], "the list shows the new URL")
    moved.start()
    until("the moved member is back", lambda: moved.get("while") == b"away", 30)
    expect(moved.id == member, "it is who it was")
    c.lead(moved)
    moved.put("led", "from the new address")
    c.same(3)
    # Once more, of a member that is up and does not know: it is found where it was said to be only after its restart.
    for node in c.running:
        urls = [u for m in node.call("Cluster/MemberList").members for u in m.peerURLs]
        expect(moved.peer_url in urls, "%s knows the new URL" % node.name)


def joins_past_one_that_is_behind(stage):
    """The member that is asked first has not heard of the new one yet: its disk is slow."""
    c = stage.cluster(3)
    c.lead(c[3])
    c[1].kill()
    c[1].start(failpoints="log.sync=delay:1000")
    c.ready()
    new = c.add(4, via=c[3])
    expect("member count is unequal" not in new.log(), "it asked on")
    c.same()


def strict_reconfiguration(stage):
    # From one: growing to two is let through, then nothing until the second has started.
    c = stage.cluster(1)
    one = c[1]
    one.refused(NOT_STARTED, "Cluster/MemberRemove", ID=one.id)
    two = c.add(2, start=False)
    one.refused(NOT_STARTED, "Cluster/MemberAdd", peerURLs=["http://127.0.0.1:1"])
    two.start("existing", [one, two])
    until("two are healthy", lambda: all(n.http("/health")[0] == 200 for n in c))
    c.add(3)
    wait_connected(c)
    # Of three with one away: a live one must stay, the dead one may go.
    dead = c.followers()[0]
    member = dead.id
    dead.kill()
    until("it is missed", lambda: c.leader().put("x", "1", seconds=3))
    alive = c.running
    alive[0].refused(UNHEALTHY, "Cluster/MemberRemove", ID=alive[1].id)
    alive[0].refused(UNHEALTHY, "Cluster/MemberAdd", peerURLs=["http://127.0.0.1:1"])
    until("the dead one is removed", lambda: alive[0].call("Cluster/MemberRemove", ID=member))
    expect(len(alive[1].call("Cluster/MemberList", linearizable=True).members) == 2, "two are left")
    dead.start()
    dead.ended(30)
    expect(REMOVED in dead.log(), "the removed one says why it stops")


def wiped_member(stage):
    c = stage.cluster(3)
    for number in range(100):
        c[1].put("k%d" % number, number)
    wiped = c.followers()[0]
    wiped.kill()
    # A real member takes "existing" at its word and panics when the leader counts on what it has lost.
    for state in ("new", "existing") if stage.programs.subject == "covey" else ("new",):
        wiped.wipe()
        wiped.start(state)
        expect(wiped.ended(30) not in (0, -4), "a wiped member ended with status %s" % wiped.process.returncode)
        expect("has already been bootstrapped" in wiped.log().rsplit("----", 1)[1], "it says why, as " + state)
    # The others never noticed; the way back is a new identity.
    rest = c.running
    until("writes go on", lambda: rest[0].put("without", "it", seconds=3))
    member = next(m.ID for m in rest[0].call("Cluster/MemberList").members if m.name == wiped.name)
    rest[0].call("Cluster/MemberRemove", ID=member)
    wiped.wipe()
    host = c.nodes.pop(wiped.number)
    again = c.add(host.number + 10)
    expect(again.get("without") == b"it", "the replacement has the data")
    c.same(3)


def restart_all(stage):
    c = stage.cluster(3, flags={"covey": ["--snapshot-count", "200", "--snapshot-catchup-entries", "50"]})
    lease = c[2].call("Lease/LeaseGrant", TTL=600).ID
    for number in range(600):
        c.running[number % 3].put("k%d" % (number % 50), number)
    c[1].put("leased", "1", lease=lease)
    c[1].call("KV/Compact", revision=300)
    revision = c[1].call("KV/Range", key=b"x").header.revision
    before = c[1].hash()
    for how in ("kill", "stop", "kill"):
        for node in c:
            if how == "stop":
                node.signal(15)
            else:
                node.kill()
        for node in c:
            status = node.ended()
            expect(how == "kill" or status in (0, -15), "%s ended with %s" % (node.name, status))
        for node in c:
            node.start()
        c.ready()
        for node in c:
            answer = node.call("KV/Range", key=b"k49")
            expect(answer.header.revision == revision, "%s is at %d, not %d, after %s" % (
                node.name, answer.header.revision, revision, how))
            expect(answer.kvs[0].value == b"599", "%s lost a key after %s" % (node.name, how))
            expect(node.call("Lease/LeaseTimeToLive", ID=lease, keys=True).keys[0] == b"leased", "the lease has its key")
        expect(c[1].hash() == before, "HashKV differs after " + how)
        c.same()


def force_new_cluster(stage):
    c = stage.cluster(3)
    for number in range(100):
        c[1].put("k%d" % number, number)
    c.same()
    survivor, *lost = list(c)
    for node in c:
        node.kill()
    survivor.start(flags=["--force-new-cluster"])
    until("it serves alone", lambda: survivor.put("alone", "1", seconds=2))
    expect(survivor.get("k99") == b"99", "the data is there")
    members = survivor.call("Cluster/MemberList").members
    expect(len(members) == 1 and members[0].name == survivor.name, "it is the only member: %s" % members)
    expect(survivor.stop() in (0, -15), "it stops")
    survivor.start()
    until("it serves after a plain restart", lambda: survivor.get("alone") == b"1")
    for node in lost:
        c.forget(node)
    for number in (12, 13):
        c.add(number)
    until("three are healthy", lambda: all(n.http("/health")[0] == 200 for n in c))
    expect(c[13].get("k50") == b"50", "the new members have the data")
    c.same(5)
    # A member of the old cluster is a stranger now.
    lost[0].start()
    stranger = lost[0]
    time.sleep(1)
    stranger.kill()
    expect(len(c[12].call("Cluster/MemberList", linearizable=True).members) == 3, "the old member changed nothing")


def leases(stage):
    c = stage.cluster(3)
    leader, (a, b) = c.leader(), c.followers()
    lease = a.call("Lease/LeaseGrant", TTL=6).ID
    short = b.call("Lease/LeaseGrant", TTL=4).ID
    for number in range(5):
        b.put("leased/%d" % number, number, lease=lease)
    b.put("short", "1", lease=short)
    expect(a.call("Lease/LeaseTimeToLive", ID=12345).TTL == -1, "a lease nobody granted")
    left = b.call("Lease/LeaseTimeToLive", ID=lease, keys=True)
    expect(left.grantedTTL == 6 and len(left.keys) == 5 and 3 <= left.TTL <= 6, "time to live on a follower: %s" % left)
    # The leader alone ends leases, for all.
    until("the short lease ended", lambda: all(n.get("short", serializable=True) is None for n in c), 30)
    until("and is gone everywhere", lambda: all(n.call("Lease/LeaseTimeToLive", ID=short).TTL == -1 for n in c), 30)
    # Kept alive through a follower, over a change of leader, for longer than it was granted.
    stopped, answers, problems = threading.Event(), [], []

    def keep():
        while not stopped.is_set():
            try:
                asked = [a.type("Lease/LeaseKeepAlive")(ID=lease)]
                answers.extend(r.TTL for r in a.stream("Lease/LeaseKeepAlive", iter(asked), seconds=4))
            except grpc.RpcError as error:
                problems.append(words(error))
            stopped.wait(1)
    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    leader.kill()
    end = time.monotonic() + 9
    while time.monotonic() < end:
        until("a leased key", lambda: b.get("leased/3") == b"3", 10)
        time.sleep(0.1)
    stopped.set()
    keeper.join(10)
    expect(answers and set(answers) == {6}, "keep-alives answered %s, failed %s" % (answers, problems))
    leader.start()
    c.ready()
    # Nobody keeps it alive any more: it ends, for all, in one revision.
    until("the lease ended", lambda: all(n.get("leased/3", serializable=True) is None for n in c), 25)
    watch = Watch(lambda: [c[1]], b"leased/", b"leased0", 1)
    until("its keys were deleted", lambda: sum(e[1] == 1 for e in watch.events) == 5, 30)
    watch.stop()
    expect(len({e[0] for e in watch.events if e[1] == 1}) == 1, "in one revision: %s" % watch.events)
    # Revoked through a follower.
    lease = a.call("Lease/LeaseGrant", TTL=100).ID
    b.put("revoked", "1", lease=lease)
    c.followers()[0].call("Lease/LeaseRevoke", ID=lease)
    expect(b.get("revoked") is None, "revoking deletes")
    c.followers()[0].refused("NOT_FOUND etcdserver: requested lease not found", "Lease/LeaseRevoke", ID=lease)
    c.same()


def no_quorum(stage):
    c = stage.cluster(3)
    one = c.followers()[0]
    one.put("k", "v")
    ended = []

    def follow(name, method, request):
        hold = threading.Event()

        def requests():
            yield request
            hold.wait(60)
        try:
            for _ in one.stream(method, requests(), metadata=(("hasleader", "true"),)):
                pass
            ended.append((name, "ended without an error"))
        except grpc.RpcError as error:
            ended.append((name, words(error)))
        hold.set()
    watch = one.type("Watch/Watch")()
    watch.create_request.key = b"k"
    threads = [threading.Thread(target=follow, args=("watch", "Watch/Watch", watch), daemon=True)]
    for t in threads:
        t.start()
    others = [n for n in c if n is not one]
    for node in others:
        node.kill()
    until("no leader", lambda: one.status().leader == 0, 20)
    status, body = one.http("/health")
    expect(status == 503 and json.loads(body) == {"health": "false", "reason": "RAFT NO LEADER"}, "health: %d %s" % (status, body))
    expect(json.loads(one.http("/health?serializable=true")[1])["health"] in ("true", "false"), "serializable health answers")
    one.refused("UNAVAILABLE etcdserver: no leader", "KV/Range", key=b"k", metadata=(("hasleader", "true"),))
    until("streams that want a leader ended", lambda: len(ended) == 1, 20)
    expect(set(ended) == {("watch", "UNAVAILABLE etcdserver: no leader")}, "streams: %s" % ended)
    expect(one.get("k", serializable=True) == b"v", "serializable reads go on")
    expect("etcdserver: no leader" in list(one.status().errors), "status says it")
    began = time.monotonic()
    said = one.refused([
        "UNAVAILABLE etcdserver: request timed out", "UNAVAILABLE etcdserver: request timed out, possibly due to connection lost",
        "UNAVAILABLE etcdserver: request timed out, possibly due to previous leader failure"],
        "KV/Put", key=b"k", value=b"w", seconds=20)
    waited = time.monotonic() - began
    read = one.refused([
        "UNAVAILABLE etcdserver: request timed out", "UNAVAILABLE etcdserver: leader changed"],
        "KV/Range", key=b"k", seconds=20)
    for node in others:
        node.start()
    c.ready()
    until("writes go on", lambda: one.put("k", "x", seconds=3))
    # What timed out may have happened or not, but not twice and not later than what was written since.
    expect(one.get("k") == b"x", "the last write stands")
    c.same()
    return "put: %s after %.1f s; read: %s" % (said, waited, read)


def hand_over_on_stop(stage):
    c = stage.cluster(3)
    gaps = []
    for _ in range(3):
        leader = c.leader()
        term = leader.status().raftTerm
        writer = Writer(lambda: [n for n in c if n is not leader], seconds=8)
        until("writes flow", lambda: len(writer.acknowledged) > 50)
        writer.reset()
        leader.signal(15)
        expect(leader.ended() in (0, -15), "%s ended with %s" % (leader.name, leader.process.returncode))
        until("writes go on", lambda count=len(writer.acknowledged): len(writer.acknowledged) > count + 100)
        writer.stop()
        gaps.append(writer.longest)
        expect(not writer.failed, "puts on the others failed: %s" % writer.failed[:5])
        now = c.leader().status().raftTerm
        expect(now == term + 1, "leadership was handed over, not fought for: term %d to %d" % (term, now))
        leader.start()
        c.ready()
    c.same(3)
    return "longest silences of a writer: " + ", ".join("%.0f ms" % (g * 1000) for g in gaps)


if __name__ == "__main__":
    scenario_main([
        members_come_and_go, learner_life, peer_url_changes_while_away, joins_past_one_that_is_behind, strict_reconfiguration,
        wiped_member, restart_all, force_new_cluster, leases, no_quorum, hand_over_on_stop])
