"""Members of a new cluster that find each other through another cluster, served by this server and by a real one; and through the
v2 keys API of real ones, among themselves and with real members.

    discovery.py --server "PATH server" --real FOLDER [--real34 PATH] [--protos FOLDER]

Prints "N checks hold"; the first that does not ends it.
"""

import argparse
import base64
import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.parse

from peers import Checks, becomes_true, free_port, free_ports, launch
from web_proxy import WebProxy

check = Checks()


class Server:
    running = []

    def __init__(self, command, folder, name, *more, env=None):
        self.name, self.client, self.peer = name, *free_ports(2)
        self.data, self.env = "%s/%s" % (folder, name), env or {}
        self.start(command, folder, more)

    def start(self, command, folder, more):
        self.log = "%s/%s.log" % (folder, self.name)
        command = ["env"] + ["%s=%s" % v for v in self.env.items()] + command
        url = "http://127.0.0.1:%d"
        self.process = launch(
            command + ["--name", self.name, "--data-dir", self.data, "--listen-client-urls", url % self.client,
                       "--advertise-client-urls", url % self.client, "--listen-peer-urls", url % self.peer,
                       "--initial-advertise-peer-urls", url % self.peer] + list(more),
            open(self.log, "a"))
        Server.running.append(self)

    @property
    def text(self):
        with open(self.log) as file:
            return file.read()

    def call(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.client, timeout=10)
        connection.request("POST", path, json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def v2(self, method, path, value=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.client, timeout=10)
        body = value and "value=" + urllib.parse.quote(value)
        connection.request(method, "/v2/keys" + path, body, {"Content-Type": "application/x-www-form-urlencoded"} if body else {})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        check("errorCode" not in answer, "%s %s" % (method, path), answer)
        return answer["node"]

    def members(self):
        return sorted((m["ID"], m.get("name"), m["peerURLs"][0]) for m in self.call("/v3/cluster/member/list", {})["members"])

    def put(self, key, value):
        encode = lambda text: base64.b64encode(text.encode()).decode()
        return self.call("/v3/kv/put", {"key": encode(key), "value": encode(value)})

    def wait_healthy(self):
        def healthy():
            connection = http.client.HTTPConnection("127.0.0.1", self.client, timeout=10)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200

        self.wait(healthy, "healthy")

    def wait(self, condition, what):
        check(becomes_true(condition, self.process), "%s gets %s" % (self.name, what), self.text)

    def wait_line(self, text):
        self.wait(lambda: text in self.text, "to say " + repr(text))

    def wait_end(self):
        return self.process.wait(60)

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)
        Server.running.remove(self)


def together(server, registry_command, folder):
    registry = Server(registry_command, folder, "registry")
    registry.wait_healthy()
    where = ["--discovery-endpoints", "127.0.0.1:%d" % registry.client]

    for token, size, error in (("none", None, "discovery: size key not found"), ("bad", "many", "discovery: size key is bad"),
                               ("zero", "0", "discovery: size key is bad")):
        if size:
            registry.put("/_etcd/registry/%s/_config/size" % token, size)
        lost = Server(server, folder, "lost-" + token, "--discovery-token", token, *where)
        check(lost.wait_end() == 1, "without a size the server ends", lost.text)
        check(error in lost.text, error, lost.text)
        lost.stop()

    registry.put("/_etcd/registry/three/_config/size", "3")
    flags = ["--discovery-token", "three"] + where
    first = Server(server, folder, "a", *flags)
    first.wait_line("waiting for more")
    # Killed while it waits, it comes back to the same place.
    first.process.kill()
    first.process.wait()
    Server.running.remove(first)
    open(first.log, "w").close()
    first.start(server, folder, flags)
    first.wait_line("waiting for more")
    # And it can be stopped while it waits.
    check("registered self" not in first.text, "a member that comes back is written down already", first.text)
    first.process.send_signal(signal.SIGTERM)
    check(first.process.wait(30) in (0, -signal.SIGTERM), "a waiting server can be stopped", first.text)
    Server.running.remove(first)
    first.start(server, folder, flags)
    others = [Server(server, folder, name, *flags) for name in ("b", "c")]
    for member in [first] + others:
        member.wait_healthy()
    members = first.call("/v3/cluster/member/list", {})["members"]
    check(sorted(m.get("name") for m in members) == ["a", "b", "c"], "three members", members)
    urls = sorted(m["peerURLs"][0] for m in members)
    check(urls == sorted("http://127.0.0.1:%d" % m.peer for m in [first] + others), "with their URLs", members)

    fourth = Server(server, folder, "d", *flags)
    check(fourth.wait_end() == 1, "a fourth ends", fourth.text)
    check("discovery: cluster is full" in fourth.text, "because the cluster is full", fourth.text)
    fourth.stop()

    # A member that has data needs no registry any more.
    registry.stop()
    others[0].stop()
    others[0].start(server, folder, flags)
    others[0].wait_healthy()
    check("discovery token ignored" in others[0].text, "the token is ignored afterwards", others[0].text)
    for member in [first] + others:
        member.stop()


def through_keys(server, reals, registry_command, folder):
    """--discovery, at a registry that also real members can use."""
    registry = Server(registry_command, folder, "registry", "--enable-v2")
    registry.wait_healthy()
    base = "http://127.0.0.1:%d/v2/keys" % registry.client

    refusals(server, reals[0], registry, base, folder)

    registry.v2("PUT", "/three/_config/size", "3")
    flags = ["--discovery", base + "/three"]
    first = Server(server, folder, "a", *flags)
    first.wait_line("waiting for more")
    first.process.send_signal(signal.SIGTERM)
    check(first.process.wait(30) in (0, -signal.SIGTERM), "a waiting server can be stopped", first.text)
    Server.running.remove(first)
    # Its place is taken, by whom it cannot know: the promises of a member that was there before are not in its data.
    first.start(server, folder, flags)
    check(first.wait_end() == 1, "a member that comes back without data ends", first.text)
    for line in ("discovery: found duplicate id", "or use a new discovery token if previous bootstrap failed"):
        check(line in first.text, line, first.text)
    Server.running.remove(first)
    (own,) = registry.v2("GET", "/three")["nodes"]
    check(own["value"] == "a=http://127.0.0.1:%d" % first.peer, "it wrote down its name and URL", own)
    registry.v2("DELETE", own["key"])
    first.start(server, folder, flags)
    first.wait_line("waiting for more")
    ours = [first] + [Server(server, folder, name, *flags) for name in ("b", "c")]
    for member in ours:
        member.wait_healthy()
    check([m[1:] for m in sorted(first.members(), key=lambda m: m[1])]
          == [(m.name, "http://127.0.0.1:%d" % m.peer) for m in ours], "three members", first.members())
    fourth = Server(server, folder, "d", "--discovery-fallback", "proxy", *flags)
    check(fourth.wait_end() == 1, "a fourth ends", fourth.text)
    for line in ("(discovery: cluster is full)", "there is no v2 proxy here to fall back to"):
        check(line in fourth.text, line, fourth.text)
    fourth.stop()

    # Members of etcd make up the same ids from the same URL.
    mixed = []
    for number, real in enumerate(reals):
        token = "/mixed/%d/" % number
        registry.v2("PUT", token + "_config/size", "3")
        flags = ["--discovery", base + token]
        met = [Server(command, folder, "%s%d" % (name, number), *flags)
               for name, command in (("m", server), ("n", [real]), ("o", server))]
        for member in met:
            member.wait_healthy()
        lists = [member.members() for member in met]
        check(len(lists[0]) == 3 and lists[0] == lists[1] == lists[2], "the same members everywhere", lists)
        ids = {m.call("/v3/maintenance/status", {})["header"]["cluster_id"] for m in met}
        check(len(ids) == 1, "the same cluster everywhere", ids)
        met[0].put("k", "v")
        mixed += met

    detours(server, registry, base, folder)

    # Later: the first question has no answer. And members that have data need no service any more.
    registry.v2("PUT", "/later/_config/size", "1")
    registry.stop()
    early = Server(server, folder, "early", "--discovery", base + "/later")
    early.wait_line("retry connecting to discovery service")
    ours[0].stop()
    ours[0].start(server, folder, ["--discovery", base + "/three"])
    ours[0].wait_healthy()
    check("discovery token ignored" in ours[0].text, "the URL is ignored afterwards", ours[0].text)
    registry.start(registry_command, folder, ["--enable-v2"])
    early.wait_healthy()
    for member in ours + mixed + [early, registry]:
        member.stop()


def refusals(server, real, registry, base, folder):
    """What ends the start, in the words of a real one."""
    def last_words(log):
        found = re.findall(r'failed to join discovery cluster \((.*)\)"', log)
        check(found, "it says why it cannot join", log)
        return found[-1]

    said = {}
    for kind, command in (("ours", server), ("real", [real])):
        for what, size, others in (
                ("none", None, []), ("many", "many", []), ("huge", "9" * 30, []), ("full", "1", ["y=http://127.0.0.1:1"]),
                ("name", "2", ["lost=http://127.0.0.1:1"]), ("url", "2", ["rubbish"])):
            token = "/%s-%s" % (what, kind)
            if size:
                registry.v2("PUT", token + "/_config/size", size)
            for number, value in enumerate(others):
                registry.v2("PUT", "%s/%d" % (token, number), value)
            said[what, kind] = ended(command, folder, "lost-%s-%s" % (what, kind), base + token)
        said["elsewhere", kind] = ended(command, folder, "elsewhere-" + kind, base.replace("/v2/keys", "/nothing"))
        said["escape", kind] = ended(command, folder, "escape-" + kind, base + "/%zz")
        url = "http://127.0.0.1:%d" % free_port()
        registry.v2("PUT", "/twice-%s/_config/size" % kind, "2")
        registry.v2("PUT", "/twice-%s/0" % kind, "y=" + url)
        status, log = ended(command, folder, "twice-" + kind, base + "/twice-" + kind, "--listen-peer-urls", url,
                            "--initial-advertise-peer-urls", url)
        words = "discovery cluster lost=%s,y=%s has duplicate url" % (url, url)
        check(status == 1 and words in log, "%s: one URL for two ends" % kind, log)
    for (what, kind), (status, log) in said.items():
        check(status == 1, "%s: %s ends" % (what, kind), log)
        if kind == "real" and what not in ("none", "escape"):
            check(last_words(log) == last_words(said[what, "ours"][1]), "the same words for " + what,
                  [last_words(log), last_words(said[what, "ours"][1])])
    for what, words in (("none", "discovery: size key not found: 100: Key not found (/none-ours) ["),
                        ("escape", "has a broken escape")):
        check(words in said[what, "ours"][1], words, said[what, "ours"][1])
    # There a real one panics, or asks for ever.
    registry.v2("PUT", "/zero/_config/size", "0")
    for name, url, words in (("zero", base + "/zero", "discovery: size key is bad"),
                             ("scheme", base[len("http://"):] + "/x", "begins with neither http:// nor https://"),
                             ("port", "http://127.0.0.1:99999/x", "a port that is none"),
                             ("user", "http://a:b@127.0.0.1:1/x", "names a user")):
        status, log = ended(server, folder, "lost-" + name, url)
        check(status == 1 and words in log, words, log)
    status, log = ended(server, folder, "lost-proxy", base + "/full-ours", "--discovery-proxy", "https://127.0.0.1:1")
    check(status == 1 and "invalid proxy address" in log, "no proxies with TLS", log)


def ended(command, folder, name, url, *more):
    lost = Server(command, folder, "lost", "--discovery", url, "--discovery-fallback", "exit", *more)
    status, log = lost.wait_end(), lost.text
    lost.stop()
    os.rename(lost.log, "%s/%s.log" % (folder, name))
    subprocess.run(["rm", "-rf", lost.data], check=True)
    return status, log


def detours(server, registry, base, folder):
    """Through a proxy that loses answers, by a redirect, and to a service with TLS."""
    with WebProxy() as proxy:
        way = ["--discovery-proxy", "127.0.0.1:%d" % proxy.port]
        registry.v2("PUT", "/proxied/_config/size", "2")
        proxy.lose = {"PUT": 1}
        # Written down by a request whose answer is lost: its own key is no other member's.
        members = [Server(server, folder, "p", "--discovery", base + "/proxied", *way)]
        members[0].wait_line("waiting for more")
        check(proxy.lose == {"PUT": 0} and "retry connecting" in members[0].text, "an answer was lost", members[0].text)
        check(len(registry.v2("GET", "/proxied")["nodes"]) == 1, "it is there once")
        check(all(base in asked for asked in proxy.seen), "whole URLs are asked for", proxy.seen)
        # A wait that is cut is begun again.
        proxy.lose = {"GET": 1}
        members.append(Server(server, folder, "q", "--discovery", base + "/proxied"))
        for member in members:
            member.wait_healthy()
        check(proxy.lose == {"GET": 0}, "a wait was cut", proxy.seen)

        # What no registry says is asked again, and leads to one at last.
        here = "http://127.0.0.1:%d" % proxy.port
        proxy.canned = {"/short": b" " * (2 << 20), "/ring": here + "/ring"}
        members.append(Server(server, folder, "led", "--discovery", here + "/short"))
        members[-1].wait_line("the answer is longer than 1048576 bytes")
        registry.v2("PUT", "/led/_config/size", "1")
        proxy.canned["/short"] = base + "/led"
        members[-1].wait_healthy()
        status, log = ended(server, folder, "ring", here + "/ring")
        check(status == 1 and "redirects more than 10 times" in log, "no redirects without end", log)

        files = [folder + "/registry.crt", folder + "/registry.key"]
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
             "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
            check=True, stderr=subprocess.DEVNULL)
        with WebProxy(registry.client, files) as front:
            registry.v2("PUT", "/tls/_config/size", "2")
            url = ["--discovery", "https://127.0.0.1:%d/v2/keys/tls" % front.port]
            wary = Server(server, folder, "wary", *url)
            wary.wait_line("retry connecting to discovery service")
            check("certificate signed by unknown authority" in wary.text, "who is not trusted is not asked", wary.text)
            check(front.seen == [], "nothing was said", front.seen)
            wary.process.kill()
            wary.stop()
            # What the system trusts, here.
            trust = {"SSL_CERT_FILE": files[0]}
            members += [Server(server, folder, "s", *url, env=trust), Server(server, folder, "t", *url, *way, env=trust)]
            for member in members[-2:]:
                member.wait_healthy()
            check("CONNECT 127.0.0.1:%d" % front.port in proxy.seen, "through a tunnel", proxy.seen)
    for member in members:
        member.stop()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--real", help="the folder of a release")
    parser.add_argument("--real34", help="a server of 3.4")
    parser.add_argument("--protos")
    options = parser.parse_args()
    server = options.server.split(" ")
    with tempfile.TemporaryDirectory(prefix="covey-discovery-") as folder:
        try:
            for name, registry in (("ours", server), ("real", options.real and [options.real + "/etcd"])):
                if registry:
                    os.mkdir("%s/%s" % (folder, name))
                    together(server, registry, "%s/%s" % (folder, name))
            if options.real:
                reals = [options.real + "/etcd"] + ([options.real34] if options.real34 else [])
                for number, registry in enumerate(reals):
                    os.mkdir("%s/keys%d" % (folder, number))
                    through_keys(server, reals, [registry], "%s/keys%d" % (folder, number))
        finally:
            for left in list(Server.running):
                left.stop(signal.SIGKILL)
    print("%d checks hold" % check.held)


if __name__ == "__main__":
    main()
