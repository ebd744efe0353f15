"""The file system all hosts begin with: a minimal Debian with systemd, as a squashfs file that is kept between runs.

It holds what a bare host has, what the lab itself needs, and the libraries Covey's package depends upon, so that installing
the package needs no network and fails when a dependency is not declared.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from .processes import LabError, run

SUITE = os.environ.get("LAB_SUITE", "bookworm")
BASE = ["systemd", "systemd-sysv", "dbus", "iproute2", "procps"]
LIBRARIES = ["libc6", "libcrypt1", "libgcc-s1", "liblmdb0", "libnghttp2-14", "libssl3", "libstdc++6", "libyaml-0-2"]

# Units that would only cost time or touch the machine. Not logind: its D-Bus name is asked for by `systemctl reboot`.
MASKED = """
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-timesyncd.service console-getty.service getty@.service getty-static.service dev-hugepages.mount
    sys-fs-fuse-connections.mount systemd-modprobe@.service modprobe@.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service systemd-firstboot.service
""".split()

# nspawn mounts the v1 controllers read-only; without this every MemoryMax= of a host is silently ignored.
INIT = """#!/bin/sh
for c in /sys/fs/cgroup/*; do
    case $c in */systemd|*/unified) ;; *) [ -f $c/cgroup.procs ] && mount -o remount,bind,rw $c ;; esac
done
exec /lib/systemd/systemd
"""

HOOK = f"""set -e
for unit in {' '.join(MASKED)}; do ln -sf /dev/null "$1/etc/systemd/system/$unit"; done
ln -sf /lib/systemd/system/multi-user.target "$1/etc/systemd/system/default.target"
rm -f "$1/etc/machine-id" "$1/var/lib/dbus/machine-id" "$1/etc/hostname"
mkdir -p "$1/var/log/journal" "$1/usr/local/sbin"
cat > "$1/usr/local/sbin/lab-init" <<'INIT'
{INIT}INIT
chmod 0755 "$1/usr/local/sbin/lab-init" "$1/root"
"""


def folder():
    return Path(os.environ.get("LAB_CACHE", "/var/tmp/covey-lab"))


def path():
    """Named by what went into it."""
    digest = hashlib.sha256("\n".join([SUITE, *BASE, *LIBRARIES, HOOK]).encode()).hexdigest()[:16]
    return folder() / f"base-{SUITE}-{digest}.sqfs"


def mirror():
    """The machine's own."""
    if "LAB_MIRROR" in os.environ:
        return os.environ["LAB_MIRROR"]
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", f"Codename: {SUITE}", "Identifier: Packages"]
    found = run(words).split()
    return found[0] if found else "http://deb.debian.org/debian"


def build(again=False):
    image = path()
    if image.exists() and not again:
        return image
    image.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as place:
        hook = Path(place) / "hook"
        hook.write_text(f"#!/bin/sh\n{HOOK}")
        hook.chmod(0o755)
        unfinished = image.with_suffix(f".{os.getpid()}")
        debian = subprocess.Popen(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={','.join(BASE + LIBRARIES)}",
                "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*", '--aptopt=Acquire::Languages "none"',
                '--aptopt=APT::Install-Recommends "false"', f"--customize-hook={hook}", "--format=tar", SUITE, "-",
                f"deb {mirror()} {SUITE} main",
            ],
            stdout=subprocess.PIPE, env=dict(os.environ, TMPDIR=place))
        packed = subprocess.run(
            ["mksquashfs", "-", unfinished, "-tar", "-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress", "-quiet"],
            stdin=debian.stdout, stdout=subprocess.DEVNULL)
        debian.stdout.close()
        if debian.wait() != 0 or packed.returncode != 0:
            unfinished.unlink(missing_ok=True)
            raise LabError("the base image could not be made; see the lines above")
        unfinished.rename(image)
    return image
