"""What a person sees, written down: `drill --transcripts FOLDER` performs a bootstrap, a replacement and a failure with all that is
said, and writes a page for each. Times begin at noon of a day that means nothing, so that a page can be compared with an older one.
"""

import re
import subprocess

from systemdlab.processes import until

from .acts import Act, expect
from .bootstrap import agents_get_their_identity, the_package_is_on_all_hosts
from .cluster import NAME, UNIT
from .fleet import AGENT
from .promises import HEALTH

ACT = Act("transcripts", 4)
drill = ACT.drill
drill(loaded=False)(the_package_is_on_all_hosts)
drill(loaded=False)(agents_get_their_identity)

REMOVED = "9f30512ff8ad4c04acb533b433d0acc0"


class Page:
    def __init__(self, stage, title, text):
        self.fleet, self.folder = stage.cluster, stage.transcripts
        self.parts = [f"# {title}\n\n{text}\n\nWritten by `Tests/Lab/drill --transcripts docs/operations/transcripts`.\n"]

    def say(self, text):
        self.parts.append(f"\n{text}\n")

    def covey(self, *words, status=0):
        """On the operator's machine."""
        said = self.fleet.operate(*words, status=status)
        self._block("$", f"covey {' '.join(words)}", said, self._code(said, status))
        return said

    def on(self, host, *words, shown=None, head=None):
        """In a host, whatever the outcome."""
        done = host.run(words, check=False)
        said = done.stdout + done.stderr
        if head and len(said.splitlines()) > head:
            said = "\n".join(said.splitlines()[:head]) + "\n...\n"
        self._block(f"{host.name}#", shown or " ".join(words), said, done.returncode)
        return said

    def _code(self, said, status):
        return status if isinstance(status, int) else None

    def _block(self, prompt, command, said, code):
        tail = f"(exit code {code})\n" if code else ""
        self.parts.append(f"\n```\n{prompt} {command}\n{said.rstrip()}\n{tail}```\n")

    def write(self, name):
        self.folder.mkdir(parents=True, exist_ok=True)
        text = tidy("".join(self.parts), self.fleet)
        (self.folder / f"{name}.md").write_text(text)


def tidy(text, fleet):
    """Without what is this run's alone."""
    text = text.replace(f"{fleet.folder}/", "").replace(str(fleet.folder), ".")
    first = None

    def noon(match):
        nonlocal first
        hours, minutes, seconds, rest = match.groups()
        at = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
        first = at if first is None else first
        at = (at - first) % 86_400 + 12 * 3600
        return f"{at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02}{rest or ''}"

    text = re.sub(r"\b(\d\d):(\d\d):(\d\d)(\.\d+)?", noon, text)
    text = re.sub(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d", "Thu 2026-01-01", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\d\b", "2026-01-01", text)
    text = re.sub(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d(?= \d\d:)", "Jan 01", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def journal(page, host, *words, fields=None, head=None):
    """`journalctl -o json` shows far more than a page holds: the fields that are Covey's."""
    done = host.text("journalctl", "--no-pager", "-o", "json", *words)
    import json

    lines = []
    for line in done.splitlines():
        entry = json.loads(line)
        kept = {key: entry[key] for key in ["MESSAGE", "PRIORITY", "MESSAGE_ID", *sorted(k for k in entry if k.startswith("COVEY_"))] if key in entry}
        lines.append(json.dumps(kept))
    lines = lines[:head] if head else lines
    page._block(f"{host.name}#", f"journalctl -o json {' '.join(words)} | jq -c '{{MESSAGE, PRIORITY, MESSAGE_ID, COVEY_...}}'", "\n".join(lines), 0)


@drill(loaded=False)
def a_bootstrap(stage):
    fleet = stage.cluster
    page = Page(stage, "A bootstrap", "Three bare hosts with the package and enrolled agents, and a spare.")
    page._block("$", "cat cluster.yaml", fleet.inventory.read_text(), 0)
    page.covey("preflight")
    page.covey("apply", "--dry-run")
    page.say("`covey apply` makes the cluster and proves it before it says that it is one.")
    page.covey("apply")
    page.say("A second one finds nothing to do.")
    page.covey("apply")
    fleet.wait_healthy()
    leader = fleet.leader()
    until(lambda: "HEALTHY" in leader.property(AGENT, "StatusText"), 60, "the agent does not tell of the cluster")
    page.covey("status")
    page.covey("certs", "ls")
    page.say("On a host, `systemctl` says how its member and its agent are.")
    page.on(leader, "systemctl", "status", "--no-pager", "-n", "0", UNIT)
    page.on(leader, "systemctl", "status", "--no-pager", "-n", "0", AGENT)
    page.on(leader, "systemctl", "is-failed", UNIT)
    page.on(leader, "systemctl", "--failed", "--no-pager")
    page.say("The journal of the agent tells each step, and explains it.")
    operation = fleet.operate("op", "ls").splitlines()[1].split()[0]
    page.on(leader, "journalctl", "--no-pager", "-o", "short", f"COVEY_OP={operation}")
    page.on(leader, "journalctl", "--no-pager", "-x", "-n", "1", "-o", "short", f"COVEY_OP={operation}")
    journal(page, leader, f"COVEY_OP={operation}", head=2)
    page.covey("op", "show")
    page.write("bootstrap")


@drill()
def a_replacement(stage):
    fleet = stage.cluster
    old, new = fleet.leader(), fleet.spare
    page = Page(stage, "A replacement", f"The leader, {old.name}, is replaced by the spare, {new.name}, while clients write.")
    page.covey("member", "replace", old.name, new.name, "--dry-run")
    page.covey("member", "replace", old.name, new.name)
    page.say("The inventory still has the old roles; until they are written there, `covey status` says so.")
    page.covey("status", status=10)
    fleet.hosts = sorted(fleet.others(old) + [new], key=lambda host: host.name)
    fleet.write_inventory()
    page.covey("apply")
    page.covey("status")
    page.say(f"On {old.name} nothing runs any more, and its data is set aside.")
    page.on(old, "systemctl", "status", "--no-pager", "-n", "3", UNIT)
    page.on(old, "ls", "/var/lib/covey/quarantine")
    page.say(f"{new.name} serves.")
    page.on(new, "systemctl", "status", "--no-pager", "-n", "3", UNIT)
    page.write("replacement")


@drill()
def a_failure(stage):
    fleet = stage.cluster
    dead, lost = fleet.followers()
    left, spare = fleet.others(dead, lost)[0], fleet.spare
    page = Page(
        stage, "A failure", f"{dead.name} is dead. It is replaced by {spare.name}; in the middle of that {lost.name} fails as well.")
    dead.power_loss(lose_unsynced=True, silent=False)
    until(lambda: "AT-RISK" in fleet.operate("status", status=range(16)), 60, f"status does not say that {dead.name} is missing")
    page.covey("status", status=12)
    page.say("Nobody knows yet whether it is off or only cut off.")
    page.covey("member", "replace", dead.name, spare.name, status=3)
    page.say(f"Somebody looked and says that it is. When {dead.name} has been removed {lost.name} fails.")
    words = ["member", "replace", dead.name, spare.name, "--attest-dead", dead.name]
    command = fleet.begin(*words)
    command.wait_for(rf"\[ok \] \d/\d remove {dead.name}")
    lost.power_loss(lose_unsynced=True, silent=False)
    page._block("$", f"covey {' '.join(words)}", command.end(4), 4)
    page.covey("status", status=13)
    page.covey("doctor", status=1)
    page.say(f"On {left.name}, the member that is left:")
    left.run(["systemctl", "start", HEALTH], check=False)
    page.on(left, "systemctl", "is-failed", HEALTH)
    page.on(left, "systemctl", "--failed", "--no-pager")
    page.on(left, "systemctl", "status", "--no-pager", "-n", "4", UNIT)
    page.on(left, "systemctl", "status", "--no-pager", "-n", "8", HEALTH)
    page.on(left, "journalctl", "--no-pager", "-x", "-n", "1", "-p", "warning", "-o", "short", f"--unit={UNIT}")
    page.covey("op", "resume", status=3)
    page.say(f"{lost.name} has power again, and the operation goes on where it stopped.")
    lost.boot()
    fleet.agent_is_up(lost)
    fleet.leader([left, lost])
    until(lambda: fleet.statuses()[lost.name], 30, f"{lost.name} does not come back")
    page.covey("op", "resume")
    fleet.hosts = sorted([left, lost, spare], key=lambda host: host.name)
    fleet.write_inventory()
    fleet.operate("apply")
    page.covey("status")
    left.run(["systemctl", "start", HEALTH], check=False)
    page.on(left, "systemctl", "is-failed", HEALTH)
    page.say(f"{dead.name} has power again, too. It is no member any more, learns that from the others, and stays down.")
    dead.boot()
    fleet.operate("apply")
    until(lambda: dead.property(UNIT, "ActiveState") in ("inactive", "failed"), 30, "the member that was declared dead serves again")
    page.on(dead, "systemctl", "status", "--no-pager", "-n", "4", UNIT)
    page.on(dead, "journalctl", "--no-pager", "-x", "-n", "1", "-o", "short", f"MESSAGE_ID={REMOVED}")
    page.on(dead, "systemctl", "--failed", "--no-pager")
    page.write("failure")
    expect("HEALTHY" in fleet.operate("status"), "not healthy at the end")
