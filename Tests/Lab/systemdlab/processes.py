"""Processes of this machine: named by pid and start time, so that a reused pid is never taken for the old one."""

import os
import signal
import subprocess
import time
from pathlib import Path


class LabError(Exception):
    """Something the person at the keyboard can read and act on."""


def start_time(pid):
    """Field 22 of /proc/PID/stat; None for a process that is gone or only waits to be reaped."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if after_name[0] == "Z" else int(after_name[19])


def children(pid):
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


class Remembered:
    """A process written down in a file, to be found by later commands."""

    def __init__(self, path):
        self.path = Path(path)

    def remember(self, pid):
        self.path.write_text(f"{pid} {start_time(pid)}\n")

    def find(self):
        try:
            pid, started = (int(word) for word in self.path.read_text().split())
        except (OSError, ValueError):
            return None
        return pid if start_time(pid) == started else None

    def end(self, number=signal.SIGKILL, seconds=10):
        pid = self.find()
        if pid is not None:
            os.kill(pid, number)
            until(lambda: start_time(pid) is None, seconds, f"process {pid} does not end")
        self.path.unlink(missing_ok=True)


def until(happened, seconds, otherwise, pause=0.02):
    """Waits for an event and gives its value; the limit is an error, not an answer."""
    end = time.monotonic() + seconds
    while True:
        value = happened()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"{otherwise} (waited {seconds:g} s)")
        time.sleep(pause)


def run(words, **options):
    """A command that must succeed; its output as text."""
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise LabError(f"{' '.join(map(str, words))}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
