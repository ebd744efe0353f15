"""`grpc-proxy start` beside etcd's: both in front of a member of ours and of a real one, the same commands through each, and the
same answers; then what only shows when something breaks.

    grpcproxy.py --server "PATH server" --real FOLDER --protos FOLDER

Prints "N checks hold"; the first that does not ends it.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request

from peers import UNLIMITED, Checks, Server, becomes_true, compile_protos, free_ports, launch

check = Checks()

# Words of etcdctl; what they print is compared.
COMMANDS = [
    ["put", "a", "1"], ["put", "b", "2", "--prev-kv"], ["put", "b", "3", "--prev-kv"], ["get", "a"], ["get", "a", "-w", "fields"],
    ["get", "", "--prefix"], ["get", "a", "--from-key"], ["get", "a", "c"], ["get", "none"], ["get", "", "--prefix", "--keys-only"],
    ["get", "", "--prefix", "--count-only", "-w", "fields"], ["get", "a", "--consistency=s"], ["get", "a", "--rev=1000000"],
    ["put", "", "x"], ["get", "a", "--order=DESCEND", "--sort-by=KEY", "--prefix"],
    ["txn", ("mod(\"a\") > \"0\"\n\nput t 1\nget a\n\nput t 2\n\n")], ["txn", ("val(\"a\") = \"x\"\n\nput t 3\n\nget b\ndel t\n\n")],
    ["watch", "", "--prefix", "--rev=2"], ["del", "a", "--prev-kv"], ["del", "", "--prefix"], ["get", "", "--prefix"],
    ["lease", "timetolive", "12345"], ["lease", "revoke", "12345"], ["member", "list"], ["endpoint", "health"],
    ["user", "list"], ["role", "get", "none"], ["auth", "status"], ["alarm", "list"], ["compact", "3"], ["compact", "3"],
    ["get", "a", "--rev=2"], ["lock", "l", "echo", "held"], ["get", "", "--prefix", "--keys-only"],
]
ENDLESS = {"watch"}


class Proxy:
    def __init__(self, command, endpoint, folder, *more):
        self.port, self.metrics = free_ports(2)
        self.address = "127.0.0.1:%d" % self.port
        self.log = os.path.join(folder, "proxy-%d.log" % self.port)
        with open(self.log, "wb") as log:
            self.process = launch(
                command + ["grpc-proxy", "start", "--endpoints", endpoint, "--listen-addr", self.address,
                           "--advertise-client-url", self.address, "--data-dir", os.path.join(folder, "proxy")] + list(more),
                log, cwd=folder)
        if not becomes_true(lambda: "started gRPC proxy" in self.text, self.process):
            raise RuntimeError("the proxy did not start:\n" + self.text)

    @property
    def text(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def get(self, path, port=None):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d%s" % (port or self.port, path), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def said(ctl, address, words):
    """What etcdctl prints, without what differs between any two clusters."""
    given = None
    if not isinstance(words[-1], str) or "\n" in words[-1]:
        words, given = words[:-1], words[-1]
    command = [ctl, "--endpoints", address, "--command-timeout=10s"] + words
    environment = dict(os.environ, ETCDCTL_API="3")
    if words[0] in ENDLESS:
        # The events that are there already, then it is told to end.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
        lines = [process.stdout.readline() for _ in range(6)]
        process.kill()
        process.stdout.close()
        process.wait()
        return 0, "".join(lines)
    result = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, env=environment)
    text = result.stdout + result.stderr
    # etcd's proxy calls every failure of a member UNKNOWN, which shows in the client's log only; ours passes the code on.
    text = "".join(line for line in text.splitlines(True) if not line.startswith('{"level"')).replace(address, "ADDRESS")
    text = re.sub(r'("(ClusterID|MemberID|RaftTerm)" : )[0-9]+', r"\1N", text)
    text = re.sub(r"took = [0-9.]+[mµ]?s", "took = T", text)
    text = re.sub(r"/[0-9a-f]{12,16}\b", "/LEASE", text)
    return result.returncode, text


def compared(ours, real, member, other, folder):
    ctl = real + "/etcdctl"
    proxies = [Proxy(ours, member.url, folder), Proxy([real + "/etcd"], other.url, folder)]
    for words in COMMANDS:
        answers = [said(ctl, proxy.address, words) for proxy in proxies]
        check(answers[0] == answers[1], "%s through both proxies" % " ".join(words[:3]), "%s\n%s" % tuple(answers))
    for path in ("/health", "/proxy/health"):
        answers = [proxy.get(path) for proxy in proxies]
        check([code for code, _ in answers] == [200, 200], path, answers)
        check(json.loads(answers[0][1]) == json.loads(answers[1][1]), path, answers)
    check("etcd_server_has_leader 1" in proxies[0].get("/metrics")[1], "/metrics are a member's")
    check("grpc_server_started_total" in proxies[0].get("/proxy/metrics")[1], "/proxy/metrics are the proxy's")
    check(proxies[0].get("/nothing")[0] == 404, "an unknown page")
    # An empty range says so whether it is asked of the proxy or of the member.
    for proxy in proxies:
        proxy.stop()
    check("started gRPC proxy" in proxies[0].text and proxies[0].process.returncode == -signal.SIGTERM, "ends by its signal")


def crossed(ours, real, member, other, folder):
    """Ours in front of a real member, a real proxy in front of ours."""
    for command, target in ((ours, other), ([real + "/etcd"], member)):
        proxy = Proxy(command, target.url, folder)
        for words in (["put", "crossed", "1"], ["get", "crossed"], ["del", "crossed"]):
            code, text = said(real + "/etcdctl", proxy.address, words)
            check(code == 0, "%s across" % words[0], text)
        proxy.stop()


def namespaces(ours, real, member, folder, methods):
    import grpc
    proxy = Proxy(ours, member.url, folder, "--namespace", "/ns/")
    inside, outside = (grpc.insecure_channel(address, UNLIMITED) for address in (proxy.address, member.url.split("//")[1]))

    def call(channel, method, **fields):
        request, response = methods[method]
        return channel.unary_unary(method, request.SerializeToString, response.FromString)(request(**fields), timeout=20)

    def keys(channel, key, end):
        return [pair.key for pair in call(channel, "/etcdserverpb.KV/Range", key=key, range_end=end).kvs]

    begin = call(outside, "/etcdserverpb.KV/Put", key=b"/ns", value=b"before").header.revision
    call(outside, "/etcdserverpb.KV/Put", key=b"/ns0", value=b"behind")
    for name in (b"k1", b"k2", b"\xff"):
        call(inside, "/etcdserverpb.KV/Put", key=name, value=name)
    check(keys(outside, b"/ns/", b"/ns0") == [b"/ns/k1", b"/ns/k2", b"/ns/\xff"], "keys lie behind the prefix")
    check(keys(inside, b"\0", b"\0") == [b"k1", b"k2", b"\xff"], "everything is what is behind the prefix")
    check(keys(inside, b"k1", b"k2") == [b"k1"], "a range")
    check(keys(inside, b"k2", b"\0") == [b"k2", b"\xff"], "from a key on")
    done = call(inside, "/etcdserverpb.KV/DeleteRange", key=b"k2", range_end=b"\0", prev_kv=True)
    check([pair.key for pair in done.prev_kvs] == [b"k2", b"\xff"], "deleted pairs have their own names")
    check(keys(outside, b"/ns", b"/nt") == [b"/ns", b"/ns/k1", b"/ns0"], "others are left alone")
    watch_request, watch_response = methods["/etcdserverpb.Watch/Watch"]
    ended = threading.Event()

    def requests():
        create = watch_request()
        create.create_request.key, create.create_request.range_end = b"\0", b"\0"
        create.create_request.start_revision = begin
        yield create
        ended.wait(60)

    stream = inside.stream_stream("/etcdserverpb.Watch/Watch", watch_request.SerializeToString, watch_response.FromString)(
        requests(), timeout=30)
    seen = []
    for answer in stream:
        seen += [event.kv.key for event in answer.events]
        if len(seen) >= 5:
            break
    ended.set()
    stream.cancel()
    check(seen == [b"k1", b"k2", b"\xff", b"k2", b"\xff"], "a watch sees its own keys only", seen)
    try:
        call(inside, "/etcdserverpb.KV/Put", key=b"", value=b"x")
        check(False, "an empty key is refused")
    except grpc.RpcError as error:
        check(error.details() == "etcdserver: key is not provided", "an empty key is refused", error.details())
    inside.close()
    outside.close()
    proxy.stop()


def heavy(ours, member, folder, methods):
    """Large values, many calls at once, and a client that does not read."""
    import grpc
    proxy = Proxy(ours, member.url, folder)
    channel = grpc.insecure_channel(proxy.address, UNLIMITED)
    request, response = methods["/etcdserverpb.KV/Put"]
    put = channel.unary_unary("/etcdserverpb.KV/Put", request.SerializeToString, response.FromString)
    futures = [put.future(request(key=b"many/%d" % i, value=bytes(500)), timeout=30) for i in range(2000)]
    check(len({future.result().header.revision for future in futures}) == 2000, "two thousand calls at once")
    put(request(key=b"large", value=bytes(1_400_000)), timeout=30)
    request, response = methods["/etcdserverpb.KV/Range"]
    get = channel.unary_unary("/etcdserverpb.KV/Range", request.SerializeToString, response.FromString)
    check(len(get(request(key=b"large"), timeout=30).kvs[0].value) == 1_400_000, "a large value")
    request, response = methods["/etcdserverpb.Maintenance/Snapshot"]
    snapshot = channel.unary_stream("/etcdserverpb.Maintenance/Snapshot", request.SerializeToString, response.FromString)
    check(sum(len(piece.blob) for piece in snapshot(request(), timeout=60)) % 512 == 32, "a snapshot")
    try:
        request, response = methods["/v3lockpb.Lock/Lock"]
        lock = channel.unary_unary("/v3lockpb.Lock/Lock", request.SerializeToString, response.FromString)
        lock(request(name=b"once"), timeout=20)
        lock(request(name=b"once"), timeout=1)
        check(False, "a second lock waits")
    except grpc.RpcError as error:
        check(error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, "a call ends at its deadline", error)
    channel.close()
    proxy.stop()


def lost_members(ours, command, folder, methods):
    """Reads go on while one of two endpoints is no server any more; nothing is answered when none is."""
    import grpc
    member = Server(command, [])
    other = free_ports(1)[0]
    proxy = Proxy(ours, "127.0.0.1:%d,%s" % (other, member.url), folder)
    channel = grpc.insecure_channel(proxy.address, UNLIMITED)
    request, response = methods["/etcdserverpb.KV/Range"]
    get = channel.unary_unary("/etcdserverpb.KV/Range", request.SerializeToString, response.FromString)
    for _ in range(20):
        get(request(key=b"a"), timeout=20)
    check(True, "an endpoint where nobody listens is passed over")
    member.stop()
    try:
        get(request(key=b"a"), timeout=2)
        check(False, "no member, no answer")
    except grpc.RpcError as error:
        check(error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE), "no member, no answer", error)
    code, text = proxy.get("/health")
    check(code == 503 and json.loads(text)["health"] == "false", "/health without a member", text)
    channel.close()
    proxy.stop()
    member.remove()


def secured(ours, real, command, folder):
    def openssl(*words):
        subprocess.run(["openssl"] + list(words), check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-subj", "/CN=ca", "-days", "2")
    for name, subject in (("member", "/CN=member"), ("nameless", "/O=proxy")):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".csr",
                "-subj", subject, "-addext", "subjectAltName=IP:127.0.0.1")
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", name + ".pem",
                "-days", "2", "-copy_extensions", "copy")
    client, peer = free_ports(2)
    url, peer_url = "https://127.0.0.1:%d" % client, "http://127.0.0.1:%d" % peer
    with open(os.path.join(folder, "secure.log"), "wb") as log:
        member = launch(
            command + ["--name", "n1", "--data-dir", os.path.join(folder, "secure"), "--listen-client-urls", url,
                       "--advertise-client-urls", url, "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url,
                       "--initial-cluster", "n1=" + peer_url, "--cert-file", folder + "/member.pem", "--key-file",
                       folder + "/member.key", "--trusted-ca-file", folder + "/ca.pem", "--client-cert-auth"], log)
    proxy = Proxy(ours, url, folder, "--cacert", folder + "/ca.pem", "--cert", folder + "/nameless.pem", "--key",
                  folder + "/nameless.key", "--cert-file", folder + "/member.pem", "--key-file", folder + "/member.key",
                  "--trusted-ca-file", folder + "/ca.pem")
    result = subprocess.run(
        [real + "/etcdctl", "--endpoints", "https://" + proxy.address, "--cacert", folder + "/ca.pem", "--cert",
         folder + "/member.pem", "--key", folder + "/member.key", "--command-timeout=20s", "put", "secret", "1"],
        capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API="3"))
    check(result.stdout == "OK\n", "TLS on both sides", result.stderr + proxy.text)
    proxy.stop()
    member.terminate()
    member.wait()
    named = subprocess.run(
        ours + ["grpc-proxy", "start", "--endpoints", url, "--cert", folder + "/member.pem", "--key", folder + "/member.key"],
        capture_output=True, text=True)
    check(named.returncode == 1 and "cert has non empty Common Name" in named.stderr, "a certificate with a name", named.stderr)


def refused(ours):
    for words, text in (
            (["--resolver-prefix", "x"], "invalid resolver-ttl 0"), (["--resolver-ttl", "5"], 'invalid resolver-prefix ""'),
            (["--resolver-ttl", "5", "--resolver-prefix", "x", "--advertise-client-url", ""], 'invalid advertise-client-url ""'),
            (["--listen-addr", "nothing"], "failed to validate listen address"), (["--metrics-addr", "x:1"], "is no URL"),
            (["--cert-file", "x"], "--cert-file and --key-file"), (["--nonsense"], "unknown flag: --nonsense")):
        result = subprocess.run(ours + ["grpc-proxy", "start"] + words, capture_output=True, text=True, timeout=60)
        check(result.returncode == 1 and text in result.stderr, " ".join(words), result.stderr)


def registered(ours, real, member, folder):
    more = ("--resolver-prefix", "proxies", "--resolver-ttl", "5")
    proxies = [Proxy(ours, member.url, folder, *more), Proxy([real + "/etcd"], member.url, folder, *more),
               Proxy(ours, member.url, folder, *more)]
    addresses = {proxy.address for proxy in proxies}

    def listed():
        result = subprocess.run([real + "/etcdctl", "--endpoints", proxies[0].address, "member", "list", "-w", "json"],
                                capture_output=True, text=True, env=dict(os.environ, ETCDCTL_API="3"))
        return {url for one in json.loads(result.stdout)["members"] for url in one["clientURLs"]} if result.returncode == 0 else set()

    check(becomes_true(lambda: listed() == addresses, proxies[0].process), "proxies of both kinds find each other", listed())
    proxies[2].process.kill()
    proxies[2].process.wait()
    check(becomes_true(lambda: listed() == addresses - {proxies[2].address}, proxies[0].process), "one that ended is forgotten", listed())
    for proxy in proxies[:2]:
        proxy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--real", required=True)
    parser.add_argument("--protos", required=True)
    options = parser.parse_args()
    ours = shlex.split(options.server)
    with tempfile.TemporaryDirectory(prefix="covey-proxy-") as folder:
        methods = compile_protos(options.protos, folder)
        refused(ours)
        member, other = Server(options.server, []), Server(options.real + "/etcd", [])
        try:
            compared(ours, options.real, member, other, folder)
            crossed(ours, options.real, member, other, folder)
            namespaces(ours, options.real, member, folder, methods)
            heavy(ours, member, folder, methods)
            registered(ours, options.real, member, folder)
        finally:
            member.stop()
            other.stop()
            member.remove()
            other.remove()
        lost_members(ours, options.server, folder, methods)
        secured(ours, options.real, ours, folder)
    print("%d checks hold" % check.held)


main()
