"""Where the time without an acknowledged write went: each gap beside what was done then, by the operation's own lines and by the
journal of a member that stays.
"""

import re
import time
from typing import NamedTuple

from .fleet import MEMBERS_CHANGED

LED = "1b9b7e95d5cb4d358682de4e2d27bea8"
LOOKING = "looking and gates"


class Gap(NamedTuple):
    seconds: float
    step: str
    # What the writer was told meanwhile, if it was not just kept waiting.
    refusals: list

    def __str__(self):
        return f"{self.seconds:.2f} {self.step}" + (f" ({'; '.join(self.refusals)})" if self.refusals else "")


def moments(fleet, command, witness, since):
    """When each part of a replacement began. `since` is the time of day when it was asked for."""
    found = [(command.begun, LOOKING)]
    for heard, line in zip(command.heard, command.lines):
        done = re.search(r"\[ok \] \d+/\d+ (prepare|add|remove) ", line)
        if re.search(r"  op \S+ · epoch", line):
            found.append((heard, "prepare"))
        elif done:
            found.append((heard, {"prepare": "add", "add": "remove", "remove": "afterwards"}[done[1]]))
    offset = time.time() - time.monotonic()
    for entry in fleet.told(witness, since, MEMBERS_CHANGED, LED):
        change = re.match(r"(added learner|promoted|removed)", entry.get("COVEY_CHANGE", ""))
        name = change[1] if change else "another leads" if entry.get("COVEY_LEADER") else entry.get("COVEY_CHANGE", "?")
        found.append((int(entry["__REALTIME_TIMESTAMP"]) / 1e6 - offset, f"after: {name}"))
    return sorted(found)


def of(writer, since, until_time, marks):
    """Each gap with the step in which it began, and what the writer was refused in it."""
    found = []
    for begun, ended in writer.gaps(since, until_time):
        step = next((name for moment, name in reversed(marks) if moment <= begun), LOOKING)
        refusals = [f"{host} after {failed - asked:.2f}: {why}" for asked, failed, host, why in list(writer.refused)
                    if asked < ended and failed > begun]
        found.append(Gap(ended - begun, step, refusals))
    return found


class Account:
    """Of several operations, step by step: how long each took, and how much of that was without an acknowledged write."""

    def __init__(self, writer):
        self.writer, self.gaps, self.spans = writer, [], {}

    def add(self, since, marks):
        now = time.monotonic()
        self.gaps += of(self.writer, since, now, marks)
        for (begun, name), (ended, _) in zip(marks, [*marks[1:], (now, "")]):
            self.spans[name] = self.spans.get(name, 0) + ended - begun

    def __str__(self):
        every = [gap.seconds for gap in self.gaps]
        lines = []
        for step, span in self.spans.items():
            own = [gap.seconds for gap in self.gaps if gap.step == step]
            if own:
                lines.append(f"{step} {sum(own):.2f} of {span:.1f} s (at most {max(own):.2f})")
        refused = [str(gap) for gap in self.gaps if gap.refusals]
        return (
            f"without an acknowledged write at most {max(every, default=0):.2f} s, {sum(every):.2f} s in all"
            + "".join(f"; {line}" for line in lines) + (f"; refused: {', '.join(refused)}" if refused else ""))


def quiet(writer, writes=500):
    """The same of a time in which nothing is done: what the machine alone costs."""
    begun = time.monotonic()
    writer.wait_for_more(writes, seconds=120)
    now = time.monotonic()
    return f"beside nothing {sum(ended - began for began, ended in writer.gaps(begun, now)):.2f} of {now - begun:.1f} s"
