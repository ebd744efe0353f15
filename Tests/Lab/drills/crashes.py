"""Agents and members end in the middle of an operation: it goes on or is resumed, with nothing done twice."""

import time

from systemdlab.processes import LabError, until

from . import promises
from .acts import FLEET, expect
from .cluster import UNIT
from .members import quietest

drill = FLEET.drill

# What a replacement has agents do, in this order: on the host that comes, and then on one that stays.
SPARE_STEPS = ["keys", "certificates", "ledger", "render", "unmask+enable+start"]
KEPT_STEPS = ["ledger", "render"]
EVERY = [("spare", f"{step}/{when}") for step in SPARE_STEPS for when in ("intent", "acted")]
# The unit's file is there, and systemd has not read it.
EVERY += [("spare", "render/written")]
EVERY += [("kept", f"{step}/{when}") for step in KEPT_STEPS for when in ("intent", "acted")]
# One where the agent is asked again, one where the operation stops, one on a host that has a member.
SOME = [("spare", "certificates/acted"), ("spare", "unmask+enable+start/intent"), ("kept", "ledger/acted")]


def replace_while_an_agent_dies(stage, who, point):
    """A dead member is replaced, and the agent is killed at one step of it. How it went on."""
    fleet = stage.cluster
    dead = fleet.followers()[0]
    kept, spare = fleet.others(dead), fleet.spare
    # Its processes are gone at once and its address refuses: what waiting for silence costs another drill shows.
    dead.power_loss(lose_unsynced=True, silent=False)
    victim = spare if who == "spare" else kept[-1]
    fleet.agent_dies_at(victim, point)
    since = time.time()
    _, how = fleet.carried_out("member", "replace", dead.name, spare.name, "--attest-dead", dead.name)
    fleet.died(victim)
    changes = fleet.member_changes(kept[0], since)
    expect(len(changes) == 3, f"killed at {point}: one removal, one addition and one promotion were wanted: {changes}")
    dead.boot()
    fleet.now(*kept, spare)
    fleet.wait_healthy()
    until(lambda: dead.property(UNIT, "ActiveState") in ("inactive", "failed"), 30, "the member that was declared dead serves again")
    fleet.clear_quarantine()
    return how


def killed_at(stage, points):
    begun, ways = time.monotonic(), []
    for who, point in points:
        try:
            ways.append(replace_while_an_agent_dies(stage, who, point))
        except Exception as error:
            raise LabError(f"agent of the {who} killed at {point}: {error}") from error
    resumed = ways.count("resumed")
    return f"{len(points)} kills, {resumed} resumed, the others went on by themselves; {quietest(stage, begun)}"


@drill()
def an_agent_is_killed_at_some_steps_of_a_replacement(stage):
    """6 of the contract, three of its runs. Each has the host that came back as its spare, so that is proven as well."""
    return killed_at(stage, SOME)


@drill(always=False)
def an_agent_is_killed_at_every_step_of_a_replacement(stage):
    """6 of the contract."""
    return killed_at(stage, EVERY)


@drill()
def the_quorum_is_lost_in_the_middle_of_a_replacement(stage):
    """8 of the contract: it stops, says who brings the quorum back, and goes on when that one has."""
    fleet, begun = stage.cluster, time.monotonic()
    dead, lost = fleet.followers()
    left, spare = fleet.others(dead, lost)[0], fleet.spare
    dead.power_loss(lose_unsynced=True, silent=False)
    since = time.time()
    command = fleet.begin("member", "replace", dead.name, spare.name, "--attest-dead", dead.name)
    command.wait_for(rf"\[ok \] \d/\d remove {dead.name}")
    lost.power_loss(lose_unsynced=True, silent=False)
    said = command.end(4)
    expect("NO-QUORUM" in said and f"start {lost.name}" in said, f"it does not say that {lost.name} brings the quorum back:\n{said}")
    expect("covey op resume" in said, f"it does not say how to go on:\n{said}")
    status = fleet.operate("status", status=13)
    expect("NO-QUORUM" in status and lost.name in status, f"status does not name {lost.name}:\n{status}")
    promises.the_cluster_is_not_healthy(left, "NO-QUORUM")
    refused = fleet.operate("op", "resume", status=3)
    expect(lost.name in refused, f"resume without a quorum does not name {lost.name}:\n{refused}")
    lost.boot()
    fleet.agent_is_up(lost)
    until(lambda: fleet.statuses()[lost.name], 30, f"the member of {lost.name} does not come back")
    fleet.leader([lost, left])
    fleet.operate("op", "resume")
    changes = fleet.member_changes(left, since)
    expect(len(changes) == 3, f"one removal, one addition and one promotion were wanted: {changes}")
    dead.boot()
    fleet.now(left, lost, spare)
    return quietest(stage, begun)


@drill()
def an_agent_is_killed_while_its_member_restarts(stage):
    """22 of the contract: the member is up again within seconds, whatever its agent does."""
    fleet, begun = stage.cluster, time.monotonic()
    host = fleet.followers()[0]
    before = {one.name: one.property(UNIT, "MainPID") for one in fleet.hosts}
    fleet.agent_dies_at(host, "restart/acted")
    command = fleet.begin("restart", "--soak", "1s")
    fleet.died(host)
    at = time.monotonic()
    until(lambda: fleet.statuses()[host.name], 30, f"the member of {host.name} does not come back")
    back = time.monotonic() - at
    said = command.end((0, 4))
    if "STOPPED" in said:
        fleet.agent_is_up(host)
        fleet.operate("op", "resume", "--soak", "1s")
    for one in fleet.hosts:
        expect(one.property(UNIT, "MainPID") != before[one.name], f"the member of {one.name} was not restarted")
    return f"serves again after {back:.1f} s; {'resumed' if 'STOPPED' in said else 'went on by itself'}; {quietest(stage, begun)}"
