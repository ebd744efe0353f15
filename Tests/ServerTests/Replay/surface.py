"""What a server shows over plain HTTP, beside a real one after the same load: the families of /metrics with their types,
labels and buckets, the numbers that must agree, and the headers of every kind of answer.

    surface.py --server "PATH server" --real FOLDER [--protos FOLDER]

Each side is a cluster of two, so that the families of traffic between members are there. Prints "N comparisons agree"; or
what differs, and ends with 1.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

from peers import becomes_true, free_ports, launch

# A process that is not Go has no such numbers; what is shown as go_threads is what the kernel counts.
OF_GO = re.compile(r"go_(?!threads$)")
# The tree of the second API is not kept.
OF_V2 = re.compile(r"etcd_debugging_store_(reads|writes)_total$")
# There always, at zero here: a commit of LMDB has no such phases.
OF_BBOLT = re.compile(r"etcd_debugging_disk_backend_commit_(rebalance|spill)_duration_seconds$")
# Released after 3.5.1, or between members and there before anything has happened.
MORE = re.compile(
    r"(etcd_debugging_server_alarms|etcd_disk_wal_write_duration_seconds|etcd_server_feature_enabled|etcd_server_healthcheck"
    r"|etcd_server_healthchecks_total|etcd_network_(known_peers|disconnected_peers_total|peer_(received|sent)_failures_total"
    r"|peer_round_trip_time_seconds|snapshot_send_.*))$")
MUST_HAVE = """
    etcd_server_has_leader etcd_server_leader_changes_seen_total etcd_server_proposals_applied_total
    etcd_server_proposals_committed_total etcd_server_proposals_failed_total etcd_server_proposals_pending
    etcd_server_quota_backend_bytes etcd_mvcc_db_total_size_in_bytes etcd_mvcc_db_total_size_in_use_in_bytes
    etcd_disk_backend_commit_duration_seconds etcd_disk_wal_fsync_duration_seconds
    etcd_network_client_grpc_received_bytes_total etcd_network_client_grpc_sent_bytes_total
    etcd_network_peer_received_bytes_total etcd_network_peer_round_trip_time_seconds etcd_network_peer_sent_bytes_total
    etcd_network_peer_sent_failures_total grpc_server_handled_total grpc_server_handling_seconds grpc_server_started_total
    process_resident_memory_bytes
""".split()
# What the same load must count alike, to the number.
COUNTED_ALIKE = re.compile(
    r"(grpc_server_(started|handled|msg_received|msg_sent)_total\{.*(KV|Lease|Watch|Auth|Cluster|Maintenance)\".*"
    r"|etcd_server_client_requests_total\{.*|etcd_server_apply_duration_seconds_count\{.*version=\"v3\".*"
    r"|etcd_mvcc_(put|delete|txn)_total|etcd_debugging_lease_(granted|revoked|renewed)_total"
    r"|etcd_debugging_lease_ttl_total_(bucket\{.*|sum|count)|etcd_debugging_mvcc_(current|compact)_revision"
    r"|etcd_debugging_mvcc_(keys|total_put_size_in_bytes|db_compaction_keys|watcher|watch_stream|events)(_total)?"
    r"|etcd_mvcc_hash(_rev)?_duration_seconds_count|etcd_disk_backend_(snapshot|defrag)_duration_seconds_count"
    r"|etcd_debugging_auth_revision)$")
# Batches of a size of their own: a snapshot's pieces, what a watch gathers.
# And streams that clients left: 3.5.1 takes some of them for a lost leader, a failure that sets off alarms.
COUNTED_APART = re.compile(r'msg_sent_total\{grpc_method="Snapshot"|handled_total\{grpc_code="(Canceled|Unavailable)"')

differences, agreed = [], 0


def check(condition, what):
    global agreed
    if condition:
        agreed += 1
    else:
        differences.append(what)


class Side:
    """Two members of one kind."""

    def __init__(self, name, command, folder):
        self.name, self.folder, self.processes = name, folder, []
        ports = free_ports(4)
        self.port, self.peer, other = ports[0], ports[1], ports[2]
        cluster = "a=http://127.0.0.1:%d,b=http://127.0.0.1:%d" % (ports[1], ports[3])
        for member, client, peer in (("a", ports[0], ports[1]), ("b", ports[2], ports[3])):
            log = open("%s/%s-%s.log" % (folder, name, member), "w")
            args = command + [
                "--name", member, "--data-dir", "%s/%s-%s" % (folder, name, member), "--metrics", "extensive",
                "--listen-client-urls", "http://127.0.0.1:%d" % client, "--advertise-client-urls", "http://127.0.0.1:%d" % client,
                "--listen-peer-urls", "http://127.0.0.1:%d" % peer, "--initial-advertise-peer-urls",
                "http://127.0.0.1:%d" % peer, "--initial-cluster", cluster, "--initial-cluster-token", name]
            self.processes.append(launch(args, log))
        self.other = other

    def prepare(self):
        for port in (self.port, self.other):
            self.wait_for(lambda: self.ask("GET", "/health", port=port)[0] == 200, "serves")
        # Both sides are looked at where they lead, so that what only a leader counts is counted.
        self.move_leader(self.other)

    def wait_for(self, condition, what):
        if not becomes_true(condition, self.processes[0]):
            with open("%s/%s-a.log" % (self.folder, self.name)) as log:
                sys.exit("%s: never %s\n%s" % (self.name, what, "".join(log.readlines()[-20:])))

    def move_leader(self, other):
        status = json.loads(self.ask("POST", "/v3/maintenance/status", body="{}")[2])
        if status["leader"] == status["header"]["member_id"]:
            return
        body = json.dumps({"targetID": status["header"]["member_id"]})
        self.wait_for(
            lambda: self.ask("POST", "/v3/maintenance/transfer-leadership", body=body, port=other)[0] == 200, "hands over")
        self.wait_for(lambda: self.metrics()[1].get("etcd_server_is_leader") == 1, "leads")

    def ask(self, method, path, body=None, headers=(), port=None):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        connection.request(method, path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), data.decode("utf8", "replace")

    def control(self, etcdctl, *words, stdin=None):
        result = subprocess.run(
            [etcdctl, "--endpoints", "127.0.0.1:%d" % self.port, "--dial-timeout=60s", "--command-timeout=60s"] + list(words),
            input=stdin, capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API="3"), timeout=120)
        if result.returncode != 0:
            sys.exit("%s: etcdctl %s: %s" % (self.name, " ".join(words), result.stderr))
        return result.stdout

    def load(self, etcdctl, folder):
        run = lambda *words, **more: self.control(etcdctl, *words, **more)
        for i in range(5):
            run("put", "k%d" % (i % 3), "value%d" % i)
        run("get", "k1")
        run("get", "k", "--prefix", "--consistency=s")
        run("del", "k2")
        lease = run("lease", "grant", "100").split()[1]
        run("lease", "grant", "5000")
        run("put", "leased", "x", "--lease=" + lease)
        run("lease", "timetolive", lease)
        run("lease", "keep-alive", "--once", lease)
        run("lease", "revoke", lease)
        run("txn", stdin='value("k1") = "value4"\n\nput a b\n\nput c d\n\n')
        run("compact", "5", "--physical")
        run("defrag")
        run("snapshot", "save", "%s/%s.db" % (folder, self.name))
        run("endpoint", "hashkv")
        run("endpoint", "status")
        run("member", "list")
        run("user", "add", "root:secret")
        run("role", "add", "r")
        self.ask("POST", "/v3/kv/range", '{"key":"azE="}')
        self.ask("POST", "/v3/kv/range", '{"key":""}')
        self.ask("POST", "/v3/maintenance/hash", "{}")
        self.ask("POST", "/v3/lease/keepalive", '{"ID":"7"}')

    def metrics(self):
        text = self.ask("GET", "/metrics")[2]
        families, series = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                name, kind = line.split(" ")[2:]
                check(name not in families, "%s declares %s once" % (self.name, name))
                families[name] = kind
            elif line and not line.startswith("#"):
                match = re.match(r"([^ {]+)(?:\{(.*)\})? (\S+)$", line)
                if not match:
                    sys.exit("%s: not a line of metrics: %r" % (self.name, line))
                labels = re.sub(r'(server_id|To|From|Local|Remote|server_go_version|server_version)="[^"]*"', r'\1="X"', match[2] or "")
                series[match[1] + ("{%s}" % labels if labels else "")] = float(match[3])
        return families, series

    def stop(self):
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(20)


def family_of(series):
    return re.sub(r"_(bucket|sum|count)$", "", series.split("{")[0])


def compare_metrics(ours, real):
    (our_families, our_series), (real_families, real_series) = ours.metrics(), real.metrics()
    for name, kind in sorted(real_families.items()):
        if OF_GO.match(name) or OF_V2.match(name):
            check(name not in our_families, "%s is claimed" % name)
        else:
            check(our_families.get(name) == kind, "%s is %s, here %s" % (name, kind, our_families.get(name)))
    for name in sorted(set(our_families) - set(real_families)):
        check(MORE.match(name), "%s is of no release" % name)
    for name in MUST_HAVE:
        check(name in our_families, "%s is not there" % name)
    for series, value in sorted(real_series.items()):
        family = family_of(series)
        if OF_GO.match(series.split("{")[0]) or OF_V2.match(family) or OF_V2.match(series.split("{")[0]):
            continue
        # The second API's requests depend on who published when.
        if 'version="v2"' in series:
            continue
        check(series in our_series, "%s %s is not there" % (series, value))
        here = our_series.get(series)
        if here is None:
            continue
        if COUNTED_ALIKE.match(series) and not COUNTED_APART.search(series):
            check(here == value, "%s is %s, here %s" % (series, value, here))
        elif value > 0 and "_bucket" not in series and not OF_BBOLT.match(family) and not MAY_BE_ZERO.match(series):
            check(here > 0, "%s is %s, here 0" % (series, value))


# What is asked of both. Not here: what came after 3.5.1 (/livez), the texts of JSON errors, tokens while auth is off.
ASKED = [
    ("GET", "/health"), ("HEAD", "/health"), ("POST", "/health", "x"), ("GET", "/health", None, {"Connection": "close"}),
    ("GET", "/version"), ("PUT", "/version", "x"), ("GET", "/metrics"), ("POST", "/metrics", ""), ("HEAD", "/metrics"),
    ("GET", "/nothing"), ("GET", "/"), ("GET", "/v2/keys"), ("OPTIONS", "/x"), ("OPTIONS", "/v3/kv/range"),
    ("GET", "/debug/vars"), ("POST", "/debug/vars", ""), ("GET", "/debug/pprof/"), ("GET", "/config/local/log"),
    ("GET", "/v3"), ("POST", "/v3", "{}"), ("GET", "/v3/"), ("POST", "/v3/nothing", "{}"), ("GET", "/v3/kv/range"),
    ("POST", "/v3/kv/range", '{"key":"YQ=="}'), ("POST", "/v3/kv/range", '{"key":""}'), ("POST", "/v3/kv/range", '{"key":'),
    ("POST", "/v3beta/kv/range", '{"key":"YQ=="}'), ("POST", "/v3/lease/revoke", '{"ID":"99"}'),
    ("POST", "/v3/lease/keepalive", '{"ID":"99"}'), ("POST", "/v3/maintenance/snapshot", "{}"), ("POST", "/v3/watch", '{"x":'),
    ("POST", "/v3/kv/put/", "{}"), ("GET", "//health?x=1"), ("GET", "/v3/../health"), ("GET", "/health/"),
    ("POST", "/v3//kv/range", "{}"), ("GET", "/./a%20b/../%3Cc%3E"), ("GET", "/health", None, {"Origin": "http://x:1"}),
    ("POST", "/v3/kv/range", '{"key":"YQ=="}', {"Grpc-Timeout": "1x"}),
    ("POST", "/v3/auth/authenticate", '{"name":"a","password":"b"}'),
]
ASKED_OF_PEERS = [
    ("GET", "/version"), ("GET", "/members"), ("GET", "/health"), ("GET", "/raft"), ("GET", "/leases"),
    ("GET", "/downgrade/enabled"), ("POST", "/members/promote/1", ""), ("GET", "/members/promote/1"), ("GET", "/nothing"),
]
DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d GMT$")


def shown(answer):
    """Status and headers; bodies only where they are words. How long a body is said to be is each side's own matter."""
    status, headers, body = answer
    fields = []
    for name, value in headers:
        if name == "Date":
            value = "a date" if DATE.match(value) else "no date: " + value
        if name == "X-Etcd-Cluster-Id" or name == "X-Etcd-Cluster-ID":
            name, value = name.lower(), "an id"
        if name not in ("Content-Length", "Transfer-Encoding", "X-Server-Version"):
            fields.append((name, value))
    text = body if body.startswith(("<a ", "404", "Not", "Method", '{"health')) else ""
    return status, sorted(fields), text


def compare_answers(ours, real):
    for port, asked in (("port", ASKED), ("peer", ASKED_OF_PEERS)):
        for question in asked:
            here, there = [shown(side.ask(*question, port=getattr(side, port))) for side in (ours, real)]
            check(here == there, "%s\n  real %s\n  here %s" % (question, there, here))


# Chance, or a state of the moment.
MAY_BE_ZERO = re.compile(
    r"etcd_(mvcc_db_open_read_transactions|server_slow|server_read_indexes_failed|server_heartbeat_send|server_proposals_"
    r"(failed|pending)|network_(peer_sent_failures|peer_received_failures|disconnected|peer_round_trip)|debugging_mvcc_"
    r"(db_compaction_pause|pending|slow)|grpc_proxy|snap_db|server_snapshot|debugging_snap|snap_fsync|server_leader_changes"
    r"|mvcc_range_total|debugging_mvcc_range_total)|grpc_server_|process_|os_fd|promhttp|etcd_server_apply")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--real", required=True, help="the folder of a release: etcd, etcdctl")
    parser.add_argument("--protos")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="covey-surface-") as folder:
        sides = []
        try:
            for name, command in (("ours", options.server.split(" ")), ("real", [options.real + "/etcd"])):
                side = Side(name, command, folder)
                sides.append(side)

            def load(side):
                side.prepare()
                side.load(options.real + "/etcdctl", folder)

            with concurrent.futures.ThreadPoolExecutor(2) as both:
                list(both.map(load, sides))
            compare_metrics(*sides)
            compare_answers(*sides)
        finally:
            for side in sides:
                side.stop()
    if differences:
        sys.exit("\n".join(differences))
    print("%d comparisons agree" % agreed)


if __name__ == "__main__":
    main()
