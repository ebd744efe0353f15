"""What every drill leaves behind, whatever it did: no acknowledged write is lost, all members hold the same under one cluster id,
the agents' journals and audit logs are whole and tell the same, no operation is open, a second `apply` has nothing to do, no unit has
failed, and the journal explains what it says.
"""

import json
from concurrent.futures import ThreadPoolExecutor

from systemdlab.processes import LabError, until

from . import load
from .acts import expect
from .cluster import NAME, UNIT

AGENT = "covey-agent.service"
HEALTH = f"covey-health@{NAME}.service"
RECORDS = f"/var/lib/covey-agent/{NAME}"


def kept(stage):
    """Of a drill that has just run. Cheap: what the writer had acknowledged before is not compared again until the end."""
    cluster = stage.cluster
    cluster.wait_healthy()
    if stage.writer is not None:
        load.compare(cluster, stage.writer, since=stage.proven)
        stage.proven = max(stage.writer.acknowledged, default=stage.proven)
    ids = {status["header"]["cluster_id"] for status in cluster.statuses().values()}
    stage.cluster_ids |= ids
    expect(len(stage.cluster_ids) == 1, f"it was cluster {sorted(stage.cluster_ids)}: more than one")
    for host in cluster.with_agents():
        journal_is_whole(host)
    if cluster.with_agents():
        open_ones = [line for line in cluster.operate("op", "ls").splitlines() if " open " in line]
        expect(not open_ones, f"an operation is still open: {open_ones}")
        expect("Nothing to do" in cluster.operate("apply"), "a second apply has something to do")
        cluster.operate("audit", "--verify")
        systemd_is_content(cluster)
    cluster.clear_quarantine()


def systemd_is_content(cluster):
    """As whoever comes in the morning looks: `systemctl --failed`, after the timer's next look at the cluster."""
    def look(host):
        if host in cluster.hosts:
            host.run(["systemctl", "start", HEALTH])
        return host, host.text("systemctl", "list-units", "--failed", "--plain", "--no-legend", "covey*")

    with ThreadPoolExecutor() as pool:
        for host, failed in pool.map(look, cluster.with_agents()):
            expect(not failed, f"{host.name}: failed units:\n{failed}")


def systemctl_tells(cluster):
    """At the end of an act: whoever asks systemctl on a host with a member is told of the member and of the cluster."""
    for host in cluster.with_agents():
        if host not in cluster.hosts:
            continue
        status_says(host, AGENT, f"{NAME} active, healthy", f"cluster HEALTHY {len(cluster.hosts)}/{len(cluster.hosts)} can lose")
        # Upstream's server tells systemd nothing.
        if not cluster.engine:
            status_says(host, UNIT, "voters")


def status_says(host, unit, *words):
    """An agent looks at the whole cluster every ten seconds."""
    until(
        lambda: all(word in host.property(unit, "StatusText") for word in words), 40,
        f"the status of {unit} on {host.name} does not say {words}", pause=0.5)
    shown = host.text("systemctl", "status", "--no-pager", "--full", unit)
    expect(all(word in shown for word in words), f"systemctl status on {host.name} does not show it:\n{shown}")


def the_cluster_is_not_healthy(host, level):
    """What watches units sees it, on a host that has a member, and the agent there says which level it is."""
    status_says(host, AGENT, f"cluster {level}")
    host.run(["systemctl", "start", HEALTH], check=False)
    expect(host.run(["systemctl", "is-failed", HEALTH], check=False).stdout.strip() == "failed", f"{host.name}: {HEALTH} has not failed")
    failed = host.text("systemctl", "--failed", "--plain", "--no-legend")
    expect(HEALTH in failed, f"{host.name}: systemctl --failed does not show {HEALTH}:\n{failed}")


def the_journal_explains(host, *words):
    """Each entry of ours that somebody has to act upon, or that belongs to an operation, has an id, and each id is explained. How many
    there were."""
    lines = host.text("journalctl", "--no-pager", "-o", "json", f"--unit={UNIT}", f"--unit={AGENT}", *words).splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    # What systemd says of a unit is its own.
    ours = [entry for entry in entries if entry.get("_SYSTEMD_UNIT") in (UNIT, AGENT)]
    for entry in ours:
        if "COVEY_OP" in entry or entry.get("_TRANSPORT") == "journal" and int(entry["PRIORITY"]) <= 2:
            expect("MESSAGE_ID" in entry, f"{host.name}: an entry without an id: {entry['MESSAGE']}")
        if "COVEY_OP" in entry:
            missing = [name for name in ("COVEY_CLUSTER", "COVEY_MEMBER", "COVEY_STEP", "COVEY_EPOCH", "PRIORITY") if name not in entry]
            expect(not missing, f"{host.name}: an entry of an operation without {missing}: {entry['MESSAGE']}")
    ids = {entry["MESSAGE_ID"] for entry in ours if "MESSAGE_ID" in entry}
    for one in ids:
        known = host.run(["journalctl", "--no-pager", "--dump-catalog", one], check=False)
        expect("Subject:" in known.stdout, f"{host.name}: the catalog does not explain {one}")
    return len(ours), len(ids)


def journal_is_whole(host):
    """Each line has its checksum and that of the line before; numbers and epochs go up. The agent's own reader is not asked."""
    path = f"{RECORDS}/journal"
    text = host.run(["cat", path], check=False).stdout
    previous, epoch = "00000000", 0
    for number, line in enumerate(text.splitlines()):
        checksum, rest = line[:8], line[9:]
        if f"{crc32c(rest.encode()):08x}" != checksum:
            raise LabError(f"{host.name}: {path} line {number + 1} does not fit its checksum")
        record = json.loads(rest)
        if record["previous"] != previous or record["n"] != number:
            raise LabError(f"{host.name}: {path} line {number + 1} does not follow the one before")
        if record["epoch"] < epoch:
            raise LabError(f"{host.name}: {path} line {number + 1} is of epoch {record['epoch']}, after {epoch}")
        previous, epoch = checksum, record["epoch"]


def _table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
