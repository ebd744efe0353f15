"""From bare hosts to a cluster: identities, what is refused, what is begun and given up or gone on with, and one `apply`."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

from systemdlab.processes import LabError, until

from .acts import FLEET, UPSTREAM, expect
from .cluster import NAME, UNIT
from .fleet import AGENT, CRASHES, Command

drill = FLEET.drill


def every_act(function):
    for act in (FLEET, *UPSTREAM.values()):
        act.drill(loaded=False)(function)
    return function


@every_act
def the_package_is_on_all_hosts(stage):
    def install(host):
        host.put(stage.cluster.package, "/var/tmp/covey.deb")
        host.run(["mkdir", "-p", f"/etc/systemd/system/{AGENT}.d"])
        host.run(["tee", f"/etc/systemd/system/{AGENT}.d/90-drill.conf"], input=CRASHES)
        host.run(["dpkg", "--install", "/var/tmp/covey.deb"])
        host.run(["systemctl", "daemon-reload"])

    with ThreadPoolExecutor() as pool:
        list(pool.map(install, stage.cluster.everywhere))


@every_act
def agents_get_their_identity(stage):
    """All but h5, which comes by a token."""
    fleet = stage.cluster
    hosts = [host for host in fleet.everywhere if host.name != "h5"]
    fleet.enroll(*hosts)
    for host in hosts:
        expect(host.text("stat", "-c", "%a", "/etc/covey/agent/agent.key") == "600", f"{host.name}: others may read the agent's key")
    return f"{len(hosts)} agents run"


@drill(loaded=False)
def a_host_joins_by_a_token_typed_there(stage):
    fleet, host = stage.cluster, stage.cluster.host("h5")
    enrolment = Command(fleet, ["enroll", "--token", host.name])
    line = enrolment.wait_for(r"(?m)^covey agent join .*$")[0]
    words = line.split()
    expect(words[words.index("--host") + 1] == host.name and words[words.index("--server") + 1].startswith("10.73.0.1:"), line)
    pin = words.index("--ca-pin") + 1
    wrong = [*words[:pin], "sha256:" + "0" * 64, *words[pin + 1:]]
    refused = host.run(wrong, check=False)
    expect(refused.returncode == 3 and "the token was not sent" in refused.stderr, f"another authority was accepted: {refused.stderr}")
    host.run(words)
    enrolment.end()
    fleet.agent_is_up(host)
    expect(host.text("stat", "-c", "%a", "/etc/covey/agent/agent.key") == "600", "others may read the agent's key")
    # The line is good once, also while somebody waits for hosts.
    again = Command(fleet, ["enroll", "--token", host.name])
    fresh = again.wait_for(r"(?m)^covey agent join .*$")[0].split()
    used = host.run(words, check=False)
    expect(used.returncode == 3, f"a token was used twice: {used.stdout}{used.stderr}")
    host.run(fresh)
    again.end()
    fleet.agent_is_up(host)
    return used.stderr.strip()


@drill(loaded=False)
def what_cannot_become_a_cluster_is_refused(stage):
    """3 and 13 of the contract: an inventory with one address twice, and a host with data nobody knows."""
    fleet = stage.cluster
    right = fleet.inventory.read_text()
    fleet.inventory.write_text(right.replace(fleet.host("h2").address, fleet.host("h3").address))
    said = fleet.operate("validate", status=2)
    expect(fleet.host("h3").address in said and "cluster.yaml:" in said, f"validate does not name the address and its place:\n{said}")
    fleet.operate("apply", status=2)
    fleet.inventory.write_text(right)
    stranger = fleet.host("h1")
    stranger.run(["mkdir", "-p", f"/var/lib/covey/{NAME}/member"])
    said = fleet.operate("apply", status=3)
    expect("h1" in said, f"apply does not name the host with the data:\n{said}")
    for host in fleet.hosts:
        expect(host.run(["test", "-e", f"/etc/covey/{NAME}/server.yaml"], check=False).returncode, f"{host.name} was changed")
    for host in fleet.everywhere:
        for place in (f"/etc/covey/{NAME}/tls", f"/var/lib/covey-agent/{NAME}/ledger.json"):
            expect(host.run(["test", "-e", place], check=False).returncode, f"{host.name} has {place}: something was changed")
    expect(" open " not in fleet.operate("op", "ls"), "an operation is open")
    stranger.run(["rmdir", f"/var/lib/covey/{NAME}/member"])


@drill(loaded=False, brief=False)
def a_bootstrap_that_lost_a_host_is_given_up(stage):
    """2 of the contract: the power of h3 fails before its member is started. What was begun is taken back, also on h3 when it has
    power again, and the next attempt is another cluster."""
    fleet, lost = stage.cluster, stage.cluster.host("h3")
    others = fleet.others(lost)
    # Started again at once it would be asked again, and go on.
    stay = f"/etc/systemd/system/{AGENT}.d/95-drill.conf"
    lost.run(["tee", stay], input="[Service]\nRestartSec=600\n")
    lost.run(["systemctl", "daemon-reload"])
    fleet.agent_dies_at(lost, "unmask+enable+start/intent")
    said = fleet.operate("apply", status=4)
    expect("covey op resume" in said and "covey op abort" in said, f"apply does not say how to go on:\n{said}")
    stage.tokens = {fleet.ledger(others[0])["token"]}
    # Two of three run and have a leader: a client that is let in now would write what is about to be set aside.
    leader = fleet.leader(others)
    expect("rejected" in client_of_a_cluster(stage, leader), f"{leader.name} takes clients of a cluster that is being made")
    lost.power_loss(lose_unsynced=True, silent=False)
    fleet.operate("op", "abort")
    ledger = f"/var/lib/covey-agent/{NAME}/ledger.json"
    for host in others:
        expect(host.run(["test", "-e", ledger], check=False).returncode, f"{host.name}: the ledger of what was given up is still there")
        expect(host.property(UNIT, "ActiveState") == "inactive", f"{host.name}: a member of what was given up runs")
        expect("aborted" in host.text("ls", "/var/lib/covey/quarantine"), f"{host.name}: its data is not set aside")
    lost.boot()
    lost.run(["rm", stay])
    lost.run(["systemctl", "daemon-reload"])
    fleet.agent_is_up(lost)
    expect(fleet.ledger(lost)["token"] in stage.tokens, f"{lost.name} does not know of what was given up: nothing is proven")
    fleet.clear_quarantine()


def client_of_a_cluster(stage, host):
    """Somebody who has a good certificate and does not make the cluster: "served", or "rejected" by the word of the journal."""
    fleet = stage.cluster
    place, since = fleet.folder / "kubernetes", time.time()
    fleet.operate("kubeadm", "--output-dir", place)
    names = [f"--cacert={place}/ca.crt", f"--cert={place}/apiserver-etcd-client.crt", f"--key={place}/apiserver-etcd-client.key"]
    words = [fleet.program, "ctl", f"--endpoints=https://{host.address}:2379", "--dial-timeout=2s", "--command-timeout=3s", *names]
    try:
        stage.lab.operator([*words, "get", "--consistency=s", "first"], timeout=30)
        return "served"
    except LabError as error:
        told = host.text("journalctl", "--no-pager", "-o", "cat", f"--since=@{since:.3f}", f"--unit={UNIT}")
        return "rejected" if "rejected connection on client endpoint" in told else f"not rejected: {error}"


@drill(loaded=False, brief=False)
def a_bootstrap_goes_on_after_an_agent_was_killed(stage):
    """1 of the contract: killed when the ledger is pending; one cluster comes of it, under the token that was begun with."""
    fleet, victim = stage.cluster, stage.cluster.host("h2")
    fleet.agent_dies_at(victim, "certificates/intent")
    said = fleet.operate("apply", status=4)
    expect("covey op resume" in said, f"apply does not say how to go on:\n{said}")
    begun = fleet.ledger(victim)
    fleet.died(victim)
    expect(begun["state"] == "pending", f"killed too late: {begun['state']}")
    fleet.agent_is_up(victim)
    fleet.operate("apply", status=5)
    # A machine that is busy may let an agent miss the few seconds it has; that is refused, and nothing is changed.
    until(lambda: "does not answer" not in fleet.operate("op", "resume", status=(0, 3, 4)), 60, f"the agent of {victim.name} does not answer")
    fleet.wait_healthy()
    ledgers = [fleet.ledger(host) for host in fleet.hosts]
    expect({one["token"] for one in ledgers} == {begun["token"]}, "the bootstrap went on with another token")
    expect(begun["token"] not in stage.tokens, "the token of the bootstrap that was given up is used again")
    ids = {status["header"]["cluster_id"] for status in fleet.statuses().values()}
    expect(len(ids) == 1 and {one["state"] for one in ledgers} == {"active"}, f"clusters {ids}")
    expect("Nothing to do" in fleet.operate("apply"), "a second apply has something to do")
    stage.tokens.add(begun["token"])
    fleet.operate("decommission", "--cluster", "--confirm", NAME)
    for host in fleet.hosts:
        expect(host.property(UNIT, "ActiveState") == "inactive", f"{host.name}: the member of a cluster that was ended runs")
        expect("retired" in host.text("ls", "/var/lib/covey/quarantine"), f"{host.name}: the data is not set aside")
    fleet.clear_quarantine()
    return "and the cluster was ended again: its data is set aside"


@every_act
def one_apply_makes_a_cluster(stage):
    fleet = stage.cluster
    fleet.operate("preflight")
    said = fleet.operate("apply")
    first = re.search(r"first write acknowledged by a quorum ([0-9.]+) s", said)
    expect(first, f"apply does not say when the first write was acknowledged:\n{said}")
    fleet.wait_healthy()
    for host in fleet.hosts:
        text = host.text("cat", f"/etc/covey/{NAME}/server.yaml")
        expect(re.search(r'initial-cluster-state: "?existing', text), f"{host.name} would make a new cluster at its next start:\n{text}")
        expect(host.text("systemctl", "is-enabled", UNIT) == "enabled", f"{UNIT} on {host.name} is not enabled")
    expect("Nothing to do" in fleet.operate("apply"), "a second apply has something to do")
    said = client_of_a_cluster(stage, fleet.leader())
    expect(said == "served", f"a client is not let in: {said}")
    expect(fleet.ledger(fleet.host("h1"))["token"] not in getattr(stage, "tokens", ()), "the token of an earlier cluster is used again")
    fleet.operate("status")
    return f"first write acknowledged by a quorum after {first[1]} s"
