"""What the lab needs of the machine. Where it is missing the lab says so and does nothing; in CI it is installed first."""

import os
import shutil
import subprocess

from .processes import LabError

# Program -> Debian package.
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "nsenter": "util-linux",
    "ip": "iproute2",
    "nft": "nftables",
    "tc": "iproute2",
    "strace": "strace",
    "openssl": "openssl",
    "lintian": "lintian",
}


def missing():
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return {program: package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)}


def install():
    packages = sorted(set(missing().values()))
    if not packages:
        return
    quiet = dict(check=True, stdout=subprocess.DEVNULL, env=dict(os.environ, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1"))
    subprocess.run(["apt-get", "update", "-qq"], **quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], **quiet)


def reason_to_skip():
    """None when the lab can run here."""
    if os.geteuid() != 0:
        return "it needs root: namespaces, mounts and control groups"
    if os.environ.get("CI") == "true":
        install()
    lacking = missing()
    if lacking:
        return f"not installed: {' '.join(sorted(lacking))} (apt-get install {' '.join(sorted(set(lacking.values())))})"
    with open("/proc/filesystems") as file:
        known = {line.split()[-1] for line in file}
    for filesystem in ("overlay", "squashfs", "ext4"):
        if filesystem not in known:
            return f"the kernel has no {filesystem}"
    if not os.path.exists("/dev/loop-control"):
        return "the machine has no loop devices"
    probe = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "true"], capture_output=True, text=True)
    return None if probe.returncode == 0 else f"namespaces are forbidden here: {probe.stderr.strip()}"


def require():
    reason = reason_to_skip()
    if reason:
        raise LabError(reason)
