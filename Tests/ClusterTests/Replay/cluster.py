"""Whole clusters on loopback, of Covey members, real etcd members or both: what the scenarios beside this file are made of.

Every member has an address of its own, 127.a.b.n with random a and b, and fixed ports there, so that a member keeps its
URLs over restarts and never meets another test. Calls are raw gRPC with messages compiled from our .proto files. Nothing
waits by sleeping a guessed time: `until` polls for what should become true and says what did not.
"""

import argparse
import collections
import concurrent.futures
import http.client
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

# Forked children run a member's program at once; handlers of grpc in them only do harm.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
import grpc  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "ServerTests", "Replay"))
from certificates import Certificates  # noqa: E402
from peers import compile_protos  # noqa: E402

CLIENT_PORT, PEER_PORT = 34379, 34380
# A channel of its own per member and call site, that tries again soon: the default waits up to two minutes.
CHANNEL = [
    ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1000), ("grpc.max_reconnect_backoff_ms", 200),
]


class Failure(Exception):
    """What should have been and was not."""


class Violation(Failure):
    """What must never be: a history that cannot have happened, members that hold different data."""


class Tally:
    """What a scenario went through; the last line of a long run adds them up."""

    def __init__(self):
        self.operations, self.faults, self.violations, self.gaps = 0, collections.Counter(), 0, []

    def add(self, other):
        self.operations += other.operations
        self.faults.update(other.faults)
        self.violations += other.violations
        self.gaps += other.gaps

    def gap_line(self):
        """Writes after the leader was lost: how long until the first success."""
        gaps = sorted(self.gaps)
        return "write gaps: median %.2f s, longest %.2f s of %d" % (
            gaps[len(gaps) // 2], gaps[-1], len(gaps)) if gaps else "no write gaps measured"

    def __str__(self):
        return "%d operations, %d faults, %d violations, %s" % (
            self.operations, sum(self.faults.values()), self.violations, self.gap_line())


def expect(condition, what):
    if not condition:
        raise Failure(what)


def until(what, condition, seconds=30, every=0.02):
    """Polls until `condition` gives something true, and returns that. Errors of calls count as 'not yet'."""
    deadline, last = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (grpc.RpcError, OSError, http.client.HTTPException) as error:
            last = words(error) if isinstance(error, grpc.RpcError) else repr(error)
        time.sleep(every)
    raise Failure("not within %d s: %s (last: %s)" % (seconds, what, last))


def words(error):
    """Code and text of a failed call, as `UNAVAILABLE etcdserver: no leader`."""
    return "%s %s" % (error.code().name, error.details())


def unblocked():
    """A test runner may have blocked or ignored signals, which members inherit."""
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Programs:
    """Where the kinds of members come from: `covey`, `etcd35`, `etcd34`."""

    def __init__(self, arguments):
        self.commands = {
            "covey": shlex.split(arguments.covey), "etcd35": [os.path.join(arguments.etcd35, "etcd")],
            "etcd34": [arguments.etcd34]}
        self.covey = self.commands["covey"][0]
        self.tools35 = arguments.etcd35
        self.subject = arguments.subject
        self.seconds = arguments.seconds
        self.members, self.tls, self.quota = arguments.members, arguments.tls, arguments.quota
        self.out = tempfile.mkdtemp(prefix="covey-protos-")
        self.methods = compile_protos(arguments.protos, self.out)

    def flags(self, kind):
        return {"etcd34": ["--logger", "zap", "--log-outputs", "stderr", "--pre-vote"]}.get(kind, [])


class Node:
    """One member: its process, its data, its log, and calls to it."""

    def __init__(self, cluster, number, kind):
        self.cluster, self.number, self.kind = cluster, number, kind
        self.name = "n%d" % number
        self.host = cluster.place.host(number)
        self.certificates = cluster.certificates
        scheme = "https" if self.certificates else "http"
        self.client_url = "%s://%s:%d" % (scheme, self.host, CLIENT_PORT)
        self.peer_url = "%s://%s:%d" % (scheme, self.host, PEER_PORT)
        if self.certificates:
            self.certificates.issue(self.name, self.host)
        self.directory = os.path.join(cluster.directory, self.name)
        self.data = os.path.join(self.directory, "data")
        self.log_path = os.path.join(self.directory, "log")
        os.makedirs(self.directory, exist_ok=True)
        self.process, self.channel, self.paused = None, None, False
        self.lock = threading.Lock()

    # The process

    def start(self, state="new", initial=None, flags=(), failpoints=None):
        """`initial`: the nodes named in --initial-cluster; without it those of the last start. `failpoints`: how the
        disk of a Covey member fails, see Failpoint.swift."""
        if initial is not None:
            self.flags = flags
            self.initial = ",".join("%s=%s" % (n.name, n.peer_url) for n in initial)
        argv = self.cluster.place.enter(self.number) + self.cluster.programs.commands[self.kind] + [
            "--name", self.name, "--data-dir", self.data,
            "--listen-client-urls", self.client_url, "--advertise-client-urls", self.client_url,
            "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
            "--initial-cluster", self.initial, "--initial-cluster-state", state,
            "--initial-cluster-token", "scenario"]
        argv += self.cluster.programs.flags(self.kind) + self.cluster.flags(self.kind) + list(flags)
        argv += self.certificates.flags(self.name) if self.certificates else []
        with open(self.log_path, "ab") as log:
            log.write(("---- " + shlex.join(argv) + "\n").encode())
            log.flush()
            environment = {**os.environ, "COVEY_FAILPOINTS": failpoints} if failpoints else None
            self.process = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory, env=environment)
        return self

    def rejoin(self):
        """A real member that asks one that has not heard of it yet gives up; whoever runs it starts it again."""
        if self.kind != "covey" and not self.running and "member count is unequal" in self.log().rsplit("----", 1)[1]:
            self.start("existing", flags=self.flags)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running:
            self.process.send_signal(number)

    def kill(self):
        """As the power going: no word to anybody."""
        self.signal(signal.SIGKILL)
        self.paused = False
        if self.process:
            self.process.wait()

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.ended(30)

    def pause(self):
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.signal(signal.SIGCONT)
        self.paused = False

    def ended(self, seconds=30):
        """The exit status, once the process ended by itself."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure("%s still runs after %d s" % (self.name, seconds)) from None

    def wipe(self):
        shutil.rmtree(self.data, ignore_errors=True)

    def become(self, kind):
        """The same place, another program, no data: for walks from one program to the other."""
        self.wipe()
        self.kind = kind

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode(errors="replace")

    # Calls

    def open(self):
        with self.lock:
            if self.channel is None:
                target = "%s:%d" % (self.host, CLIENT_PORT)
                self.channel = (
                    self.certificates.channel(target, CHANNEL) if self.certificates
                    else grpc.insecure_channel(target, options=CHANNEL))
            return self.channel

    def call(self, method, seconds=10, metadata=(), **fields):
        """`call("KV/Put", key=b"a", value=b"b")`: the answer's message, or grpc.RpcError."""
        method = method if method.startswith("/") else "/etcdserverpb." + method
        request, answer = self.cluster.programs.methods[method]
        message = fields.pop("message", None) or request(**fields)
        call = self.open().unary_unary(
            method, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
        return call(message, timeout=seconds, metadata=metadata)

    def stream(self, method, requests, metadata=(), seconds=None):
        method = "/etcdserverpb." + method
        request, answer = self.cluster.programs.methods[method]
        call = self.open().stream_stream(
            method, request_serializer=request.SerializeToString, response_deserializer=answer.FromString)
        return call(requests, metadata=metadata, timeout=seconds)

    def type(self, method):
        return self.cluster.programs.methods["/etcdserverpb." + method][0]

    def put(self, key, value, **more):
        return self.call("KV/Put", key=as_bytes(key), value=as_bytes(value), **more)

    def get(self, key, serializable=False, **more):
        answer = self.call("KV/Range", key=as_bytes(key), serializable=serializable, **more)
        return answer.kvs[0].value if answer.kvs else None

    def refused(self, wanted, method, **fields):
        """The call must fail with exactly this code and text (or one of several)."""
        wanted = [wanted] if isinstance(wanted, str) else wanted
        try:
            until("%s takes a connection" % self.name, self.takes_calls)
            self.call(method, **fields)
        except grpc.RpcError as error:
            expect(words(error) in wanted, "%s on %s: %s, wanted %s" % (method, self.name, words(error), wanted))
            return words(error)
        raise Failure("%s on %s succeeded, wanted %s" % (method, self.name, wanted))

    def status(self):
        return self.call("Maintenance/Status", seconds=3)

    def takes_calls(self):
        """Whatever it says to them."""
        try:
            return self.status()
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE

    def http(self, path, port=CLIENT_PORT):
        connection = (
            http.client.HTTPSConnection(self.host, port, timeout=8, context=self.certificates.context()) if self.certificates
            else http.client.HTTPConnection(self.host, port, timeout=8))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name):
        for line in self.http("/metrics")[1].split("\n"):
            if line.startswith(name + " ") or line.startswith(name + "{"):
                return float(line.rsplit(" ", 1)[1])
        return None

    @property
    def id(self):
        return self.status().header.member_id

    def hash(self, revision=0):
        answer = self.call("Maintenance/HashKV", revision=revision)
        return answer.hash, answer.compact_revision

    def close(self):
        with self.lock:
            if self.channel:
                self.channel.close()
                self.channel = None


class Loopback:
    """Where the members of a cluster live: each at an address of its own on the loopback device."""

    def __init__(self):
        # Addresses must differ between runs at the same time, seeds need not.
        source = random.SystemRandom()
        self.net = (source.randrange(16, 250), source.randrange(1, 250))

    def host(self, number):
        return "127.%d.%d.%d" % (*self.net, number)

    def enter(self, number):
        """What to put before a member's command."""
        return []


class Cluster:
    """The members of one scenario, by number; `cluster[1]` is n1."""

    def __init__(self, programs, seed, size=3, kind=None, flags=None, place=None, tls=False):
        self.programs, self.random = programs, random.Random(seed)
        self.place = place or Loopback()
        self.directory = tempfile.mkdtemp(prefix="covey-cluster-")
        self.certificates = Certificates(os.path.join(self.directory, "certificates")) if tls else None
        self.extra = flags or {}
        self.nodes = {}
        kinds = kind if isinstance(kind, (list, tuple)) else [kind or programs.subject] * size
        for number, each in enumerate(kinds, 1):
            self.nodes[number] = Node(self, number, each)

    def start(self):
        for node in self:
            node.start("new", list(self))
        self.ready()
        return self

    def flags(self, kind):
        return self.extra.get(kind, self.extra.get("all", []))

    def __iter__(self):
        return iter(list(self.nodes.values()))

    def __getitem__(self, number):
        return self.nodes[number]

    @property
    def running(self):
        return [n for n in self if n.running and not n.paused]

    def ready(self, seconds=40, health="/health"):
        for node in self.running:
            until("%s is healthy" % node.name, lambda: node.http(health)[0] == 200, seconds)
            until("%s knows the cluster version" % node.name, lambda: "not_decided" not in node.http("/version")[1], seconds)

    def leader(self, seconds=30):
        """The member that says it leads and that most of the others follow."""
        def find():
            seen = {}
            for node in self.running:
                try:
                    status = node.status()
                except grpc.RpcError:
                    continue
                if status.leader:
                    seen.setdefault((status.raftTerm, status.leader), []).append((node, status))
            for (_, leader), those in sorted(seen.items(), key=lambda item: item[0], reverse=True):
                if len(those) * 2 > len([s for s in self.running]):
                    for node, status in those:
                        if status.header.member_id == leader:
                            return node
            return None
        return until("there is a leader", find, seconds)

    def followers(self):
        leader = self.leader()
        return [n for n in self.running if n is not leader]

    def node_of(self, member):
        """The running node with this member id."""
        return next(n for n in self.running if n.id == member)

    def lead(self, node, seconds=20):
        """Moves leadership there."""
        target = until("%s says who it is" % node.name, lambda: node.id, seconds)

        def moved():
            leader = self.leader()
            if leader is node:
                return True
            leader.call("Maintenance/MoveLeader", targetID=target)
            return False
        until("%s leads" % node.name, moved, seconds)

    def add(self, number, kind=None, learner=False, via=None, start=True, flags=()):
        """MemberAdd, as soon as the cluster lets us, and the new member's start."""
        node = Node(self, number, kind or self.programs.subject)
        via = via or self.running[0]

        def ask():
            try:
                return via.call("Cluster/MemberAdd", peerURLs=[node.peer_url], isLearner=learner).member.ID
            except grpc.RpcError as error:
                if "unhealthy cluster" in words(error):
                    return None
                raise Failure("MemberAdd: " + words(error)) from None
        node.member = until("n%d may be added" % number, ask, 30, 0.2)
        by_url = {n.peer_url: n for n in self}
        members = via.call("Cluster/MemberList").members
        self.nodes[number] = node
        if start:
            named = [by_url[u] for m in members for u in m.peerURLs if u in by_url]
            node.start("existing", named + [node], flags=flags)
            if not learner:
                until("n%d is healthy" % number, lambda: node.rejoin() or node.http("/health")[0] == 200, 40)
        return node

    def promote(self, node, via=None):
        def ask():
            node.rejoin()
            try:
                (via or self.leader()).call("Cluster/MemberPromote", ID=node.member)
                return True
            except grpc.RpcError as error:
                if "in sync with leader" in words(error) or error.code() == grpc.StatusCode.UNAVAILABLE:
                    return False
                raise Failure("MemberPromote: " + words(error)) from None
        until("%s can be promoted" % node.name, ask, 40, 0.1)
        until("%s is healthy" % node.name, lambda: node.http("/health")[0] == 200, 40)

    def same(self, revisions=0, seconds=40):
        """Every running member has the same store, by HashKV at the newest revision and at `revisions` random older ones."""
        nodes = self.running

        def level():
            answers = [n.call("KV/Range", key=b"none", seconds=5) for n in nodes]
            return len({a.header.revision for a in answers}) == 1 and answers[0]
        revision = until("all members are at the same revision", level, seconds).header.revision
        compacted = until(
            "all members compacted alike",
            lambda: len({n.hash()[1] for n in nodes}) == 1 and nodes[0].hash(), seconds)[1]
        # Releases before 3.4.27 and 3.5.10 refuse the compacted revision itself.
        oldest = max(compacted, 1) + 1
        chosen = [revision] + [self.random.randint(oldest, revision) for _ in range(revisions) if revision >= oldest]
        for at in chosen:
            hashes = {n.name: n.hash(at) for n in nodes}
            if len(set(hashes.values())) != 1:
                raise Violation("HashKV at revision %d differs: %s" % (at, hashes))
        return len(chosen)

    def forget(self, node):
        node.kill()
        node.close()
        del self.nodes[node.number]

    def logs(self, lines=40):
        text = []
        for node in sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []:
            path = os.path.join(self.directory, node, "log")
            if os.path.exists(path):
                with open(path, "rb") as file:
                    tail = file.read().decode(errors="replace").split("\n")[-lines:]
                text.append("---- %s\n%s" % (path, "\n".join(line[:600] for line in tail)))
        return "\n".join(text)

    def end(self, keep=False):
        for node in self:
            node.close()
            node.kill()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)


def as_bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


class Watch:
    """A watch on a thread of its own; goes on elsewhere from the next revision when its member is gone."""

    def __init__(self, nodes, key, range_end=b"", start=1):
        self.nodes, self.key, self.range_end, self.next = nodes, key, range_end, start
        self.events, self.problem, self.stopped = [], None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        turn = 0
        while not self.stopped:
            nodes = [n for n in self.nodes() if n.running and not n.paused]
            if nodes:
                turn += 1
                try:
                    self.follow(nodes[turn % len(nodes)])
                except grpc.RpcError:
                    pass
            time.sleep(0.02)

    def follow(self, node):
        request = node.type("Watch/Watch")()
        create = request.create_request
        create.key, create.range_end, create.start_revision = self.key, self.range_end, self.next
        hold = threading.Event()

        def requests():
            yield request
            hold.wait()
        self.call = node.stream("Watch/Watch", requests(), metadata=(("hasleader", "true"),))
        try:
            for answer in self.call:
                if answer.canceled:
                    return
                for event in answer.events:
                    revision = event.kv.mod_revision
                    if revision < self.next:
                        self.problem = "event of revision %d after the one of %d" % (revision, self.next - 1)
                    self.events.append((revision, event.type, event.kv.key, event.kv.value))
                if answer.events:
                    self.next = answer.events[-1].kv.mod_revision + 1
        finally:
            hold.set()
            self.call.cancel()

    def stop(self):
        self.stopped = True
        if getattr(self, "call", None):
            self.call.cancel()
        self.thread.join(10)


class Writer:
    """One put after another to any member, 1, 2, 3...; knows which were acknowledged and the longest silence."""

    def __init__(self, nodes, key=b"w/", pause=0.002, seconds=3):
        self.nodes, self.key, self.pause, self.seconds = nodes, key, pause, seconds
        self.acknowledged, self.failed, self.count = {}, [], 0
        self.longest, self.last = 0.0, time.monotonic()
        self.stopped = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            nodes = [n for n in self.nodes() if n.running and not n.paused]
            if not nodes:
                time.sleep(0.01)
                continue
            self.count += 1
            node, number = nodes[self.count % len(nodes)], self.count
            try:
                answer = node.put(self.key + b"%d" % (number % 50), b"%d" % number, seconds=self.seconds)
                self.acknowledged[number] = answer.header.revision
                now = time.monotonic()
                self.longest, self.last = max(self.longest, now - self.last), now
            except grpc.RpcError as error:
                self.failed.append((number, node.name, words(error)))
            except ValueError:  # The channel was closed under us: the member is being replaced.
                pass
            time.sleep(self.pause)

    def reset(self):
        self.longest, self.last = 0.0, time.monotonic()

    def stop(self):
        self.stopped = True
        self.thread.join(20)


def scenario_main(scenarios, jobs=1):
    """Runs the scenarios named on the command line, or all; each is `function(stage)` that returns a line to print."""
    parser = argparse.ArgumentParser()
    root = os.path.join(HERE, "..", "..", "..")
    parser.add_argument("--covey", default=os.path.join(root, ".build/release/covey") + " server")
    parser.add_argument("--etcd35", default=os.path.join(root, ".deps/etcd-3.5.1"))
    parser.add_argument("--etcd34", default="/usr/bin/etcd")
    parser.add_argument("--protos", default=os.path.join(root, "Sources/Core/Wire/Protos"))
    parser.add_argument("--subject", default="covey", help="kind of member under test; etcd35 checks the scenario itself")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--seconds", type=int, default=0, help="how long scenarios of load and faults run")
    parser.add_argument("--members", type=int, choices=(3, 5), help="of clusters under faults; else now three, now five")
    parser.add_argument("--tls", type="yes".__eq__, metavar="yes|no", help="of clusters under faults; else now and then")
    parser.add_argument("--quota", type=int, metavar="MEGABYTES", help="that faults exceed now and then; 0: none")
    parser.add_argument("--tally", help="file to which a line for the sum of long runs is added")
    parser.add_argument("--jobs", type=int, default=jobs)
    parser.add_argument("--keep", action="store_true", help="leave data and logs")
    parser.add_argument("only", nargs="*")
    arguments = parser.parse_args()
    unblocked()
    programs = Programs(arguments)
    chosen = [s for s in scenarios if not arguments.only or s.__name__ in arguments.only]
    print("seed %d" % arguments.seed, flush=True)
    failed, tally = [], Tally()

    def run(scenario):
        made, began = [], time.monotonic()

        def new(*values, **options):
            cluster = Cluster(programs, arguments.seed, *values, **options)
            made.append(cluster)
            return cluster

        stage, said, keep = Stage(programs, arguments.seed, new), "", arguments.keep
        try:
            said = scenario(stage) or ""
            verdict = "passed"
        except Exception as error:  # noqa: BLE001: whatever it was, say it with the logs
            verdict, keep = "FAILED", arguments.keep
            stage.tally.violations += isinstance(error, Violation)
            trace = "" if isinstance(error, Failure) and not arguments.keep else traceback.format_exc()
            line = traceback.extract_tb(error.__traceback__)
            where = next((f.lineno for f in reversed(line) if f.name == scenario.__name__), 0)
            said = "line %d: %s\n%s%s" % (where, error, trace, "\n".join(c.logs() for c in made))
            failed.append("%s, line %d: %s" % (scenario.__name__, where, str(error)[:1500]))
        finally:
            for cluster in made:
                cluster.end(keep)
            tally.add(stage.tally)
        print("%s %s (%.0f s) %s" % (verdict, scenario.__name__, time.monotonic() - began, said), flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for done in [pool.submit(run, s) for s in chosen]:
            done.result()
    shutil.rmtree(programs.out, ignore_errors=True)
    if tally.operations:
        print("in all: %s" % tally, flush=True)
    if arguments.tally:
        with open(arguments.tally, "a") as file:
            file.write(json.dumps(vars(tally)) + "\n")
    print("%d passed, %d failed%s" % (
        len(chosen) - len(failed), len(failed), ": " + "; ".join(failed) if failed else ""), flush=True)
    # Threads of abandoned calls must not hold the process.
    sys.stdout.flush()
    os._exit(1 if failed or not chosen else 0)


class Stage:
    """What a scenario gets: a maker of clusters that are cleaned up whatever happens, and the seed."""

    def __init__(self, programs, seed, unstarted):
        self.programs, self.seed, self.unstarted, self.tally = programs, seed, unstarted, Tally()
        self.random = random.Random(seed)

    def cluster(self, *values, **options):
        return self.unstarted(*values, **options).start()
