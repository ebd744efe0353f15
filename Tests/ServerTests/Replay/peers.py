"""What the replaying and comparing tools share: our messages in Python, a fresh server on loopback, masks."""

import http.client
import importlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
ALWAYS_MASKED = ["header.cluster_id", "header.member_id", "header.raft_term"]


def compile_protos(directory, out):
    """Compiles our .proto files and returns {full method: (request class, response class)}."""
    from grpc_tools import protoc
    files = sorted(os.path.relpath(os.path.join(d, f), directory)
                   for d, _, names in os.walk(directory) for f in names if f.endswith(".proto"))
    include = os.path.join(os.path.dirname(sys.modules["grpc_tools"].__file__), "_proto")
    if protoc.main(["protoc", "-I", directory, "-I", include, "--python_out=" + out] + files) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, out)
    methods = {}
    from google.protobuf import message_factory
    for f in files:
        module = importlib.import_module(f[:-6].replace("/", ".").replace("-", "_") + "_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for m in service.methods:
                methods["/%s/%s" % (service.full_name, m.name)] = (
                    message_factory.GetMessageClass(m.input_type), message_factory.GetMessageClass(m.output_type))
    return methods


class Checks:
    """Counts what holds; the first that does not ends the program."""

    def __init__(self):
        self.held = 0

    def __call__(self, condition, what, detail=""):
        if not condition:
            sys.exit("does not hold: %s\n%s" % (what, str(detail)[-4000:]))
        self.held += 1


HANDED_OUT = set()


def free_port():
    """For a server that is about to start. Not one of those the kernel gives away by itself, to whoever connects or listens
    anywhere: it may be gone before the server has come up. And never the same twice."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    while True:
        # Where there are too few below, there is no choice.
        port = random.SystemRandom().randrange(10240, first if first > 12000 else 65536)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in HANDED_OUT:
            HANDED_OUT.add(port)
            return port


def free_ports(count):
    return [free_port() for _ in range(count)]


def becomes_true(condition, process, seconds=60):
    """Whether it does before the process ends; what cannot be connected to is not there yet. The only place that looks again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition():
                return True
        except OSError:
            pass
        try:
            process.wait(0.02)
            return False
        except subprocess.TimeoutExpired:
            pass
    return False


# Test runners block signals, and the servers that are launched here are to hear theirs: what is set before there are threads
# holds for all of them and for every child. (A preexec_fn could do it too, but then children are made by fork(), with threads of
# gRPC in the middle of something.)
signal.pthread_sigmask(signal.SIG_SETMASK, [])


def launch(args, log, **more):
    return subprocess.Popen(
        args, stdout=log, stderr=subprocess.STDOUT, env=dict(os.environ, SWIFT_BACKTRACE="enable=no"), **more)


class Server:
    """One fresh member on loopback."""

    def __init__(self, command, flags):
        self.directory = tempfile.mkdtemp(prefix="covey-replay-")
        self.client, peer = free_ports(2)
        self.url = "http://127.0.0.1:%d" % self.client
        peer_url = "http://127.0.0.1:%d" % peer
        self.log = open(os.path.join(self.directory, "log"), "wb")
        self.process = launch(
            shlex.split(command) + [
                "--name", "n1", "--data-dir", os.path.join(self.directory, "data"),
                "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
                "--initial-cluster", "n1=" + peer_url] + flags, self.log)
        if becomes_true(self.is_ready, self.process, 30):
            return
        self.stop()
        raise RuntimeError("server did not become healthy:\n" + self.text())

    def is_ready(self):
        return self.get("/health")[0] == 200 and b"not_decided" not in self.get("/version")[1]

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.client, timeout=5)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def text(self):
        with open(os.path.join(self.directory, "log"), "rb") as f:
            return f.read().decode(errors="replace")[-4000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def masked(value, masks):
    """The decoded message without the dotted paths of `masks`."""
    def drop(node, path):
        if isinstance(node, list):
            for item in node:
                drop(item, path)
        elif isinstance(node, dict):
            if len(path) == 1:
                node.pop(path[0], None)
            elif path[0] in node:
                drop(node[path[0]], path[1:])
    value = json.loads(json.dumps(value))
    for mask in masks:
        drop(value, mask.split("."))
    # Sub-responses of a transaction carry no ids, but nested messages of other kinds may.
    return value
