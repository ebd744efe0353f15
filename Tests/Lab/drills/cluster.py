"""A cluster of Covey on the lab's hosts, set up as an operator would: package, rendered files, certificates, systemctl."""

import base64
import http.client
import json
import ssl
import tempfile
import time
import urllib.parse
from pathlib import Path

from systemdlab.processes import LabError, run, until

from .certificates import Authority

NAME = "main"
UNIT = f"covey-server@{NAME}.service"


class Cluster:
    def __init__(self, lab, hosts, package, program):
        self.lab, self.hosts, self.package, self.program = lab, hosts, Path(package), Path(program)
        self.folder = Path(tempfile.mkdtemp(prefix="covey-drill-"))
        self.inventory = self.folder / "cluster.yaml"
        lines = [f"metadata: {{name: {NAME}}}", "spec:", "  hosts:"] + [f"    {host.name}: {host.address}" for host in hosts]
        self.inventory.write_text("\n".join(lines) + "\n")

    @property
    def endpoints(self):
        return [f"https://{host.address}:2379" for host in self.hosts]

    # Set up

    def issue_certificates(self):
        clients, peers = Authority(self.folder, "client"), Authority(self.folder, "peer")
        self.operator_certificate, self.operator_key = clients.issue("operator", "operator")
        self.client_authority = clients.certificate
        for host in self.hosts:
            names = [f"DNS:{host.name}", f"IP:{host.address}"]
            server = clients.issue(f"{host.name}-server", host.name, names + ["DNS:localhost", "IP:127.0.0.1"])
            peer = peers.issue(f"{host.name}-peer", host.name, names)
            files = {
                "client-ca.crt": clients.certificate, "peer-ca.crt": peers.certificate, "server.crt": server[0], "server.key": server[1],
                "peer.crt": peer[0], "peer.key": peer[1],
            }
            for name, source in files.items():
                # The key is the server's to read, nobody's to change.
                host.put(source, f"/etc/covey/{NAME}/tls/{name}", mode=0o640, owner="root:covey")
            host.run(["chmod", "0755", f"/etc/covey/{NAME}", f"/etc/covey/{NAME}/tls"])

    def render(self, token=""):
        """`token` makes the configuration of a new cluster; without it that of members that are there."""
        place = self.folder / ("new" if token else "existing")
        run([self.program, "render", "-o", place, *(["--new", token] if token else []), self.inventory])
        for host in self.hosts:
            for file in (place / host.name).rglob("*"):
                if file.is_file():
                    host.put(file, "/" + str(file.relative_to(place / host.name)), mode=0o644)
            host.run(["systemctl", "daemon-reload"])

    def each(self, *words):
        for host in self.hosts:
            host.run(words)

    # Asking

    def control_words(self, *words):
        """`covey ctl` with what it needs to know; to be run at the operator's place."""
        return [
            self.program, "ctl", f"--endpoints={','.join(self.endpoints)}", f"--cacert={self.client_authority}",
            f"--cert={self.operator_certificate}", f"--key={self.operator_key}", *words,
        ]

    def control(self, *words, timeout=20):
        return self.lab.operator(self.control_words(*words), timeout=timeout)

    def gateway(self, host, timeout=2.0):
        return Gateway(self, host, timeout)

    def statuses(self):
        return self.statuses_of(self.hosts)

    def statuses_of(self, hosts):
        """Of each host by name; None where nobody answers."""
        found = {}
        for host in hosts:
            try:
                found[host.name] = self.gateway(host).post("/v3/maintenance/status", {})
            except (OSError, http.client.HTTPException, ValueError):
                found[host.name] = None
        return found

    def hashes(self, revision):
        """Of each member's history up to a revision; None while one has not got that far."""
        try:
            return {host.name: self.gateway(host, timeout=10).hash(revision) for host in self.hosts}
        except ValueError:
            return None

    def with_agents(self):
        """Hosts that run and have an agent."""
        return []

    def clear_quarantine(self):
        """As an operator does who has looked: the disks are small, and each replacement leaves the data that was replaced."""
        for host in self.with_agents():
            host.run(["sh", "-c", "rm -rf /var/lib/covey/quarantine/*"])

    def leader(self, among=None):
        """The host whose member leads, once one of `among` says so of itself."""

        def found():
            for host in among or self.hosts:
                try:
                    status = self.gateway(host).post("/v3/maintenance/status", {})
                except (OSError, http.client.HTTPException, ValueError):
                    continue
                if status.get("leader") not in (None, "0") and status["leader"] == status["header"]["member_id"]:
                    return host
            return None

        return until(found, 30, "nobody leads", pause=0.05)

    def followers(self):
        leader = self.leader()
        return [host for host in self.hosts if host.name != leader.name]

    def wait_healthy(self, seconds=60):
        """Until every member answers, all name one leader, and a write through each is acknowledged. The time it took."""
        begun = time.monotonic()

        def healthy():
            statuses = self.statuses().values()
            if None in statuses or len({status.get("leader", "0") for status in statuses}) != 1:
                return False
            if "0" in {status.get("leader", "0") for status in statuses}:
                return False
            try:
                for host in self.hosts:
                    self.gateway(host).put(b"health", host.name.encode())
            except (OSError, http.client.HTTPException, ValueError):
                return False
            return True

        until(healthy, seconds, "the cluster does not become healthy", pause=0.1)
        return time.monotonic() - begun


class Gateway:
    """The JSON API of one member over mutual TLS, one connection kept open. In a thread that joined the lab's network."""

    def __init__(self, cluster, host, timeout):
        context = ssl.create_default_context(cafile=str(cluster.client_authority))
        context.load_cert_chain(str(cluster.operator_certificate), str(cluster.operator_key))
        self.connection = http.client.HTTPSConnection(host.address, 2379, timeout=timeout, context=context)
        self.name = host.name

    def post(self, path, body):
        try:
            self.connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        if answer.status != 200:
            raise ValueError(f"{self.name} {path}: {answer.status} {text.decode(errors='replace')[:300]}")
        return json.loads(text)

    def put(self, key, value):
        return self.post("/v3/kv/put", {"key": base64.b64encode(key).decode(), "value": base64.b64encode(value).decode()})

    def all_keys(self, prefix, since=None):
        """Key -> (value, revision of its change), from a key on."""
        first, end = base64.b64encode(since or prefix).decode(), base64.b64encode(prefix[:-1] + bytes([prefix[-1] + 1])).decode()
        answer = self.post("/v3/kv/range", {"key": first, "range_end": end})
        return {base64.b64decode(kv["key"]): (base64.b64decode(kv["value"]), int(kv["mod_revision"])) for kv in answer.get("kvs", [])}

    def hash(self, revision):
        answer = self.post("/v3/maintenance/hashkv", {"revision": revision})
        return answer["hash"], answer.get("compact_revision", "0"), answer["header"]["cluster_id"]
