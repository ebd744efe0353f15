"""What operators do that no plan has: they press Ctrl-C, are two at once, come at a bad time, and take the package away."""

import os
import random
import re
import signal
import time

from systemdlab.processes import children, name_of, until

from .acts import FLEET, expect
from .cluster import NAME, UNIT
from .fleet import AGENT
from .members import quietest

drill = FLEET.drill


def program_below(pid):
    """The command itself, below what enters the lab."""
    for child in children(pid):
        found = child if name_of(child) == "covey" else program_below(child)
        if found:
            return found
    return None


def interrupt(command):
    """Ctrl-C. False when it had ended before."""
    pid = until(lambda: program_below(command.process.pid) or command.process.poll() is not None, 10, "the command does not begin")
    if pid is True:
        return False
    os.kill(pid, signal.SIGINT)
    return True


# Where a replacement is interrupted: at a line of its own, or while a step goes on, by what the members say of the one that comes.
MOMENTS = {
    "it has begun": r"  op members-",
    "the spare is prepared": r"\[ok \] 1/3 prepare",
    "there is a learner": lambda listed: listed is not None,
    "there is a voter more": lambda listed: listed == {"learner": False},
    "the spare is added": r"\[ok \] 2/3 add",
    "the old data is set aside": r"  data: ",
    "the old member is removed": r"\[ok \] 3/3 remove",
}


def drill_seed():
    """Chance of a drill that can be had again."""
    return int(os.environ.get("DRILL_SEED") or random.randrange(1 << 32))


def wait_for_moment(fleet, command, moment, new, kept):
    """Or the command's end, which a moment that is over at once may hide."""
    if isinstance(moment, str):
        return command.wait_for(moment)
    return until(
        lambda: moment(fleet.listed(new, kept)) or command.process.poll() is not None, 60, f"{new.name} does not come", pause=0.01)


def interrupted(stage, moments, seed):
    """It stops between two steps, says how to go on, and nothing is done twice."""
    fleet, begun, ways = stage.cluster, time.monotonic(), []
    for name in moments:
        old, new, since = fleet.followers()[0], fleet.spare, time.time()
        kept = fleet.others(old)
        words = ("member", "replace", old.name, new.name)
        command = fleet.begin(*words)
        wait_for_moment(fleet, command, MOMENTS[name], new, kept)
        interrupt(command)
        said = command.end((0, 1, 4))
        context = f"seed {seed}, interrupted when {name}"
        if "STOPPED" in said:
            expect("covey op resume" in said and "covey op abort" in said, f"{context}: it does not say how to go on:\n{said}")
            expect("STOPPED: interrupted" in said, f"{context}: it stopped for another reason:\n{said}")
            expect(" open " in fleet.operate("op", "ls"), f"{context}: the operation is not open any more")
            fleet.operate("op", "resume")
        elif command.process.returncode == 1:
            expect("nothing was changed" in said, f"{context}: it does not say what is left:\n{said}")
            fleet.operate(*words)
        outcome = {0: "was done already", 1: "begun again", 4: "resumed"}[command.process.returncode]
        ways.append(f"{name}: {outcome}")
        changes = fleet.member_changes(kept[0], since)
        expect(len(changes) == 3, f"{context}: one addition, one promotion and one removal were wanted: {changes}")
        fleet.now(*kept, new)
        fleet.clear_quarantine()
    return f"seed {seed}: {', '.join(ways)}; {quietest(stage, begun)}"


@drill()
def an_operator_presses_ctrl_c(stage):
    """At a moment chosen by chance, with a seed that is told."""
    seed = drill_seed()
    return interrupted(stage, [random.Random(seed).choice(list(MOMENTS))], seed)


@drill(always=False)
def a_change_is_interrupted_again_and_again(stage):
    """At every moment, in an order chosen by chance."""
    seed = drill_seed()
    return interrupted(stage, random.Random(seed).sample(list(MOMENTS), len(MOMENTS)), seed)


@drill()
def two_operators_at_once(stage):
    """Both want the spare. One gets it, the other is told who has the cluster; there is one change."""
    fleet, begun, since = stage.cluster, time.monotonic(), time.time()
    first, second = fleet.followers()
    spare = fleet.spare
    commands = [(old, fleet.begin("member", "replace", old.name, spare.name)) for old in (first, second)]
    said = {old.name: command.end((0, 3, 5, 6)) for old, command in commands}
    codes = {old.name: command.process.returncode for old, command in commands}
    winners = [old for old, command in commands if command.process.returncode == 0]
    expect(len(winners) <= 1, f"two operations were carried out: {codes}")
    for old, command in commands:
        expect(old in winners or "Nothing to do" not in said[old.name], f"the one who was refused was told nothing:\n{said[old.name]}")
    if not winners:
        # Each had taken what the other needed; neither has anything now.
        fleet.operate("member", "replace", first.name, spare.name)
        winners = [first]
    changes = fleet.member_changes(fleet.others(first, second)[0], since)
    expect(len(changes) == 3, f"one addition, one promotion and one removal were wanted: {changes}")
    fleet.now(*fleet.others(winners[0]), spare)
    return f"exit codes {sorted(codes.values())}; {quietest(stage, begun)}"


@drill(always=False)
def a_member_is_wanted_while_one_is_down(stage):
    """Refused, with the name of the one that is down, and nothing is changed."""
    fleet, begun = stage.cluster, time.monotonic()
    down = fleet.followers()[0]
    members = {host.name for host in fleet.hosts}
    down.power_loss(lose_unsynced=True, silent=False)
    until(lambda: fleet.statuses()[down.name] is None, 30, f"{down.name} still answers")
    said = fleet.operate("member", "add", fleet.spare.name, "--accept-even", status=3)
    expect(down.name in said and "nothing was changed" in said, f"the refusal does not name {down.name}:\n{said}")
    said = fleet.operate("restart", fleet.others(down)[0].name, status=3)
    expect(down.name in said, f"the refusal of a restart does not name {down.name}:\n{said}")
    down.boot()
    fleet.wait_healthy()
    listing = fleet.operate("member", "ls")
    expect(members == {line.split()[0] for line in listing.splitlines()[1:]}, f"other members than before:\n{listing}")
    return quietest(stage, begun)


@drill(always=False)
def a_setting_is_changed(stage):
    """`apply` restarts those for whom it matters, one by one, the leader last; what is set back is another change. An agent is killed
    after it wrote the unit's file and before systemd read it: its member is started with what the file says all the same."""
    fleet, begun = stage.cluster, time.monotonic()
    # Within what the machine allows its containers.
    files, victim = 12345, fleet.followers()[0]
    right = fleet.inventory.read_text()
    before = {host.name: host.property(UNIT, "MainPID") for host in fleet.hosts}
    try:
        fleet.inventory.write_text(
            right.replace("quota: 256MiB", "quota: 300MiB").replace("  hosts:", f"  limits: {{openFiles: {files}}}\n  hosts:"))
        fleet.agent_dies_at(victim, "render/written")
        _, how = fleet.carried_out("apply", "--soak", "1s")
        fleet.died(victim)
        for host in fleet.hosts:
            text = host.text("cat", f"/etc/covey/{NAME}/server.yaml")
            expect(str(300 << 20) in text, f"{host.name} has another quota:\n{text}")
            expect(host.property(UNIT, "MainPID") != before[host.name], f"the member of {host.name} was not restarted")
            expect(host.property(UNIT, "NeedDaemonReload") == "no", f"systemd on {host.name} has not read the unit's file")
            limits = host.text("cat", f"/proc/{host.property(UNIT, 'MainPID')}/limits")
            expect(re.search(rf"Max open files +{files} ", limits), f"{host.name} runs as the old unit says:\n{limits}")
        expect("Nothing to do" in fleet.operate("apply"), "a second apply has something to do")
    finally:
        fleet.inventory.write_text(right)
    # The same on a host that does nothing after it: nobody asks, and the agent sees it when it looks around.
    fleet.agent_dies_at(victim, "render/written")
    asked = fleet.begin("apply", "--soak", "1s")
    fleet.died(victim)
    fleet.agent_is_up(victim)
    until(lambda: victim.property(UNIT, "NeedDaemonReload") == "no", 30, f"systemd on {victim.name} does not read the unit's file")
    if "STOPPED" in asked.end((0, 4)):
        fleet.operate("op", "resume", "--soak", "1s")
    return f"{how}; {quietest(stage, begun)}"


@drill()
def the_package_is_taken_away_and_comes_back(stage):
    """On one host: the cluster is told to be at risk, and nothing but the package is needed to be whole again."""
    fleet, begun = stage.cluster, time.monotonic()
    host = fleet.followers()[0]
    host.run(["dpkg", "--remove", "covey"])
    until(lambda: fleet.statuses()[host.name] is None, 30, f"the member of {host.name} goes on without its package")
    said = fleet.operate("status", status=12)
    expect(host.name in said, f"status does not name {host.name}:\n{said}")
    host.run(["dpkg", "--install", "/var/tmp/covey.deb"])
    fleet.agent_is_up(host)
    expect(host.text("systemctl", "is-enabled", AGENT) == "enabled", f"{AGENT} would not start with {host.name}")
    took = fleet.wait_healthy()
    return f"healthy {took:.1f} s after it was back; {quietest(stage, begun)}"
