"""A lab from outside: up, down, and the way in."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import cgroups, image, inside, requirements
from .host import Host
from .processes import LabError, Remembered, children, run, until

ENTRY = Path(__file__).resolve().parent.parent / "lab"


def _memory_is_enough():
    try:
        return shutil.disk_usage("/dev/shm").free > 4 << 30
    except OSError:
        return False


class Lab:
    """Several may be up at once, each with an id of its own. State stays in a folder until `purge`."""

    network = "10.73.0"
    operator_address = f"{network}.1"

    def __init__(self, lab_id=None, data_megabytes=384):
        self.id = lab_id or os.environ.get("LAB_ID", "main")
        # In memory where there is enough: boots do not wait for a busy disk. Speed measured there says nothing of fsync.
        self.state = Path("/dev/shm" if _memory_is_enough() else "/var/tmp") / f"covey-lab-{self.id}"
        self.data_megabytes = data_megabytes
        self.holder_file = Remembered(self.state / "holder")

    @property
    def holder(self):
        pid = self.holder_file.find()
        if pid is None:
            raise LabError("the lab is not up: Tests/Lab/lab up")
        return pid

    @property
    def groups(self):
        return [Path(group) for group in inside.settings(self.state)["groups"]]

    def hosts(self):
        folder = self.state / "hosts"
        return [Host(self, entry.name) for entry in sorted(folder.iterdir())] if folder.exists() else []

    def host(self, name):
        if not (name.startswith("h") and name[1:] in "123456789"):
            raise LabError(f"hosts are called h1 to h9, not {name}")
        return Host(self, name)

    # Up and down

    def up(self, count=3):
        requirements.require()
        if self.holder_file.find() is not None:
            raise LabError("the lab is up already: Tests/Lab/lab status, or down")
        base = image.build()
        self.state.mkdir(mode=0o700, exist_ok=True)
        (self.state / "ready").unlink(missing_ok=True)
        groups = cgroups.groups(self.id)
        cgroups.remove(groups)  # of a lab that was killed
        settings = dict(id=self.id, network=self.network, image=str(base), dataMegabytes=self.data_megabytes, groups=list(map(str, groups)))
        (self.state / "lab.json").write_text(json.dumps(settings))
        log = open(self.state / "holder.log", "wb")
        entry = subprocess.Popen(
            [
                "unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc", "--propagation",
                "private", sys.executable, str(ENTRY), "_inside", "hold", str(self.state),
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def ready_or_dead():
            if entry.poll() is not None:
                raise LabError(f"the lab cannot be made: {(self.state / 'holder.log').read_text().strip()}")
            return (self.state / "ready").exists()

        until(ready_or_dead, 30, "the lab's network and mounts do not come up")
        self.holder_file.remember(children(entry.pid)[0])
        hosts = [self.host(f"h{number}") for number in range(1, count + 1)]
        for host in hosts:
            host.start()
        for host in hosts:
            host.wait_ready()
        return hosts

    def down(self):
        """Leaves nothing but the hosts' disks; safe at any time, also twice."""
        for host in self.hosts():
            host.undo_faults()
        self.holder_file.end()
        (self.state / "ready").unlink(missing_ok=True)
        if (self.state / "lab.json").exists() and not cgroups.remove(self.groups):
            print("lab: control groups are left behind", file=sys.stderr)
        until(lambda: str(self.state) not in run(["losetup", "-a"]), 10, "loop devices are left behind")

    def purge(self):
        self.down()
        shutil.rmtree(self.state, ignore_errors=True)

    # The way in

    def entering(self, words):
        """A command for the lab's own place on the network, where the operator sits."""
        # Never from outside: the machine would send the hosts' addresses out by its default route.
        return ["nsenter", "-t", str(self.holder), "-m", "-n", "-p", "-u", "-i", "--", *map(str, words)]

    def operator(self, words, **options):
        return run(self.entering(words), **options)

    def join_network(self):
        """Moves the calling thread into the operator's network, and only that."""
        import ctypes

        descriptor = os.open(f"/proc/{self.holder}/ns/net", os.O_RDONLY)
        try:
            clone_new_net = 0x40000000
            library = ctypes.CDLL(None, use_errno=True)
            if library.setns(descriptor, clone_new_net) != 0:
                raise LabError(f"cannot enter the lab's network: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(descriptor)
