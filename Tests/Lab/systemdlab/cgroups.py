"""A control group per host in every hierarchy of the machine: hosts that shared one would fight over it.

Debian containers often see v1 controllers beside `name=systemd` and an empty v2 tree ("hybrid"); other machines have v2 only.
"""

import os
import time
from pathlib import Path


def _mounts():
    """Mount point and options of each cgroup file system."""
    with open("/proc/self/mounts") as file:
        for line in file:
            _, point, kind, options, *_ = line.split()
            if kind in ("cgroup", "cgroup2"):
                yield Path(point), kind, options.split(",")


def is_unified_only():
    return {kind for _, kind, _ in _mounts()} == {"cgroup2"}


def groups(lab_id):
    """The lab's own folder in each hierarchy, below this process's group."""
    # Read once, before anything moves.
    own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    found = []
    for point, kind, options in _mounts():
        for number, names, path in own:
            same = number == "0" if kind == "cgroup2" else number != "0" and set(names.split(",")) <= set(options)
            if same:
                # With v2 alone a group that has processes cannot hand controllers down; the root can.
                below = "/" if is_unified_only() else path
                found.append(point / below.lstrip("/") / f"covey-lab-{lab_id}")
    return found


def make(lab_groups, host):
    for group in lab_groups:
        for folder in (group, group / host):
            folder.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                source = folder.parent / name
                # A v1 cpuset is born empty and takes no process then.
                if source.exists() and not (folder / "cgroup.controllers").exists():
                    (folder / name).write_text(source.read_text())
        if is_unified_only():
            for folder in (group.parent, group):
                for controller in ("cpu", "memory", "pids", "io", "cpuset"):
                    try:
                        (folder / "cgroup.subtree_control").write_text(f"+{controller}")
                    except OSError:
                        pass  # not every machine has every controller; a test of limits looks for itself


def enter(lab_groups, host):
    """This process, which then becomes something else."""
    for group in lab_groups:
        (group / host / "cgroup.procs").write_text(str(os.getpid()))


def remove(lab_groups, host=None):
    """Whether all are gone. The kernel needs a moment after the last process."""
    for _ in range(60):
        left = [top for group in lab_groups if (top := group / host if host else group).exists()]
        if not left:
            return True
        for top in left:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass
        time.sleep(0.03)
    return False


def process_group(lab_groups, host, unit):
    """Where the processes of a unit of a host are listed, in this machine's numbers."""
    for group in lab_groups:
        if (group / host / "payload").exists() or (group / host / "system.slice").exists():
            base = group / host / "payload" if (group / host / "payload").exists() else group / host
            for folder, _, files in os.walk(base):
                if os.path.basename(folder) == unit and "cgroup.procs" in files:
                    return Path(folder) / "cgroup.procs"
    return None
