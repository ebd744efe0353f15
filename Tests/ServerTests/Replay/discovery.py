"""Members of a new cluster that find each other through another cluster: three servers, a registry served by this server
and by a real one.

    discovery.py --server "PATH server" --real FOLDER [--protos FOLDER]

Prints "N checks hold"; the first that does not ends it.
"""

import argparse
import base64
import http.client
import json
import os
import signal
import tempfile

from peers import Checks, becomes_true, free_ports, launch

check = Checks()


class Server:
    running = []

    def __init__(self, command, folder, name, *more, data=None):
        self.name, self.client, self.peer = name, *free_ports(2)
        self.data = data or "%s/%s" % (folder, name)
        self.start(command, folder, more)

    def start(self, command, folder, more):
        self.log = "%s/%s.log" % (folder, self.name)
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--real", help="the folder of a release")
    parser.add_argument("--protos")
    options = parser.parse_args()
    server = options.server.split(" ")
    with tempfile.TemporaryDirectory(prefix="covey-discovery-") as folder:
        try:
            for name, registry in (("ours", server), ("real", options.real and [options.real + "/etcd"])):
                if registry:
                    os.mkdir("%s/%s" % (folder, name))
                    together(server, registry, "%s/%s" % (folder, name))
        finally:
            for left in list(Server.running):
                left.stop(signal.SIGKILL)
    print("%d checks hold" % check.held)


if __name__ == "__main__":
    main()
