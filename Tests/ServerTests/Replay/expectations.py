"""What etcd's own end-to-end tests look for, asked of the covey program under etcd's names: tools behind a terminal, texts
in logs, ports, certificates, metrics.

    expectations.py --covey PATH [--only WORD]

Prints "N expectations met"; the first that is not ends it, with what was there instead.
"""

import argparse
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

from peers import Checks, free_ports

READY = "ready to serve client requests"
check = Checks()


class Terminal:
    """A program whose input and output are a terminal."""

    running = []

    def __init__(self, args, folder=None, env=None):
        self.seen, self.at, self.code = b"", 0, None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            os.chdir(folder or "/")
            os.execve(args[0], args, dict(os.environ, SWIFT_BACKTRACE="enable=no", **(env or {})))
        Terminal.running.append(self)

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.seen += data
        return data

    def expect(self, *texts, seconds=30):
        """Waits for texts that follow each other."""
        end = time.time() + seconds
        for text in texts:
            wanted = text.encode()
            while self.seen.find(wanted, self.at) < 0:
                if time.time() > end or self.read(0.2) == b"":
                    break
            found = self.seen.find(wanted, self.at)
            check(found >= 0, "output has " + repr(text), self.text)
            self.at = found + len(wanted)

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, seconds=30):
        end = time.time() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.time() > end:
                sys.exit("does not end\n" + self.text)
            else:
                self.read(0.02)
        while self.read(0.02):
            pass
        Terminal.running.remove(self)
        return self.code

    def stop(self, number=signal.SIGTERM):
        os.kill(self.pid, number)
        return self.wait()

    @property
    def text(self):
        return self.seen.decode("utf8", "replace").replace("\r\n", "\n")


class Place:
    """Links under etcd's names, and a folder for everything that is made."""

    def __init__(self, covey):
        self.folder = tempfile.TemporaryDirectory(prefix="covey-expect-")
        self.path = self.folder.name
        for name in ("etcd", "etcdctl", "etcdutl"):
            os.symlink(os.path.abspath(covey), self.path + "/" + name)

    def sub(self):
        return tempfile.mkdtemp(dir=self.path)

    def certificates(self):
        """An authority, and certificates for this machine by common name."""
        c = self.path + "/certs/"
        if os.path.exists(c):
            return c
        os.mkdir(c)

        def openssl(*args):
            subprocess.run(("openssl",) + args, check=True, cwd=c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30", "-subj", "/CN=ca")
        with open(c + "ext", "w") as f:
            f.write("keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n")
        for name, subject in (("one", "/CN=one.example"), ("two", "/CN=two.example"), ("nobody", "/O=nobody")):
            openssl("req", *ec, "-keyout", name + ".key", "-out", name + ".csr", "-subj", subject)
            openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
                    "-extfile", "ext", "-out", name + ".crt")
        return c

    def server_tls(self, prefix="", name="one"):
        c = self.certificates()
        return ["--%scert-file" % prefix, c + name + ".crt", "--%skey-file" % prefix, c + name + ".key",
                "--%strusted-ca-file" % prefix, c + "ca.crt"]

    def client_tls(self, name="one"):
        c = self.certificates()
        return ["--cacert=" + c + "ca.crt", "--cert=" + c + name + ".crt", "--key=" + c + name + ".key"]

    def curl_tls(self, name="one"):
        c = self.certificates()
        return ["--cacert", c + "ca.crt", "--cert", c + name + ".crt", "--key", c + name + ".key"]


class Member:
    def __init__(self, place, *flags, scheme="http", peer="http", cluster=None, name="m0", ports=None, ready=True):
        self.place, self.folder = place, place.sub()
        self.client, self.peer = ports or free_ports(2)
        self.url, self.peer_url = "%s://127.0.0.1:%d" % (scheme, self.client), "%s://127.0.0.1:%d" % (peer, self.peer)
        both = "%s,%s" % (self.url, self.url.replace("http:", "https:")) if "--both" in flags else self.url
        self.log = Terminal(
            [place.path + "/etcd", "--name=" + name, "--listen-client-urls=" + both, "--advertise-client-urls=" + both,
             "--listen-peer-urls=" + self.peer_url, "--initial-advertise-peer-urls=" + self.peer_url,
             "--data-dir=" + self.folder, "--initial-cluster=" + (cluster or name + "=" + self.peer_url)]
            + [f for f in flags if f != "--both"], self.folder)
        if ready:
            self.log.expect(READY)

    def ctl(self, *args, url=None, env=None):
        return Terminal([self.place.path + "/etcdctl", "--endpoints=" + (url or self.url)] + list(args), self.folder, env)

    def say(self, *args, expect=(), code=0, url=None):
        tool = self.ctl(*args, url=url)
        tool.expect(*([expect] if isinstance(expect, str) else expect))
        check(tool.wait() == code, "exit of %s is %s" % (" ".join(args), code), (tool.code, tool.text))
        return tool.text

    def status(self):
        return json.loads([x for x in self.say("endpoint", "status", "-w", "json").splitlines() if x.startswith("[")][0])[0]["Status"]

    def curl(self, path, *args, url=None):
        run = subprocess.run(["curl", "-sS", "-m", "10", *args, (url or self.url) + path], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
        return run.stdout.decode("utf8", "replace")

    def metric(self, name):
        return float(re.search("^%s ([0-9.e+]+)$" % re.escape(name), self.curl("/metrics"), re.M).group(1))

    def stop(self):
        self.log.stop()


def terminal(place):
    """Tools that ask questions; those who answer may be quicker than the question."""
    m = Member(place)
    m.say("put", "a", "b", expect="OK\r\n")
    m.say("--dial-timeout=0s", "put", "a", "b", expect="OK")
    asks = m.ctl("user", "add", "anna")
    asks.expect("Password of anna: ")
    asks.type("secret\r")
    asks.expect("Type password of anna again for confirmation: ")
    asks.type("secret\r")
    asks.expect("User anna created")
    check(asks.wait() == 0 and "secret" not in asks.text, "a password is not shown", asks.text)
    early = m.ctl("user", "add", "root", "--interactive=false")
    early.type("root\r")
    early.expect("User root created")
    early.wait()
    txn = m.ctl("txn", "--interactive")
    for prompt, lines in (("compares:", ['version("a") > "0"']), ("success requests (get, put, del):", ["get a"]),
                          ("failure requests (get, put, del):", [])):
        txn.expect(prompt)
        for line in lines + [""]:
            txn.type(line + "\r")
    txn.expect("SUCCESS", "a", "b")
    txn.wait()
    # Credentials that nobody asks for are reported as etcd's client does.
    m.say("--user=root:root", "get", "a", expect="retrying of unary invoker failed")
    m.say("user", "grant-role", "root", "root", expect="Role root is granted to user root")
    m.say("auth", "enable", expect="Authentication Enabled")
    m.say("--user=root:root", "auth", "status", expect="Authentication Status: true")
    m.stop()


def ports(place):
    m = Member(place, "--both", *place.server_tls())
    m.say("put", "a", "b", expect="OK")
    m.say(*place.client_tls(), "get", "a", expect="b", url="https://127.0.0.1:%d" % m.client)
    check('"etcdserver"' in m.curl("/version"), "cleartext beside TLS")
    check('"etcdserver"' in m.curl("/version", *place.curl_tls(), url=m.url.replace("http:", "https:")), "TLS beside cleartext")
    second = Terminal([place.path + "/etcd", "--listen-client-urls=" + m.url, "--advertise-client-urls=" + m.url,
                       "--listen-peer-urls=http://127.0.0.1:%d" % free_ports(1)[0]], place.sub())
    second.expect("listen tcp 127.0.0.1:%d: bind: address already in use" % m.client)
    check(second.wait() == 1, "a taken port ends the start")
    m.stop()
    folder = place.sub()
    for scheme, flags, tls in (("unix", [], []), ("unixs", place.server_tls(), place.client_tls())):
        server = Terminal([place.path + "/etcd", "--data-dir=" + folder + "/" + scheme, "--name=u",
                           "--listen-client-urls=%s://localhost:1" % scheme, "--advertise-client-urls=%s://localhost:1" % scheme,
                           "--listen-peer-urls=unix://peer:1", "--initial-advertise-peer-urls=unix://peer:1",
                           "--initial-cluster=u=unix://peer:1"] + flags, folder)
        server.expect(READY)
        for endpoint in ("%s:localhost:1", "%s://localhost:1"):
            tool = Terminal([place.path + "/etcdctl", "--endpoints=" + endpoint % scheme] + tls + ["put", "a", "b"], folder)
            tool.expect("OK")
            tool.wait()
        server.stop()


def certificates(place):
    m = Member(place, *place.server_tls(), *place.server_tls("peer-"), scheme="https", peer="https")
    # To name a CA is to ask for certificates; who has none is refused, and the log says so.
    m.curl("/version", "-k")
    m.log.expect("rejected connection on client endpoint", "tls: client didn't provide a certificate")
    m.curl("/members", "-k", url=m.peer_url)
    m.log.expect("rejected connection on peer endpoint")
    m.stop()
    m = Member(place, *place.server_tls(), "--client-cert-auth", scheme="https")
    tls = place.client_tls()
    m.say(*tls, "user", "add", "root:root", expect="created")
    m.say(*tls, "user", "grant-role", "root", "root", expect="granted")
    m.say(*tls, "auth", "enable", expect="Enabled")
    named = m.curl("/v3/kv/range", *place.curl_tls(), "-d", '{"key":"YQ=="}')
    check("CommonName of client sending a request against gateway will be ignored" in named, "a name at the gateway", named)
    nameless = m.curl("/v3/auth/authenticate", *place.curl_tls("nobody"), "-d", '{"name":"root","password":"root"}')
    check('"token"' in nameless, "no name at the gateway", nameless)
    m.stop()
    pairs = [free_ports(2) for _ in range(3)]
    cluster = ",".join("m%d=https://127.0.0.1:%d" % (i, pair[1]) for i, pair in enumerate(pairs))
    names = [("one", "one.example"), ("one", "one.example"), ("two", "two.example")]
    members = [
        Member(place, *place.server_tls("peer-", file), "--peer-client-cert-auth", "--peer-cert-allowed-cn=" + name, peer="https",
               cluster=cluster, name="m%d" % i, ports=pairs[i], ready=False)
        for i, (file, name) in enumerate(names)]
    # Names are asked of who dials and of who is dialled.
    # Which of the two comes first is a matter of who starts first.
    for text in ("remote error: tls: bad certificate", "client certificate authentication failed"):
        members[2].log.at = 0
        members[2].log.expect(text)
    for m in members[:2]:
        m.log.expect(READY)
    for m in members:
        m.stop()


def settings(place):
    folder = place.sub()
    client, peer = free_ports(2)
    with open(folder + "/etcd.yml", "w") as f:
        f.write("""
name: 'default'
data-dir:
snapshot-count: 10000
listen-peer-urls: http://localhost:%d
listen-client-urls: http://localhost:%d
cors:
initial-advertise-peer-urls: http://localhost:%d
advertise-client-urls: http://localhost:%d
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
initial-cluster: default=http://localhost:%d
enable-pprof: true
proxy: 'off'
client-transport-security:
  cert-file:
  client-cert-auth: false
log-level: debug
logger: zap
log-outputs: [stderr]
auto-compaction-retention: "1"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
]
tls-max-version: 'TLS1.3'
""" % (peer, client, peer, client, peer))
    server = Terminal([place.path + "/etcd", "--config-file", folder + "/etcd.yml"], folder)
    server.expect(READY)
    server.stop()
    for line in server.text.splitlines():
        entry = json.loads(line)
        check(entry["level"] != "error" and entry["caller"] and entry["msg"] and entry["ts"], "a line of the log", line)
    server = Terminal([place.path + "/etcd", "--config-file", folder + "/etcd.yml"], folder)
    server.expect(READY)
    server.stop()
    m = Member(place, "--experimental-bootstrap-defrag-threshold-megabytes", "1000", "--experimental-set-member-localaddr")
    check("Skipping defragmentation" in m.log.text, "defragmentation at start is not needed")
    m.stop()


def slow_calls(place):
    m = Member(place, "--warning-unary-request-duration=1us")
    m.say("put", "k", "v", expect="OK")
    m.log.expect("apply request took too long", "request stats", "/etcdserverpb.KV/Put")
    m.stop()


def metrics(place):
    m = Member(place, "--metrics=extensive", "--quota-backend-bytes=%d" % (13 * 4096))
    put = 'grpc_server_handling_seconds_count{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}'
    for i in range(4):
        m.say("put", "k%d" % i, "v", expect="OK")
    m.say("del", "k", "--prefix", expect="4")
    m.say("get", "k", "--prefix")
    watch = m.ctl("watch", "k", "--prefix", "--rev=1")
    watch.expect("PUT", "k3", "DELETE")
    lease = m.say("lease", "grant", "100").split()[1]
    m.say("lease", "keep-alive", "--once", lease, expect="keepalived")
    m.say("lease", "revoke", lease, expect="revoked")
    m.curl("/health")
    for name, value in (("etcd_mvcc_put_total", 4), ("etcd_mvcc_delete_total", 1), ("etcd_debugging_lease_granted_total", 1),
                        ("etcd_debugging_lease_renewed_total", 1), ("etcd_debugging_lease_revoked_total", 1),
                        ("etcd_server_health_success", 1), ("etcd_server_proposals_pending", 0), (put, 4)):
        check(m.metric(name) == value, "%s is %s" % (name, value), m.metric(name))
    for name in ("etcd_mvcc_range_total", "etcd_debugging_mvcc_events_total", "etcd_network_client_grpc_received_bytes_total",
                 "etcd_network_client_grpc_sent_bytes_total", "etcd_disk_backend_commit_duration_seconds_count"):
        check(m.metric(name) > 0, name + " counts")
    watch.stop(signal.SIGINT)
    # A full store: what was compacted is given back, and there is room again.
    full = ""
    for _ in range(40):
        tool = m.ctl("put", "big", "b" * 4096)
        tool.wait()
        full = tool.text
        if "OK" not in full:
            break
    check("etcdserver: mvcc: database space exceeded" in full, "the quota holds", full)
    # Only who writes raises the alarm: disarmed before there is room it stays so until then.
    m.say("alarm", "disarm", expect="alarm:NOSPACE")
    check(m.say("alarm", "list") == "", "no alarm without a write")
    m.say("lease", "list")
    check(m.say("alarm", "list") == "", "and none by a read")
    tool = m.ctl("put", "big", "b" * 4096)
    tool.wait()
    check("database space exceeded" in tool.text, "there is no more room than before", tool.text)
    m.say("alarm", "list", expect="alarm:NOSPACE")
    before = m.status()
    m.say("compact", str(before["header"]["revision"]), "--physical", expect="compacted revision")
    m.say("defrag", expect="Finished defragmenting etcd member")
    after = m.status()
    check(after["dbSize"] < before["dbSize"], "defragmentation makes the store smaller", (before, after))
    check(m.metric("etcd_disk_backend_defrag_duration_seconds_count") == 1, "defragmentation is timed")
    m.say("alarm", "disarm", expect="alarm:NOSPACE")
    m.say("put", "small", "a" * 64, expect="OK")
    m.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--covey", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    place = Place(options.covey)
    try:
        for group in (terminal, ports, certificates, settings, slow_calls, metrics):
            if options.only in group.__name__:
                group(place)
    finally:
        for left in list(Terminal.running):
            os.kill(left.pid, signal.SIGKILL)
            os.waitpid(left.pid, 0)
    print("%d expectations met" % check.held)


main()
