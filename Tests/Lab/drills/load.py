"""A steady writer and a watcher beside every drill, and what they may claim at the end: no acknowledged write is lost, no event is
lost, doubled or out of order.
"""

import base64
import http.client
import json
import subprocess
import threading
import time

from systemdlab.processes import LabError, until

PREFIX = b"w/"


class Writer(threading.Thread):
    """A key of its own for every write, one at a time, each through the next member when one does not answer."""

    def __init__(self, cluster, pause=0.005):
        super().__init__(daemon=True)
        self.cluster, self.pause = cluster, pause
        self.acknowledged = {}  # key -> revision
        self.tried = 0
        self.acknowledged_at = []
        self.refused = []  # (when it was asked, when it failed, whom, why)
        self.ending = threading.Event()
        self.failure = None

    def run(self):
        try:
            self.cluster.lab.join_network()
            self._write()
        except BaseException as error:  # noqa: BLE001 - shown by whoever waits for this thread
            self.failure = error

    def _write(self):
        # Members come and go: every host that may have one.
        hosts = getattr(self.cluster, "everywhere", self.cluster.hosts)
        doors = [self.cluster.gateway(host, timeout=1.0) for host in hosts]
        turn = 0
        while not self.ending.wait(self.pause):
            key = b"w/%08d" % self.tried
            self.tried += 1
            asked = time.monotonic()
            try:
                answer = doors[turn].put(key, key[::-1])
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.refused.append((asked, time.monotonic(), doors[turn].name, f"{type(error).__name__} {error}"[:120]))
                turn = (turn + 1) % len(doors)
                continue  # it may have happened or not: only what was acknowledged counts
            self.acknowledged[key] = int(answer["header"]["revision"])
            self.acknowledged_at.append(time.monotonic())

    def finish(self):
        self.ending.set()
        self.join(30)
        if self.failure:
            raise self.failure

    def gaps(self, since, until_time, longer_than=0.1):
        """The times without an acknowledgement that somebody would notice: from when to when."""
        moments = [since] + [moment for moment in list(self.acknowledged_at) if since <= moment <= until_time] + [until_time]
        return [(earlier, later) for earlier, later in zip(moments, moments[1:]) if later - earlier > longer_than]

    def usual(self, since):
        """Half of the writes were acknowledged within so many seconds of the one before: what gaps are to be compared with."""
        moments = [moment for moment in list(self.acknowledged_at) if moment >= since]
        between = sorted(later - earlier for earlier, later in zip(moments, moments[1:]))
        return between[len(between) // 2] if between else 0.0

    def longest_gap(self, since, until_time):
        """Seconds without an acknowledgement, at most, in a period."""
        moments = [since] + [moment for moment in self.acknowledged_at if since <= moment <= until_time] + [until_time]
        return max((later - earlier for earlier, later in zip(moments, moments[1:])), default=0.0)

    def wait_for_more(self, count=20, seconds=30):
        """Writes are acknowledged again."""
        wanted = len(self.acknowledged) + count
        until(lambda: self.failure or len(self.acknowledged) >= wanted, seconds, f"no {count} writes were acknowledged")


class Watcher(threading.Thread):
    """`covey ctl watch`. As with etcdctl it ends when its member has no leader; then it goes on after the last event it saw."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.last = int(cluster.gateway(cluster.hosts[0]).post("/v3/maintenance/status", {})["header"]["revision"])
        self.seen = {}  # key -> revision
        self.faults = []
        self.times_begun = 0
        self.said = ""
        self.ending = threading.Event()
        self.process = None

    def run(self):
        while not self.ending.wait(0.1 if self.times_begun else 0):
            self.times_begun += 1
            words = self.cluster.control_words("watch", "--prefix", PREFIX.decode(), f"--rev={self.last + 1}", "--write-out=json")
            self.process = subprocess.Popen(
                self.cluster.lab.entering(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for line in self.process.stdout:
                for event in json.loads(line).get("Events") or []:
                    self._event(base64.b64decode(event["kv"]["key"]), int(event["kv"]["mod_revision"]))
            self.said = self.process.stderr.read().strip()
            self.process.wait()

    def _event(self, key, revision):
        if key in self.seen:
            self.faults.append(f"{key.decode()} twice, at {self.seen[key]} and {revision}")
        elif revision <= self.last:
            self.faults.append(f"{key.decode()} at {revision} after {self.last}")
        self.last = max(self.last, revision)
        self.seen[key] = revision

    def finish(self, acknowledged):
        try:
            until(lambda: acknowledged.keys() <= self.seen.keys(), 20, "waiting for the watcher")
        except LabError:
            pass  # said better below
        self.ending.set()
        self.process.kill()
        self.join(10)
        missing = sorted(acknowledged.keys() - self.seen.keys())
        if missing:
            self.faults.append(f"{len(missing)} acknowledged writes without an event, first {missing[0].decode()}; last words: {self.said[-300:]}")
        wrong = [key.decode() for key, revision in acknowledged.items() if self.seen.get(key, revision) != revision]
        if wrong:
            self.faults.append(f"other revisions than acknowledged: {wrong[:3]}")
        if self.faults:
            raise LabError("the watcher: " + "; ".join(self.faults[:5]))


def compare(cluster, writer, since=PREFIX):
    """What was acknowledged is on every member, and all members hold the same. The writer may go on meanwhile."""
    acknowledged = {key: revision for key, revision in dict(writer.acknowledged).items() if key >= since}
    for host in cluster.hosts:
        stored = cluster.gateway(host, timeout=10).all_keys(PREFIX, since)
        lost = [key for key, revision in acknowledged.items() if stored.get(key) != (key[::-1], revision)]
        if lost:
            raise LabError(f"{host.name} lost {len(lost)} acknowledged writes, first {sorted(lost)[0].decode()}")
    revision = int(cluster.gateway(cluster.hosts[0]).post("/v3/maintenance/status", {})["header"]["revision"])
    everywhere = until(lambda: cluster.hashes(revision), 20, f"not all members tell their hash at revision {revision}")
    if len(set(everywhere.values())) != 1:
        raise LabError(f"members differ at revision {revision}: {everywhere}")
    return revision
