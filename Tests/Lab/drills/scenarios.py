"""Members without agents: what systemd, the network, disks and power do to them."""

import json
import re
import secrets
import time

from systemdlab.processes import LabError, run, until

from .acts import HOSTS, expect
from .cluster import NAME, UNIT

drill = HOSTS.drill


def restarts(host):
    return int(host.property(UNIT, "NRestarts"))


def wait_restarted(host, before, seconds=60):
    until(lambda: restarts(host) > before and host.property(UNIT, "ActiveState") == "active", seconds, f"{UNIT} on {host.name} is not back")


def journal(host, since, *words):
    return host.text("journalctl", "--no-pager", "-o", "cat", f"--since=@{since:.3f}", f"--unit={UNIT}", *words)


# Without load: from nothing to a cluster


@drill(loaded=False)
def the_package_installs_on_bare_hosts(stage):
    run(["lintian", "--allow-root", "--fail-on=error", stage.cluster.package])
    for host in stage.cluster.hosts:
        host.put(stage.cluster.package, "/var/tmp/covey.deb")
        host.run(["dpkg", "--install", "/var/tmp/covey.deb"])
        host.run(["getent", "passwd", "covey"])
        expect(host.text("stat", "-c", "%U:%G %a", "/etc/covey") == "root:covey 750", f"{host.name}: owner of /etc/covey")
        running = host.text("systemctl", "list-units", "--no-legend", "--state=active", "covey-*")
        expect(running == "", f"{host.name}: installing started {running}")
        expect(host.text("covey", "version").startswith("covey "), f"{host.name}: the program does not run")
    size = stage.cluster.package.stat().st_size / 1e6
    return f"{size:.1f} MB, starts nothing"


@drill(loaded=False)
def three_members_come_up_with_mutual_tls(stage):
    cluster = stage.cluster
    cluster.issue_certificates()
    for host in cluster.hosts:
        # A minute is right for a host and too long for a drill.
        impatient = "[Service]\nWatchdogSec=4\nTimeoutAbortSec=2\n"
        host.run(["mkdir", "-p", f"/etc/systemd/system/{UNIT}.d"])
        host.run(["tee", f"/etc/systemd/system/{UNIT}.d/90-drill.conf"], input=impatient)
    cluster.render(token=secrets.token_hex(16))
    begun = time.monotonic()
    for host in cluster.hosts:
        # Each says that it is ready when there is a quorum: none may be waited for before all are started.
        host.run(["systemctl", "enable", "--now", "--no-block", UNIT])
    until(lambda: acknowledged(cluster), 60, "no write is acknowledged", pause=0.02)
    first = time.monotonic() - begun
    cluster.wait_healthy()
    # The configuration that could make a cluster is used once.
    cluster.render()
    for host in cluster.hosts:
        until(lambda: host.property(UNIT, "ActiveState") == "active", 30, f"{UNIT} on {host.name} does not say READY")
        expect("initial-cluster-state: \"existing\"" in host.text("cat", f"/etc/covey/{NAME}/server.yaml"), "not rendered again")
    return f"first acknowledged write after {first:.2f} s"


def acknowledged(cluster):
    for host in cluster.hosts:
        try:
            return cluster.gateway(host).put(b"first", b"write")
        except (OSError, ValueError):
            continue
    return None


@drill(loaded=False)
def a_stranger_is_refused(stage):
    host = stage.cluster.hosts[0]
    words = [stage.cluster.program, "ctl", f"--endpoints=https://{host.address}:2379", f"--cacert={stage.cluster.client_authority}"]
    try:
        stage.lab.operator([*words, "--dial-timeout=2s", "--command-timeout=3s", "get", "first"], timeout=30)
    except LabError:
        pass
    else:
        raise LabError("a client without a certificate was served")
    expect("write" in stage.cluster.control("get", "first"), "the operator is not served")


@drill(loaded=False)
def systemctl_says_how_a_member_is(stage):
    leader = stage.cluster.leader()
    lines = {}
    for host in stage.cluster.hosts:
        role = "leader" if host.name == leader.name else "follower"
        until(
            lambda: host.property(UNIT, "StatusText").startswith(role), 10,
            f"{host.name} is {role} and says {host.property(UNIT, 'StatusText')!r}")
        lines[host.name] = host.property(UNIT, "StatusText")
        shown = host.text("systemctl", "status", "--no-pager", "--full", UNIT)
        expect(f'Status: "{role}' in shown, f"systemctl status on {host.name} shows no status:\n{shown}")
        expect("3 voters" in lines[host.name] and "certificate" in lines[host.name], lines[host.name])
    return lines[leader.name]


@drill(loaded=False)
def the_journal_explains(stage):
    host = stage.cluster.hosts[0]
    lines = host.text("journalctl", "--no-pager", "-o", "json", f"--unit={UNIT}").splitlines()
    ready = [entry for entry in map(json.loads, lines) if entry["MESSAGE"] == "ready to serve client requests"]
    expect(ready and ready[-1]["PRIORITY"] == "6" and "MESSAGE_ID" in ready[-1], "no entry with an id says that it serves")
    led = [entry for entry in map(json.loads, lines) if entry["MESSAGE"].startswith("elected leader")]
    expect(led and "COVEY_LEADER" in led[-1], "entries have no fields")
    shown = host.text("journalctl", "--no-pager", "-x", f"MESSAGE_ID={ready[-1]['MESSAGE_ID']}")
    expect("Subject: The member serves clients" in shown, f"the catalog does not explain it:\n{shown}")
    return f"{len(lines)} entries on {host.name}"


@drill(loaded=False)
def the_units_are_locked_down(stage):
    host = stage.cluster.hosts[0]
    shown = []
    for unit, most in ((UNIT, 15), ("covey-agent.service", 25)):
        text = host.text("systemd-analyze", "security", "--no-pager", f"--threshold={most}", unit)
        shown.append(unit.split("@")[0].removesuffix(".service") + " " + re.search(r"exposure level for \S+: (\S+)", text)[1])
    pid = host.property(UNIT, "MainPID")
    status = dict(line.split(":\t", 1) for line in host.text("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
    expect(status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", "no system call filter")
    expect(int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0, "it has capabilities")
    owner = host.text("stat", "-c", "%U %a", f"/var/lib/covey/{NAME}")
    expect(owner == "covey 700", f"the data is {owner}")
    return ", ".join(shown)


# Beside the writer and the watcher


@drill()
def a_killed_member_is_started_again(stage):
    leader = stage.cluster.leader()
    before, since = restarts(leader), time.monotonic()
    leader.run(["systemctl", "kill", "--signal=KILL", UNIT])
    stage.writer.wait_for_more()
    gap = stage.writer.longest_gap(since, time.monotonic())
    wait_restarted(leader, before)
    stage.cluster.wait_healthy()
    return f"leader killed; without an acknowledged write {gap:.2f} s"


@drill()
def a_hung_member_is_ended_by_the_watchdog(stage):
    leader, since, at = stage.cluster.leader(), time.time(), time.monotonic()
    before = restarts(leader)
    expect("WatchdogSec=60" in leader.text("systemctl", "cat", UNIT), "the unit has no watchdog")
    leader.pause(UNIT)
    stage.writer.wait_for_more()
    gap = stage.writer.longest_gap(at, time.monotonic())
    wait_restarted(leader, before)
    expect("Watchdog timeout" in leader.text("journalctl", "--no-pager", "-o", "cat", f"--since=@{since:.3f}", f"UNIT={UNIT}"), "not by it")
    stage.cluster.wait_healthy()
    return f"without an acknowledged write {gap:.2f} s"


@drill()
def power_loss_of_the_leader(stage):
    leader, since = stage.cluster.leader(), time.monotonic()
    leader.power_loss(lose_unsynced=True)
    stage.writer.wait_for_more()
    gap = stage.writer.longest_gap(since, time.monotonic())
    begun = time.monotonic()
    leader.boot()
    stage.cluster.wait_healthy()
    return f"unsynced writes gone; without an acknowledged write {gap:.2f} s; healthy {time.monotonic() - begun:.1f} s after power is back"


@drill()
def a_leader_cut_off_from_its_peers(stage):
    cluster = stage.cluster
    leader = cluster.leader()
    others = [host for host in cluster.hosts if host.name != leader.name]
    since = time.monotonic()
    leader.partition(others)
    new = cluster.leader(among=others)
    stage.writer.wait_for_more()
    gap = stage.writer.longest_gap(since, time.monotonic())
    # It knows that it is alone: it leads nobody and takes no write.
    until(lambda: leader.property(UNIT, "StatusText").startswith("NO LEADER"), 20, f"{leader.name} still says it leads")
    try:
        cluster.gateway(leader, timeout=3).put(b"alone", b"x")
    except (OSError, ValueError):
        pass
    else:
        raise LabError("a leader without followers acknowledged a write")
    leader.heal()
    cluster.wait_healthy()
    return f"{new.name} leads; without an acknowledged write {gap:.2f} s"


@drill()
def a_member_that_hears_nobody(stage):
    """One way: its messages arrive, answers do not. It must not depose a leader that the others are content with."""
    cluster = stage.cluster
    leader, deaf = cluster.leader(), cluster.followers()[0]
    term = int(cluster.gateway(leader).post("/v3/maintenance/status", {})["raftTerm"])
    since = time.monotonic()
    for other in cluster.hosts:
        if other.name != deaf.name:
            deaf.block(other)
    until(lambda: deaf.property(UNIT, "StatusText").startswith("NO LEADER"), 20, f"{deaf.name} does not notice")
    stage.writer.wait_for_more(200)
    gap = stage.writer.longest_gap(since, time.monotonic())
    deaf.heal()
    cluster.wait_healthy()
    now = int(cluster.gateway(leader).post("/v3/maintenance/status", {})["raftTerm"])
    expect(now == term, f"the term went from {term} to {now}: an election nobody needed")
    return f"same term; without an acknowledged write {gap:.2f} s"


@drill()
def a_full_disk(stage):
    cluster = stage.cluster
    host, since = cluster.followers()[0], time.time()
    host.fill_disk()
    begun = time.monotonic()
    full = f"the disk of /var/lib/covey/{NAME} is full"
    until(lambda: full in journal(host, since), 60, f"{host.name} does not say that its disk is full")
    said = next(line for line in journal(host, since).splitlines() if full in line)
    stage.writer.wait_for_more()
    gap = stage.writer.longest_gap(begun, time.monotonic())
    host.empty_disk()
    cluster.wait_healthy(90)
    return f"without an acknowledged write {gap:.2f} s; the log: {said[:160]}"


@drill()
def a_leader_with_a_slow_disk(stage):
    leader, since = stage.cluster.leader(), time.monotonic()
    leader.slow_sync(UNIT, 100)
    stage.writer.wait_for_more(30)
    gap = stage.writer.longest_gap(since, time.monotonic())
    leader.normal_sync()
    stage.cluster.wait_healthy()
    return f"100 ms more each sync; between acknowledged writes at most {gap:.2f} s"


@drill()
def all_hosts_reboot_at_once(stage):
    leaders = [(host, host.reboot()) for host in stage.cluster.hosts]
    begun = time.monotonic()
    for host, leader in leaders:
        host.wait_rebooted(leader)
    up = time.monotonic() - begun
    stage.cluster.wait_healthy()
    return f"hosts up after {up:.1f} s, healthy after {time.monotonic() - begun:.1f} s"


@drill()
def power_fails_everywhere(stage):
    for host in stage.cluster.hosts:
        host.power_loss(lose_unsynced=True)
    begun = time.monotonic()
    for host in stage.cluster.hosts:
        run(stage.lab.entering(["ip", "link", "set", host.cable, "up"]))
        host.start()
    for host in stage.cluster.hosts:
        host.wait_ready()
    stage.cluster.wait_healthy()
    stage.writer.wait_for_more()
    return f"unsynced writes gone on all; healthy {time.monotonic() - begun:.1f} s after power is back"


# The end


@drill(loaded=False)
def the_package_goes_and_the_data_stays(stage):
    for host in stage.cluster.hosts:
        host.run(["dpkg", "--remove", "covey"])
        expect(host.text("systemctl", "list-units", "--no-legend", "--state=active,failed", "covey-*") == "", "something still runs")
        host.run(["test", "-d", f"/var/lib/covey/{NAME}/member/wal"])
        host.run(["dpkg", "--purge", "covey"])
        host.run(["test", "-d", f"/var/lib/covey/{NAME}/member/wal"])
        host.run(["test", "-f", f"/etc/covey/{NAME}/tls/peer.key"])
        expect("/usr/bin/covey" not in host.run(["sh", "-c", "ls /usr/bin/covey"], check=False).stdout, "the program is still there")
    # What was left is enough to go on.
    host = stage.cluster.hosts[0]
    host.run(["dpkg", "--install", "/var/tmp/covey.deb"])
    return "removed and purged on three hosts"
