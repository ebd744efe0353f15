"""The agent's drills: three bare hosts and a spare become a cluster from one inventory, and its members change while it is written
to. The operator's commands run at the lab's own place; only `enroll` runs outside, because its way into a host is the lab's.
"""

import json
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
        # The disk under the lab is nobody's server's: what it can do is not what these drills are about.
        lines = [f"metadata: {{name: {NAME}}}", "spec:", "  storage: {maxFsyncP99: 1s, quota: 256MiB}", "  hosts:"]
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

    @property
    def spare(self):
        return next(host for host in self.everywhere if host not in self.hosts)

    def agent_dies_at(self, host, point):
        """Its agent is killed whenever it comes to this place (`render/intent`: written down, not done); nil mends it."""
        folder = "/etc/systemd/system/covey-agent.service.d"
        if point:
            host.run(["mkdir", "-p", folder])
            host.run(["tee", f"{folder}/90-drill.conf"], input=f"[Service]\nEnvironment=COVEY_AGENT_CRASH={point}\n")
        else:
            host.run(["rm", "-r", folder])
        host.run(["systemctl", "daemon-reload"])
        host.run(["systemctl", "reset-failed", "covey-agent"], check=False)
        host.run(["systemctl", "restart", "covey-agent"])
        until(lambda: host.property("covey-agent", "ActiveState") == "active", 20, f"the agent of {host.name} does not run")

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
def what_cannot_become_a_cluster_is_refused(stage):
    """3 and 13 of the contract: an inventory with one address twice, and a host with data nobody knows."""
    fleet = stage.cluster
    right = fleet.inventory.read_text()
    fleet.inventory.write_text(right.replace(fleet.host("h2").address, fleet.host("h3").address))
    said = fleet.operate("validate", status=2)
    expect(fleet.host("h3").address in said and "cluster.yaml:" in said, f"validate does not name the address and its place:\n{said}")
    fleet.operate("apply", status=2)
    fleet.inventory.write_text(right)
    stranger = fleet.host("h1")
    stranger.run(["mkdir", "-p", f"/var/lib/covey/{NAME}/member"])
    said = fleet.operate("apply", status=3)
    expect("h1" in said, f"apply does not name the host with the data:\n{said}")
    for host in fleet.hosts:
        expect(host.run(["test", "-e", f"/etc/covey/{NAME}/server.yaml"], check=False).returncode, f"{host.name} was changed")
    stranger.run(["rmdir", f"/var/lib/covey/{NAME}/member"])


@drill(loaded=False)
def a_bootstrap_that_stopped_is_given_up(stage):
    """2 of the contract: what was begun is taken back, and the next attempt is another cluster."""
    fleet = stage.cluster
    fleet.agent_dies_at(fleet.host("h3"), "certificates/acted")
    said = fleet.operate("apply", status=4)
    expect("covey op resume" in said, f"apply does not say how to go on:\n{said}")
    ledger = f"/var/lib/covey-agent/{NAME}/ledger.json"
    token = json.loads(fleet.host("h1").text("cat", ledger))["token"]
    fleet.agent_dies_at(fleet.host("h3"), None)
    fleet.operate("apply", status=5)
    fleet.operate("op", "abort")
    expect(fleet.host("h1").run(["test", "-e", ledger], check=False).returncode, "the ledger of what was given up is still there")
    stage.void_token = token


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
    token = json.loads(fleet.host("h1").text("cat", f"/var/lib/covey-agent/{NAME}/ledger.json"))["token"]
    expect(token != stage.void_token, "the token of the bootstrap that was given up is used again")
    fleet.operate("status")
    return f"first write acknowledged by a quorum after {first[1]} s"


def quietest(stage, since):
    now = time.monotonic()
    stage.writer.wait_for_more()
    return f"without an acknowledged write at most {stage.writer.longest_gap(since, now):.2f} s"


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


@drill()
def all_members_are_replaced_one_by_one(stage):
    """Each by the host that is free; one of them leads, and hands over before it goes (17 of the contract)."""
    fleet, begun, gaps = stage.cluster, time.monotonic(), []
    for old in list(fleet.hosts):
        new, since = fleet.spare, time.monotonic()
        kept = [host.name for host in fleet.hosts if host is not old]
        fleet.operate("member", "replace", old.name, new.name)
        stage.writer.wait_for_more()
        gaps += stage.writer.gaps(since, time.monotonic())
        expect(old.property(UNIT, "ActiveState") == "inactive", f"{old.name}: the member that was replaced still runs")
        expect(NAME in old.text("ls", "/var/lib/covey/quarantine"), f"{old.name}: the data that was replaced is not set aside")
        fleet.now(*kept, new.name)
    took = time.monotonic() - begun
    return f"{took:.1f} s, without an acknowledged write at most {max(gaps, default=0):.2f} s, {sum(gaps):.2f} s in all"


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
    fleet.wait_healthy()
    return quietest(stage, begun)


@drill()
def a_dead_member_is_replaced_although_an_agent_is_killed(stage):
    """5 and, for one step, 6 of the contract: the operation goes on where it stopped, with one removal and one addition."""
    fleet, begun = stage.cluster, time.monotonic()
    dead, spare = fleet.leader(), fleet.spare
    kept = [host.name for host in fleet.hosts if host is not dead]
    fleet.agent_dies_at(spare, "render/intent")
    dead.power_loss(lose_unsynced=True)
    fleet.operate("member", "replace", dead.name, spare.name, status=3)
    said = fleet.operate("member", "replace", dead.name, spare.name, "--attest-dead", dead.name, status=4)
    expect("covey op resume" in said, f"replace does not say how to go on:\n{said}")
    fleet.agent_dies_at(spare, None)
    fleet.operate("op", "resume")
    took, gap = time.monotonic() - begun, quietest(stage, begun)
    dead.boot()
    fleet.now(*kept, spare.name)
    returned = dead
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
