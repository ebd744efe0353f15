"""A cluster that agents make of one inventory. The operator's commands run at the lab's own place; only `enroll` runs outside,
because its way into a host is the lab's.
"""

import http.client
import json
import re
import subprocess
import threading
import time

from systemdlab.processes import LabError, run, until

from .acts import expect
from .cluster import NAME, UNIT, Cluster

AGENT = "covey-agent.service"
# Its agent ends by SIGKILL at this place, once. systemd reads the file at each start, and removes it when the agent has ended.
CRASH = "/run/covey-drill-crash"
CRASHES = f"[Service]\nEnvironmentFile=-{CRASH}\nExecStopPost=+/bin/rm -f {CRASH}\nRestartSec=1\n"
MEMBERS_CHANGED = "8806770e06a548a8951d44ce5bbe3a3d"


class Fleet(Cluster):
    """`hosts` are those with a member; `everywhere` has the others, too."""

    # Of the inventory's `spec`, a line each; of which server, when it is not the bundled one.
    settings = ()
    engine = None

    def __init__(self, lab, hosts, package, program):
        super().__init__(lab, hosts[:3], package, program)
        self.everywhere = hosts
        self.write_inventory()
        self.state = self.folder / f".covey/{NAME}"
        folder = self.state / "client"
        self.client_authority, self.operator_certificate, self.operator_key = (folder / name for name in ("ca.crt", "client.crt", "client.key"))

    def write_inventory(self):
        members = {host.name for host in self.hosts}
        # The disk under the lab is nobody's server's: what it can do is not what these drills are about.
        lines = [f"metadata: {{name: {NAME}}}", "spec:", "  storage: {maxFsyncP99: 1s, quota: 256MiB}"]
        lines += [f"  server: {{engine: etcd, program: {self.engine}}}"] if self.engine else []
        # Nor is the half minute that is waited for after an election; one drill wants it.
        lines += [] if any(line.startswith("policy:") for line in self.settings) else ["  policy: {quietTime: 2s}"]
        lines += [f"  {line}" for line in self.settings] + ["  hosts:"]
        for host in self.everywhere:
            role = "" if host.name in members else ", role: spare"
            lines.append(f"    {host.name}: {{address: {host.address}{role}}}")
        self.inventory.write_text("\n".join(lines) + "\n")

    # Commands

    def words(self, *words):
        return self.lab.entering(["env", "-C", self.folder, self.program, *words])

    def operate(self, *words, status=0, timeout=300):
        """One of the operator's commands, and everything it said. `status`: the exit code it must have, or several."""
        done = subprocess.run(self.words(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
        return judged(words, done.returncode, status, done.stdout)

    def begin(self, *words):
        return Command(self, words)

    def enroll(self, *hosts):
        """Through a shell on each, as over ssh. The doors are made anew: a host that was started again is another process."""
        for host in hosts:
            door = self.folder / f"enter-{host.name}"
            door.write_text(f"#!/bin/sh\nexec {' '.join(host.entering([]))} \"$@\"\n")
            door.chmod(0o755)
        names = [host.name for host in hosts]
        run(["env", "-C", self.folder, self.program, "enroll", *names, "--through", f"{self.folder}/enter-HOST"])
        for host in hosts:
            self.agent_is_up(host)

    def carried_out(self, *words):
        """A change during which something dies: the command goes on by itself, or stops and is resumed. What it said, and which."""
        said = self.operate(*words, status=(0, 4))
        if "STOPPED" not in said:
            return said, "went on by itself"
        expect("covey op resume" in said, f"{words} does not say how to go on:\n{said}")
        # What died comes back by itself first.
        for host in self.with_agents():
            self.agent_is_up(host)
        return said + self.operate("op", "resume"), "resumed"

    # Hosts

    def host(self, name):
        return next(host for host in self.everywhere if host.name == name)

    @property
    def spare(self):
        return next(host for host in self.everywhere if host not in self.hosts)

    def with_agents(self):
        return [host for host in self.everywhere if host.leader() is not None]

    def others(self, *hosts):
        """The members that are none of these."""
        return [one for one in self.hosts if one not in hosts]

    def agent_is_up(self, host):
        until(lambda: host.property(AGENT, "ActiveState") == "active", 30, f"the agent of {host.name} does not run")

    def agent_dies_at(self, host, point):
        """Its agent is killed when it next comes to this place (`render/intent`: written down, not done), and started again."""
        host.run(["systemctl", "stop", AGENT])
        host.run(["tee", CRASH], input=f"COVEY_AGENT_CRASH={point}\n")
        host.run(["systemctl", "start", AGENT])
        self.agent_is_up(host)

    def died(self, host):
        """It came there. systemd takes a moment to clean up after it."""
        until(lambda: host.run(["test", "-e", CRASH], check=False).returncode != 0, 60, f"the agent of {host.name} was not killed")

    def ledger(self, host):
        return json.loads(host.text("cat", f"/var/lib/covey-agent/{NAME}/ledger.json"))

    def member_changes(self, host, since):
        """How often the list of members changed, by the journal of one member: an addition, a promotion, a removal count one each."""
        return [entry.get("COVEY_CHANGE", "?") for entry in self.told(host, since, MEMBERS_CHANGED)]

    def told(self, host, since, *messages):
        """What the journal of a member has of these messages, since a time of day."""
        words = ["journalctl", "--no-pager", "-o", "json", f"--since=@{since:.3f}", f"--unit={UNIT}"]
        text = host.text(*words, *[f"MESSAGE_ID={message}" for message in messages])
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def listed(self, host, among):
        """As the first of `among` that answers has it: None when it is no member, else whether it is a learner."""
        for one in among:
            try:
                answer = self.gateway(one).post("/v3/cluster/member/list", {})
            except (OSError, ValueError, http.client.HTTPException):
                continue
            for member in answer.get("members", []):
                if f"https://{host.address}:2380" in member.get("peerURLs", []):
                    return {"learner": member.get("isLearner", False)}
            return None
        return None

    def now(self, *hosts):
        """Who has a member after a change; the inventory says so, and `apply` agrees."""
        self.hosts = sorted(hosts, key=lambda host: host.name)
        self.write_inventory()
        self.operate("apply")


def judged(words, code, wanted, said):
    if code not in ((wanted,) if isinstance(wanted, int) else wanted):
        raise LabError(f"covey {' '.join(map(str, words))}: exit {code}, not {wanted}:\n{said[-3000:]}")
    return said


class Command:
    """One of the operator's commands, while it runs."""

    def __init__(self, fleet, words):
        self.words, self.begun, self.lines, self.heard = words, time.monotonic(), [], []
        self.process = subprocess.Popen(
            fleet.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.heard.append(time.monotonic())
            self.lines.append(line)

    @property
    def said(self):
        return "".join(self.lines)

    def wait_for(self, pattern, seconds=60):
        """Until it says something; it must not end before."""

        def happened():
            found = re.search(pattern, self.said)
            if not found and self.process.poll() is not None:
                self.reader.join(5)
                if not re.search(pattern, self.said):
                    raise LabError(f"covey {' '.join(self.words)} ended with {self.process.returncode} before {pattern}:\n{self.said}")
            return found

        return until(happened, seconds, f"covey {' '.join(self.words)} does not say {pattern}")

    def end(self, status=0, timeout=300):
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise LabError(f"covey {' '.join(self.words)} does not end:\n{self.said}") from None
        self.reader.join(5)
        return judged(self.words, code, status, self.said)
