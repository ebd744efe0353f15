"""Certificates at their end. Nobody's clock is moved: certificates with the dates of a month ago are put where new ones were."""

import subprocess
import time

from systemdlab.processes import run, until

from .acts import FLEET, expect
from .cluster import NAME, UNIT
from .members import quietest

drill = FLEET.drill

DAY = 86_400
FOLDER = f"/etc/covey/{NAME}"
RENEWED = "b1f4d6a07c3e4f52a9c81e0d35f7a202"

SETTINGS = """[ca]
default_ca = a
[a]
database = {place}/index
new_certs_dir = {place}
certificate = {state}/pki/{role}-ca.crt
private_key = {state}/pki/{role}-ca.key
default_md = sha256
policy = p
rand_serial = yes
unique_subject = no
[p]
organizationName = optional
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = {usages}
authorityKeyIdentifier = keyid
{names}
"""


def utc(seconds):
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds))


def age(fleet, host, begin, end):
    """Its three certificates begin and end so many days from now, and are the cluster's otherwise. The serial number of the one
    for clients."""
    generation = f"tls-{int(time.time())}-drill"
    place = fleet.folder / generation
    place.mkdir(exist_ok=True)
    (place / "index").touch()
    (place / "index.attr").write_text("unique_subject = no\n")
    both = [f"IP:{host.address}", f"DNS:{host.name}"]
    host.run(["cp", "-a", f"{FOLDER}/{host.text('readlink', f'{FOLDER}/tls')}", f"{FOLDER}/{generation}"])
    for kind, role, common, names in (
        ("server", "client", host.name, both + ["DNS:localhost", "IP:127.0.0.1", "IP:::1"]),
        ("peer", "peer", host.name, both),
        ("client", "client", "covey-health", []),
    ):
        settings = SETTINGS.format(
            place=place, state=fleet.state, role=role, usages="clientAuth" if kind == "client" else "serverAuth,clientAuth",
            names=f"subjectAltName = {','.join(names)}" if names else "")
        (place / "settings").write_text(settings)
        key, request, certificate = (place / f"{host.name}-{kind}.{end_of}" for end_of in ("key", "csr", "crt"))
        run(
            [
                "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                f"/O={NAME}/CN={common}", "-keyout", key, "-out", request,
            ])
        now = time.time()
        run(
            [
                "openssl", "ca", "-batch", "-notext", "-config", place / "settings", "-extensions", "leaf", "-in", request, "-out",
                certificate, "-startdate", utc(now + begin * DAY), "-enddate", utc(now + end * DAY),
            ])
        host.put(key, f"{FOLDER}/{generation}/{kind}.key", mode=0o600, owner="covey:covey")
        host.put(certificate, f"{FOLDER}/{generation}/{kind}.crt", mode=0o644, owner="covey:covey")
    host.run(["ln", "-sfn", generation, f"{FOLDER}/tls.drill"])
    host.run(["mv", "-T", f"{FOLDER}/tls.drill", f"{FOLDER}/tls"])
    return run(["openssl", "x509", "-noout", "-serial", "-in", place / f"{host.name}-server.crt"]).strip()


def expire(fleet, *hosts):
    """Connections outlive certificates: the members are started again, and meet each other anew."""
    for host in hosts:
        age(fleet, host, -30, -1)
    for host in hosts:
        host.run(["systemctl", "restart", "--no-block", UNIT])


def shown(fleet, host):
    """The serial number of the certificate that its port for clients shows."""
    words = ["sh", "-c", f"openssl s_client -connect {host.address}:2379 </dev/null 2>/dev/null | openssl x509 -noout -serial"]
    return subprocess.run(fleet.lab.entering(words), stdout=subprocess.PIPE, text=True).stdout.strip()


@drill(brief=True)
def expired_certificates_of_one_member_are_repaired(stage):
    """31 of the contract, first part."""
    fleet, begun = stage.cluster, time.monotonic()
    host = fleet.followers()[0]
    expire(fleet, host)
    until(lambda: fleet.statuses()[host.name] is None, 30, "an expired certificate is accepted")
    said = fleet.operate("status", status=12)
    expect("AT-RISK" in said and f"{host.name}: its certificate has expired" in said, f"status does not say what is wrong:\n{said}")
    said = fleet.operate("doctor", status=1)
    expect(f"covey certs repair {host.name}" in said, f"doctor does not say how to repair it:\n{said}")
    at = time.monotonic()
    said = fleet.operate("certs", "repair")
    took = time.monotonic() - at
    expect(f"repair {host.name}" in said and said.count("[ok ]") == 1, f"not this one alone was repaired:\n{said}")
    expect(took < 120, f"it took {took:.0f} s")
    fleet.wait_healthy()
    fleet.operate("certs", "verify")
    return f"repaired in {took:.1f} s; {quietest(stage, begun)}"


@drill()
def expired_certificates_of_all_members_are_repaired(stage):
    """31 of the contract, second part: no quorum, no certificate that is good, and the agents' channel is there."""
    fleet, begun = stage.cluster, time.monotonic()
    expire(fleet, *fleet.hosts)
    until(lambda: not any(fleet.statuses().values()), 30, "an expired certificate is accepted")
    said = fleet.operate("status", status=(13, 14))
    expect("NO-QUORUM" in said or "UNKNOWN" in said, said)
    at = time.monotonic()
    said = fleet.operate("certs", "repair")
    took = time.monotonic() - at
    expect(said.count("[ok ]") == 3, f"not all were repaired:\n{said}")
    expect(took < 360, f"it took {took:.0f} s")
    healthy = fleet.wait_healthy()
    fleet.operate("certs", "verify")
    return f"three repaired in {took:.1f} s, healthy {healthy:.1f} s later; {quietest(stage, begun)}"


def renewed_by_itself(stage, *hosts):
    """Five days before their end they have been due for five; the agent sees that within seconds. How long each took."""
    fleet = stage.cluster
    fleet.settings = ["tls: {peerCA: {key: {holders: [%s]}}, clientCA: {key: {holders: [%s]}}}" % ((hosts[0].name,) * 2)]
    fleet.write_inventory()
    fleet.operate("apply")
    pids = {host.name: host.property(UNIT, "MainPID") for host in hosts}
    since = time.time()
    old = {host.name: age(fleet, host, -25, 5) for host in hosts}
    begun, took = time.monotonic(), []
    waiting = list(hosts)
    while waiting:
        done = until(
            # A minute for each host before it, and as much again for a machine that is busy.
            lambda: next((host for host in waiting if shown(fleet, host) not in ("", old[host.name])), None), 120 * len(hosts),
            f"the certificates of {[host.name for host in waiting]} are not renewed", pause=0.2)
        waiting.remove(done)
        took.append(time.monotonic() - begun)
    for host in hosts:
        def told(host=host):
            return host.text("journalctl", "--no-pager", "-o", "cat", f"--since=@{since:.3f}", f"MESSAGE_ID={RENEWED}")

        until(told, 20, f"the journal of {host.name} does not say that its certificates were renewed")
        expect(host.property(UNIT, "MainPID") == pids[host.name], f"the member of {host.name} was restarted for its certificates")
    fleet.settings = []
    fleet.write_inventory()
    fleet.operate("apply")
    return took


@drill()
def certificates_renew_by_themselves(stage):
    took = renewed_by_itself(stage, stage.cluster.followers()[0])
    return f"after {took[0]:.1f} s, without a restart"


@drill(always=False)
def certificates_renew_by_themselves_one_host_after_the_other(stage):
    """3.8: never two hosts in one minute."""
    took = renewed_by_itself(stage, *stage.cluster.hosts)
    expect(all(later - earlier > 50 for earlier, later in zip(took, took[1:])), f"hosts renewed {took} s after they could")
    return "after " + ", ".join(f"{one:.0f} s" for one in took)
