"""The agent's drills: three bare hosts and a spare become a cluster from one inventory, and its members change while it is written
to. The operator's commands run at the lab's own place; only `enroll` runs outside, because its way into a host is the lab's.
"""

import re
import subprocess
import time

from systemdlab.processes import LabError, run, until

from .cluster import NAME, UNIT, Cluster
from .scenarios import expect

DRILLS = []


def drill(loaded=True):
    def add(function):
        DRILLS.append((function.__name__.replace("_", " "), function, loaded))
        return function

    return add


class Fleet(Cluster):
    """A cluster that agents make. `hosts` are those with a member; `everywhere` has the spare, too."""

    def __init__(self, lab, hosts, package, program):
        super().__init__(lab, hosts[:3], package, program)
        self.everywhere = hosts
        self.write_inventory()
        folder = self.folder / f".covey/{NAME}/client"
        self.client_authority, self.operator_certificate, self.operator_key = (folder / name for name in ("ca.crt", "client.crt", "client.key"))

    def write_inventory(self):
        members = {host.name for host in self.hosts}
        lines = [f"metadata: {{name: {NAME}}}", "spec:", "  hosts:"]
        for host in self.everywhere:
            role = "" if host.name in members else ", role: spare"
            lines.append(f"    {host.name}: {{address: {host.address}{role}}}")
        self.inventory.write_text("\n".join(lines) + "\n")

    def operate(self, *words, status=0, timeout=300):
        """One of the operator's commands, and everything it said."""
        words = ["env", "-C", self.folder, self.program, *words]
        done = subprocess.run(self.lab.entering(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
        if done.returncode != status:
            raise LabError(f"covey {' '.join(map(str, words[4:]))}: exit {done.returncode}, not {status}:\n{done.stdout[-3000:]}")
        return done.stdout

    def host(self, name):
        return next(host for host in self.everywhere if host.name == name)

    def now(self, *names):
        """Who has a member after a change; the inventory says so, and `apply` agrees."""
        self.hosts = [self.host(name) for name in names]
        self.write_inventory()
        self.operate("apply")
        expect("Nothing to do" in self.operate("apply"), "a second apply has something to do")


@drill(loaded=False)
def the_package_is_on_four_hosts(stage):
    for host in stage.cluster.everywhere:
        host.put(stage.cluster.package, "/var/tmp/covey.deb")
        host.run(["dpkg", "--install", "/var/tmp/covey.deb"])


@drill(loaded=False)
def agents_get_their_identity(stage):
    fleet = stage.cluster
    for host in fleet.everywhere:
        door = fleet.folder / f"enter-{host.name}"
        door.write_text(f"#!/bin/sh\nexec {' '.join(host.entering([]))} \"$@\"\n")
        door.chmod(0o755)
    run(["env", "-C", fleet.folder, fleet.program, "enroll", "--through", f"{fleet.folder}/enter-HOST"])
    for host in fleet.everywhere:
        until(lambda host=host: host.property("covey-agent", "ActiveState") == "active", 20, f"the agent of {host.name} does not run")
        expect(host.text("stat", "-c", "%a", "/etc/covey/agent/agent.key") == "600", f"{host.name}: others may read the agent's key")
    return f"{len(fleet.everywhere)} agents run"


@drill(loaded=False)
def one_apply_makes_a_cluster(stage):
    fleet = stage.cluster
    fleet.operate("preflight")
    said = fleet.operate("apply")
    first = re.search(r"first write acknowledged by a quorum ([0-9.]+) s", said)
    expect(first, f"apply does not say when the first write was acknowledged:\n{said}")
    fleet.wait_healthy()
    for host in fleet.hosts:
        text = host.text("cat", f"/etc/covey/{NAME}/server.yaml")
        expect('initial-cluster-state: "existing"' in text, f"{host.name} would make a new cluster at its next start:\n{text}")
        expect(host.text("systemctl", "is-enabled", UNIT) == "enabled", f"{UNIT} on {host.name} is not enabled")
    expect("Nothing to do" in fleet.operate("apply"), "a second apply has something to do")
    fleet.operate("status")
    return f"first write acknowledged by a quorum after {first[1]} s"


def quietest(stage, since):
    now = time.monotonic()
    stage.writer.wait_for_more()
    return f"without an acknowledged write at most {stage.writer.longest_gap(since, now):.2f} s"


@drill()
def a_living_member_is_replaced(stage):
    fleet, begun = stage.cluster, time.monotonic()
    fleet.operate("member", "replace", "h2", "h4")
    took, gap = time.monotonic() - begun, quietest(stage, begun)
    old = fleet.host("h2")
    expect(old.property(UNIT, "ActiveState") == "inactive", "the member that was replaced still runs")
    expect(NAME in old.text("ls", "/var/lib/covey/quarantine"), "the data that was replaced is not set aside")
    fleet.now("h1", "h3", "h4")
    return f"{took:.1f} s, {gap}"


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
def a_dead_member_is_replaced(stage):
    fleet, begun = stage.cluster, time.monotonic()
    fleet.host("h3").power_loss(lose_unsynced=True)
    fleet.operate("member", "replace", "h3", "h2", "--attest-dead", "h3")
    took, gap = time.monotonic() - begun, quietest(stage, begun)
    fleet.host("h3").boot()
    fleet.now("h1", "h2", "h4")
    returned = fleet.host("h3")
    until(lambda: returned.property(UNIT, "ActiveState") != "active", 30, "the member that was declared dead serves again")
    return f"{took:.1f} s, {gap}; the host that came back is no member"


@drill()
def all_hosts_of_the_fleet_reboot(stage):
    fleet = stage.cluster
    leaders = [(host, host.reboot()) for host in fleet.hosts]
    begun = time.monotonic()
    for host, leader in leaders:
        host.wait_rebooted(leader)
    fleet.wait_healthy()
    healthy = time.monotonic() - begun
    for host in fleet.hosts:
        until(lambda host=host: host.property("covey-agent", "ActiveState") == "active", 30, f"the agent of {host.name} does not run")
    expect("Nothing to do" in fleet.operate("apply"), "apply has something to do after a reboot")
    return f"healthy unaided after {healthy:.1f} s"
