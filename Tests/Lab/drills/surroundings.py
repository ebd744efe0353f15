"""What is wrong around a host and not on it: clocks, names, and a leader that nobody meant to have. It is told by name, with what was
seen, before anything is changed."""

import contextlib
import re
import shutil
import subprocess
import time
import urllib.request

from systemdlab.processes import LabError, run, until

from .acts import FLEET, expect
from .cluster import UNIT
from .fleet import AGENT, judged
from .members import quietest

drill = FLEET.drill

# One kernel has one clock: an agent is told another one, before the C library is asked.
CLOCK = """#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += SECONDS;
    return result;
}
"""


@contextlib.contextmanager
def clock_off(fleet, host, seconds):
    """The agent's; it is the one that is asked."""
    compiler = shutil.which("cc") or shutil.which("clang")
    if not compiler:
        raise LabError("a C compiler (cc, clang) is needed to set an agent's clock")
    source, library = fleet.folder / "clock.c", fleet.folder / "clock.so"
    source.write_text(CLOCK)
    run([compiler, "-shared", "-fPIC", "-O1", f"-DSECONDS=({seconds})", "-o", library, source])
    host.put(library, "/usr/lib/drill-clock.so", mode=0o755)
    settings = f"/etc/systemd/system/{AGENT}.d/97-clock.conf"
    host.run(["tee", settings], input="[Service]\nEnvironment=LD_PRELOAD=/usr/lib/drill-clock.so\n")
    restarted(fleet, host)
    try:
        yield
    finally:
        host.run(["rm", settings, "/usr/lib/drill-clock.so"])
        restarted(fleet, host)


def restarted(fleet, host):
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "restart", AGENT])
    fleet.agent_is_up(host)


def nothing_was_changed(fleet, members):
    listing = fleet.operate("member", "ls")
    expect(members == {line.split()[0] for line in listing.splitlines()[1:]}, f"other members than before:\n{listing}")


@drill()
def a_clock_that_is_minutes_off_is_named(stage):
    """Fast and slow: preflight and doctor name the host and how far it is off, and the gate CLOCK refuses it."""
    fleet, begun = stage.cluster, time.monotonic()
    wrong, old = fleet.spare, fleet.followers()[0]
    members = {host.name for host in fleet.hosts}
    for seconds in (180, -180):
        with clock_off(fleet, wrong, seconds):
            for verb, code in (("preflight", 1), ("doctor", 1), (("member", "replace", old.name, wrong.name), 3)):
                said = fleet.operate(*((verb,) if isinstance(verb, str) else verb), status=code)
                found = re.search(rf"the clock of {wrong.name} differs by (-?\d+) ms", said)
                told = found and abs(int(found[1]) - seconds * 1000) < 5000
                expect(told, f"{verb} does not say that {wrong.name} is {seconds} s off:\n{said}")
        expect("CLOCK" in said and "nothing was changed" in said, f"the gate is not named:\n{said}")
        nothing_was_changed(fleet, members)
    return f"{found[0]}; {quietest(stage, begun)}"


@drill()
def a_name_that_means_another_host_is_named(stage):
    """One host has an old address for a name, and one has none: preflight says which hosts, and what the name is there; the gate
    CERT refuses to make it a member."""
    fleet, begun = stage.cluster, time.monotonic()
    named, (wrong, blind, right) = fleet.spare, fleet.hosts
    old = fleet.followers()[0]
    name, kept = f"{named.name}.lab.internal", fleet.inventory.read_text()
    members = {host.name for host in fleet.hosts}
    line = f"{named.address} {name}\n"
    lines = {wrong: f"{right.address} {name}\n", blind: ""}
    before = {}
    for host in fleet.everywhere:
        before[host] = host.run(["cat", "/etc/hosts"], check=False).stdout
        host.run(["tee", "/etc/hosts"], input=before[host] + lines.get(host, line))
    own = fleet.folder / "hosts"
    own.write_text(f"127.0.0.1 localhost\n{line}")
    # The operator's machine knows the name as well; only this command sees that file.
    seen = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', own]

    def operate(*words, status=0):
        command = fleet.lab.entering([*seen, "env", "-C", fleet.folder, fleet.program, *words])
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        return judged(words, done.returncode, status, done.stdout)

    def enroll(text):
        fleet.inventory.write_text(text)
        fleet.enroll(named)

    try:
        enroll(kept.replace(f"address: {named.address}", f"address: {name}"))
        said = operate("preflight", status=1)
        for host, meaning in ((wrong, f"({name} is {right.address} there)"), (blind, f"nobody there knows {name}")):
            lines = [line for line in said.splitlines() if line.startswith(f"FAIL agents.handshake {host.name}: ")]
            told = lines and f"{named.name} port 2378" in lines[0] and meaning in lines[0]
            expect(told, f"it does not say what {host.name} makes of it:\n{said}")
        expect(f"FAIL agents.handshake {right.name}" not in said, f"{right.name} knows the name:\n{said}")
        said = operate("member", "replace", old.name, named.name, status=3)
        # Who leaves need not get through to anybody.
        told = [host for host in (wrong, blind) if host != old]
        for host in told:
            expect(f"{host.name} does not reach {named.name} port 2378" in said, f"the gate does not name {host.name}:\n{said}")
        expect("CERT" in said and "nothing was changed" in said, f"the gate is not named:\n{said}")
    finally:
        for host, text in before.items():
            host.run(["tee", "/etc/hosts"], input=text)
        enroll(kept)
    nothing_was_changed(fleet, members)
    return f"{lines[0]}; {quietest(stage, begun)}"


def looked_again(fleet, hosts):
    """Their agents have looked at the whole cluster since, and from the beginning: twice."""
    def age(host):
        page = urllib.request.urlopen(f"http://{host.address}:2377/metrics", timeout=5).read().decode()
        return float(re.search(r"(?m)^covey_cluster_observed_age_seconds.* (\S+)$", page)[1])

    for host in hosts:
        for _ in range(2):
            seen = [age(host)]
            until(lambda seen=seen: seen.append(age(host)) or seen[-1] < seen[-2], 40, f"the agent of {host.name} does not look", pause=0.5)


@drill(always=False)
def an_election_nobody_asked_for_is_waited_out(stage):
    """The gate QUORUM, with its half minute: after a leader was killed a change waits, and says for how long; after one that handed over
    in an operation it does not."""
    fleet, begun = stage.cluster, time.monotonic()
    fleet.settings = ["policy: {quietTime: 30s}"]
    fleet.write_inventory()
    try:
        fleet.operate("apply")
        fleet.operate("member", "move-leader")
        said = fleet.operate("restart", fleet.followers()[0].name)
        expect("no operation asked for" not in said, f"it waits for its own doing:\n{said}")
        looked_again(fleet, fleet.hosts)
        leader = fleet.leader()
        leader.run(["systemctl", "kill", "--signal=KILL", UNIT])
        fleet.leader(fleet.others(leader))
        fleet.wait_healthy()
        old, new = fleet.followers()[0], fleet.spare
        said = fleet.operate("member", "replace", old.name, new.name)
        waited = re.search(r"an election (\d+) s ago that no operation asked for; waits (\d+) s", said)
        expect(waited and int(waited[1]) + int(waited[2]) == 30, f"it does not wait for quiet:\n{said}")
    finally:
        fleet.settings = []
    fleet.now(*fleet.others(old), new)
    return f"{waited[0]}; {quietest(stage, begun)}"
