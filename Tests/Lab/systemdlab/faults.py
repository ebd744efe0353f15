"""What goes wrong with hosts. Each fault has its remedy; `undo_faults` knows all that would outlive the host."""

import fcntl
import os
import signal
import struct
import subprocess
import time

from . import cgroups
from .processes import LabError, Remembered, run, start_time, until

DATA = "/var/lib/covey"
SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN
FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW


class Faults:
    # Power

    def power_loss(self, lose_unsynced=True, silent=True):
        """The cable first: peers of a dead machine hear nothing, not a closed connection. `silent` false leaves it plugged in: the
        network of the host outlives it, and refuses."""
        leader, supervisor = self._leader(), self.supervisor()
        if silent:
            run(self.lab.entering(["ip", "link", "set", self.cable, "down"]))
        if lose_unsynced:
            # Without this nothing is ever lost: the page cache outlives the host.
            self._data_ioctl(SHUTDOWN, struct.pack("I", 2))
        self.thaw()
        os.kill(leader, signal.SIGKILL)
        until(lambda: start_time(supervisor) is None, 30, f"{self.name} does not die")
        cgroups.remove(self.lab.groups, self.name)

    # Network

    def cut(self):
        run(self.lab.entering(["ip", "link", "set", self.cable, "nomaster"]))

    def heal(self):
        run(self.lab.entering(["ip", "link", "set", self.cable, "master", "br0"]))
        run(self.lab.entering(["ip", "link", "set", self.cable, "up"]))
        self._nft("delete table inet lab", check=False)
        # There is none to take away, usually.
        subprocess.run(self.lab.entering(["tc", "qdisc", "del", "dev", self.cable, "root"]), capture_output=True)

    def throttle(self, bytes_a_second):
        """What others send to it arrives at this rate."""
        rate = ["rate", f"{bytes_a_second * 8}bit", "burst", "64kb", "latency", "200ms"]
        run(self.lab.entering(["tc", "qdisc", "replace", "dev", self.cable, "root", "tbf", *rate]))

    def mute(self, address, port):
        """What this host answers an address from a port is lost; what comes from there arrives."""
        self._nft(
            "add table inet lab; add chain inet lab out { type filter hook output priority -300; }; "
            f"add rule inet lab out ip daddr {address} tcp sport {port} drop")

    def block(self, other):
        """What `other` sends does not arrive here; the other way still works."""
        self._nft(
            "add table inet lab; add chain inet lab in { type filter hook input priority -300; }; "
            f"add rule inet lab in ip saddr {other.address} drop")

    def partition(self, others):
        """From some hosts, both ways; everybody else still reaches it."""
        for other in others:
            self.block(other)
            self._nft(
                "add chain inet lab out { type filter hook output priority -300; }; "
                f"add rule inet lab out ip daddr {other.address} drop")

    def _nft(self, text, check=True):
        command = self.lab.entering(["nsenter", f"--net=/run/netns/{self.name}", "nft", text])
        done = subprocess.run(command, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise LabError(f"nft: {done.stderr.strip()}")

    # Disk

    def fill_disk(self):
        """Nothing fits any more, not even a block."""
        script = f"""
        free=$(stat -f -c '%a %S' {DATA} | awk '{{print $1 * $2}}')
        fallocate -l "$free" {DATA}/.fill 2>/dev/null
        cat /dev/zero 2>/dev/null >> {DATA}/.fill2
        true
        """
        self.run(["sh", "-c", script])

    def empty_disk(self):
        self.run(["rm", "-f", f"{DATA}/.fill", f"{DATA}/.fill2"])

    def freeze(self):
        """The disk answers nobody. Thaw before anything is killed: a writer in the kernel cannot be."""
        self._data_ioctl(FREEZE, struct.pack("i", 0))

    def thaw(self):
        try:
            self._data_ioctl(THAW, struct.pack("i", 0))
        except (OSError, LabError):
            pass  # it was not frozen

    def _data_ioctl(self, request, argument):
        descriptor = os.open(f"/proc/{self._leader()}/root{DATA}", os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)

    def slow_sync(self, unit, milliseconds):
        """Each fsync of a unit takes so much longer."""
        pids = self.pids(unit)
        if not pids:
            raise LabError(f"{self.name}: {unit} has no process")
        tracer = subprocess.Popen(
            [
                "strace", "-qq", "-f", "-o", "/dev/null", "-e", "trace=fsync,fdatasync",
                "-e", f"inject=fsync,fdatasync:delay_enter={milliseconds * 1000}", "-p", str(pids[0]),
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        Remembered(self.folder / f"strace-{unit}").remember(tracer.pid)

        def attached():
            with open(f"/proc/{pids[0]}/status") as file:
                return f"TracerPid:\t{tracer.pid}\n" in file.read()

        until(attached, 10, "strace does not attach")

    def normal_sync(self, unit="*"):
        """Of one unit, or of all."""
        for path in self.folder.glob(f"strace-{unit}"):
            Remembered(path).end(signal.SIGTERM)

    # Processes

    def pause(self, unit):
        for pid in self.pids(unit):
            os.kill(pid, signal.SIGSTOP)

    def resume(self, unit):
        for pid in self.pids(unit):
            os.kill(pid, signal.SIGCONT)

    def undo_faults(self):
        self.normal_sync()
        try:
            self.thaw()
        except LabError:
            pass
