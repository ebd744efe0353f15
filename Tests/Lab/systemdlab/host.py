"""One host of a lab: life, the way in, files. What breaks it is in faults.py."""

import os
import subprocess
import sys

from . import cgroups, inside
from .faults import Faults
from .processes import LabError, children, name_of, run, start_time, until

PLAIN = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"]


class Host(Faults):
    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        self.folder = lab.state / "hosts" / name

    @property
    def address(self):
        return inside.address(self.lab.network, self.name)

    @property
    def cable(self):
        return f"v{self.name[1:]}"

    # Life

    def supervisor(self):
        """The outer pid of the process that mounts and starts this host."""
        for pid in children(self.lab.holder):
            if name_of(pid) == f"lab:{self.name}":
                return pid
        return None

    def leader(self):
        """The outer pid of the host's process 1: supervisor, nspawn, systemd."""
        supervisor = self.supervisor()
        for nspawn in children(supervisor) if supervisor else []:
            for pid in children(nspawn):
                if name_of(pid) == "systemd":
                    return pid
        return None

    def _leader(self):
        pid = self.leader()
        if pid is None:
            raise LabError(f"{self.name} is not running")
        return pid

    def start(self):
        if self.supervisor() is not None:
            raise LabError(f"{self.name} is running already")
        disk = self.folder / "data.img"
        # Two loop devices on one image would corrupt it.
        until(lambda: not disk.exists() or not run(["losetup", "-j", disk]), 10, f"the disk of {self.name} is still in use")
        run(self.lab.entering([sys.executable, self.entry(), "_inside", "supervise", str(self.lab.state), self.name]))

    def entry(self):
        from .lab import ENTRY

        return str(ENTRY)

    def wait_ready(self, seconds=90):
        """Until systemd says that it has started everything, well or badly."""

        def answered():
            if self.leader() is None:
                return False
            state = self.run(["systemctl", "is-system-running", "--wait"], check=False).stdout.strip()
            return state in ("running", "degraded")

        until(answered, seconds, f"{self.name} does not come up; its console: {self.folder}/console.log", pause=0.05)

    def boot(self):
        run(self.lab.entering(["ip", "link", "set", self.cable, "up"]))
        self.start()
        self.wait_ready()

    def halt(self):
        supervisor = self.supervisor()
        self.run(["systemctl", "poweroff"], check=False)
        until(lambda: supervisor is None or start_time(supervisor) is None, 120, f"{self.name} does not halt")
        cgroups.remove(self.lab.groups, self.name)

    def reboot(self):
        """Asked for, not waited for: see wait_rebooted."""
        leader = self._leader()
        self.run(["systemctl", "reboot"], check=False)
        return leader

    def wait_rebooted(self, leader):
        until(lambda: start_time(leader) is None, 120, f"{self.name} does not shut down")
        self.wait_ready()

    # The way in

    def entering(self, words):
        return ["nsenter", "-t", str(self._leader()), "-a", "--", *PLAIN, *map(str, words)]

    def run(self, words, check=True, input=None, timeout=120):
        """Runs in the host but in our control group: daemons are started with systemctl."""
        done = subprocess.run(
            self.entering(words), input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(map(str, words))}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done

    def text(self, *words):
        return self.run(words).stdout.strip()

    def put(self, source, target, mode=None, owner=None):
        """A file, whole or not at all."""
        wanted = mode if mode is not None else os.stat(source).st_mode & 0o777
        place = 'mkdir -p "$(dirname "$1")" && cat > "$1.part" && chmod "$2" "$1.part" && chown "$3" "$1.part" && mv "$1.part" "$1"'
        with open(source, "rb") as file:
            done = subprocess.run(
                self.entering(["sh", "-c", place, "put", target, f"{wanted:o}", owner or "root:root"]), stdin=file, capture_output=True)
        if done.returncode != 0:
            raise LabError(f"{self.name}: cannot write {target}: {done.stderr.decode().strip()}")

    def get(self, source, target):
        with open(target, "wb") as file:
            subprocess.run(self.entering(["cat", source]), stdout=file, check=True)

    def property(self, unit, name):
        return self.text("systemctl", "show", "--value", f"--property={name}", unit)

    def pids(self, unit):
        """Of a unit, in this machine's numbers."""
        listed = cgroups.process_group(self.lab.groups, self.name, unit)
        return [int(word) for word in listed.read_text().split()] if listed else []
