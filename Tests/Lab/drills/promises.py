"""What every drill leaves behind, whatever it did: no acknowledged write is lost, all members hold the same under one cluster id,
the agents' journals are whole, no operation is open, and a second `apply` has nothing to do.
"""

import json

from systemdlab.processes import LabError

from . import load
from .acts import expect
from .cluster import NAME

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
    for host in cluster.with_agents():
        # As an operator does who has looked: the disks are small, and each replacement leaves the data that was replaced.
        host.run(["sh", "-c", "rm -rf /var/lib/covey/quarantine/*"])


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
