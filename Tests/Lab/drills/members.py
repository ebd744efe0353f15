"""A cluster's members change while it is written to: replaced living and dead, restarted, rebooted, by many and by few."""

import json
import re
import time

from systemdlab.processes import LabError, until

from . import gaps, promises
from .acts import FLEET, UPSTREAM, expect
from .cluster import NAME, UNIT
from .fleet import MEMBERS_CHANGED
from .gaps import LED

drill = FLEET.drill


def on_upstream(function):
    for act in UPSTREAM.values():
        act.drill()(function)
    return function


def quietest(stage, since):
    now = time.monotonic()
    stage.writer.wait_for_more()
    return f"without an acknowledged write at most {stage.writer.longest_gap(since, now):.2f} s"


def is_set_aside(host):
    expect(host.property(UNIT, "ActiveState") == "inactive", f"{host.name}: the member that was replaced still runs")
    expect(NAME in host.text("ls", "/var/lib/covey/quarantine"), f"{host.name}: the data that was replaced is not set aside")


@drill()
def labels_and_order_mean_nothing(stage):
    """15 of the contract: only members and their addresses make a difference."""
    fleet = stage.cluster
    fleet.everywhere.reverse()
    fleet.write_inventory()
    said = fleet.operate("apply")
    fleet.everywhere.reverse()
    expect("Nothing to do" in said, f"another order of the hosts is a change:\n{said}")
    fleet.write_inventory()
    right = fleet.inventory.read_text()
    fleet.inventory.write_text(re.sub(r"(?m)^    h(\d):", r"    kv\1:", right))
    said = fleet.operate("apply", "--dry-run", status=range(4))
    fleet.inventory.write_text(right)
    expect(not re.search(r"(?m)^ *\d+ +(?:add|remove) ", said), f"other names of the hosts change members:\n{said}")
    return said.strip().splitlines()[-1]


def led_by_another_first(witness, number, since):
    """Before a leader was removed, as a member that stays has seen it."""
    words = ["journalctl", "--no-pager", "-o", "json", f"--since=@{since:.3f}", f"--unit={UNIT}"]
    leader = None
    for line in witness.text(*words, f"MESSAGE_ID={LED}", f"MESSAGE_ID={MEMBERS_CHANGED}").splitlines():
        entry = json.loads(line)
        leader = entry.get("COVEY_LEADER", leader)
        if entry.get("COVEY_CHANGE") == f"removed member {number:x}":
            return expect(leader not in (None, f"{number:x}"), f"{witness.name}: {number:x} was removed while it led")
    raise LabError(f"{witness.name} has not seen that {number:x} was removed")


@drill(brief=True)
def all_members_are_replaced_one_by_one(stage):
    """Each by the host that is free; who leads hands over before it goes, to one that stays (17 of the contract)."""
    fleet = stage.cluster
    alone = gaps.quiet(stage.writer)
    account, begun, term = gaps.Account(stage.writer), time.monotonic(), raft_term(fleet)
    for old in list(fleet.hosts):
        new, at, led = fleet.spare, time.monotonic(), fleet.leader().name == old.name
        number = int(fleet.gateway(old).post("/v3/maintenance/status", {})["header"]["member_id"])
        asked, kept = time.time(), fleet.others(old)[0]
        command = fleet.begin("member", "replace", old.name, new.name)
        command.end()
        if led:
            led_by_another_first(kept, number, asked)
        stage.writer.wait_for_more()
        account.add(at, gaps.moments(fleet, command, kept, asked))
        is_set_aside(old)
        fleet.now(*fleet.others(old), new)
        expect("Nothing to do" in fleet.operate("apply"), "a second apply has something to do")
    took, terms = time.monotonic() - begun, raft_term(fleet) - term
    usual = f"usually one each {stage.writer.usual(begun) * 1000:.0f} ms"
    return f"{took:.1f} s, {account}; {alone}; {usual}; led by {terms + 1} one after the other"


@on_upstream
def a_living_member_is_replaced(stage):
    fleet, since = stage.cluster, time.monotonic()
    old, new = fleet.leader(), fleet.spare
    fleet.operate("member", "replace", old.name, new.name)
    gap = quietest(stage, since)
    is_set_aside(old)
    fleet.now(*fleet.others(old), new)
    return gap


@on_upstream
@drill()
def all_members_restart_one_by_one(stage):
    fleet = stage.cluster
    leader = fleet.leader()
    before = {host.name: host.property(UNIT, "MainPID") for host in fleet.hosts}
    begun = time.monotonic()
    said = fleet.operate("restart", "--soak", "1s")
    gap = quietest(stage, begun)
    for host in fleet.hosts:
        expect(host.property(UNIT, "MainPID") != before[host.name], f"the member of {host.name} was not restarted")
    order = re.findall(r"\] \d/\d restart (h\d)", said)
    expect(order and order[-1] == leader.name, f"the leader {leader.name} was not last: {order}")
    return gap


@drill()
def a_broken_member_is_restarted_first(stage):
    """18 of the contract: never a second one while it is down."""
    fleet = stage.cluster
    broken, begun = fleet.followers()[0], time.monotonic()
    broken.run(["systemctl", "stop", UNIT])
    said = fleet.operate("restart", "--soak", "1s")
    order = re.findall(r"\] \d/\d restart (h\d)", said)
    expect(order and order[0] == broken.name and len(order) == 3, f"{broken.name} was not first: {order}")
    # One kernel, one clock: it served again before another one stopped.
    served = int(broken.property(UNIT, "ActiveEnterTimestampMonotonic"))
    for host in fleet.others(broken):
        stopped = int(host.property(UNIT, "InactiveEnterTimestampMonotonic"))
        expect(stopped > served, f"{host.name} was stopped while {broken.name} was down")
    fleet.wait_healthy()
    return quietest(stage, begun)


@on_upstream
@drill(brief=True)
def a_dead_member_is_replaced(stage):
    """5 of the contract: a host without power, of which nobody hears anything; it comes back and is no member."""
    fleet, begun = stage.cluster, time.monotonic()
    dead, spare = fleet.leader(), fleet.spare
    dead.power_loss(lose_unsynced=True)
    said = fleet.operate("member", "replace", dead.name, spare.name, status=3)
    expect("FENCE" in said and f"--attest-dead {dead.name}" in said, f"the refusal does not say what is wanted:\n{said}")
    promises.the_cluster_is_not_healthy(fleet.others(dead)[0], "AT-RISK")
    fleet.operate("member", "replace", dead.name, spare.name, "--attest-dead", dead.name)
    took, gap = time.monotonic() - begun, quietest(stage, begun)
    dead.boot()
    fleet.now(*fleet.others(dead), spare)
    until(lambda: dead.property(UNIT, "ActiveState") in ("inactive", "failed"), 30, "the member that was declared dead serves again")
    return f"{took:.1f} s, {gap}; the host that came back is no member"


@on_upstream
@drill(brief=True)
def all_hosts_of_the_fleet_reboot(stage):
    """4 of the contract."""
    fleet = stage.cluster
    leaders = [(host, host.reboot()) for host in fleet.hosts]
    begun = time.monotonic()
    for host, leader in leaders:
        host.wait_rebooted(leader)
    fleet.wait_healthy()
    healthy = time.monotonic() - begun
    for host in fleet.hosts:
        fleet.agent_is_up(host)
        text = host.text("cat", f"/etc/covey/{NAME}/server.yaml")
        expect(re.search(r'initial-cluster-state: "?existing', text), f"{host.name} would make a new cluster at its next start:\n{text}")
    return f"healthy unaided after {healthy:.1f} s"


def scaled(stage, *counts):
    """16 of the contract: by many and by few. Never two changes in flight, and no elections that nobody needed."""
    fleet, lines = stage.cluster, []
    for count in counts:
        begun, names = time.monotonic(), {host.name for host in fleet.hosts}
        term = raft_term(fleet)
        if count > len(names):
            coming = [host for host in fleet.everywhere if host.name not in names][:count - len(names)]
            said = fleet.operate("member", "add", *[host.name for host in coming])
            hosts = [*fleet.hosts, *coming]
        else:
            # The leader, too: it hands over.
            leader = fleet.leader()
            leaving = [leader, *fleet.others(leader)][:len(names) - count]
            said = fleet.operate("member", "remove", *[host.name for host in leaving])
            hosts = fleet.others(*leaving)
            for host in leaving:
                is_set_aside(host)
        steps = re.findall(r"\[ok \] \d+/\d+ (?:add|remove) .*  voters (\d), can lose (\d)", said)
        between = range(len(names), count, 1 if count > len(names) else -1)
        wanted = [(str(number), str((number - 1) // 2)) for number in [*list(between)[1:], count]]
        expect(steps == wanted, f"voters and tolerance were {steps}, not {wanted}:\n{said}")
        fleet.now(*hosts)
        fleet.wait_healthy()
        terms = raft_term(fleet) - term
        expect(terms <= len(steps), f"{terms} elections for {len(steps)} changes")
        fleet.clear_quarantine()
        stage.writer.wait_for_more()
        lines.append(f"{count} after {time.monotonic() - begun:.1f} s")
    return ", ".join(lines)


def raft_term(fleet):
    return max(int(status["raftTerm"]) for status in fleet.statuses().values() if status)


@drill()
def three_become_five_and_one_and_three_again(stage):
    begun = time.monotonic()
    return f"{scaled(stage, 5, 3, 1, 3)}; {quietest(stage, begun)}"


@drill(always=False)
def one_three_five_three_one_five_times(stage):
    begun = time.monotonic()
    scaled(stage, 1)
    for _ in range(5):
        scaled(stage, 3, 5, 3, 1)
    scaled(stage, 3)
    return f"{time.monotonic() - begun:.0f} s, {quietest(stage, begun)}"
