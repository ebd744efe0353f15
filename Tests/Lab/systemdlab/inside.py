"""What runs within the lab's namespaces: the holder, which is process 1 there and takes everything with it when it ends, and
a supervisor for each host, which mounts its disks and starts it again when it reboots.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from . import cgroups

REBOOT = 133  # what nspawn ends with when the host asked for a reboot; --keep-unit leaves the start to us


def _do(*words):
    subprocess.run([str(word) for word in words], check=True)


def settings(state):
    return json.loads((Path(state) / "lab.json").read_text())


def address(network, host):
    return f"{network}.{10 + int(host[1:])}"


def hold(state):
    """Makes network and mounts, says so, then reaps for ever."""
    lab = settings(state)
    network = lab["network"]
    for place in ("/run/netns", "/run/lab"):
        os.makedirs(place, exist_ok=True)
        _do("mount", "-t", "tmpfs", "-o", "mode=755", "lab", place)
    _do("hostname", "operator")
    names = "".join(f"{address(network, f'h{number}')} h{number}\n" for number in range(1, 10))
    Path("/run/lab/hosts").write_text("127.0.0.1 localhost\n" + names)
    _do("mount", "--bind", "/run/lab/hosts", "/etc/hosts")
    os.mkdir("/run/lab/base")
    _do("mount", "-t", "squashfs", "-o", "loop,ro", lab["image"], "/run/lab/base")
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "link", "add", "br0", "type", "bridge", "forward_delay", "0")
    _do("ip", "addr", "add", f"{network}.1/24", "dev", "br0")
    _do("ip", "link", "set", "br0", "up")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    (Path(state) / "ready").touch()
    while True:
        signal.sigwait({signal.SIGCHLD})
        try:
            while os.waitpid(-1, os.WNOHANG)[0] != 0:
                pass
        except ChildProcessError:
            pass


def _wire(lab, host):
    """A network namespace that outlives the host: a boot needs no set-up, and a cable can be unplugged from outside."""
    if os.path.exists(f"/run/netns/{host}"):
        return
    number = host[1:]
    _do("ip", "netns", "add", host)
    _do("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", host)
    _do("ip", "link", "set", f"v{number}", "master", "br0", "up")
    _do("ip", "-n", host, "addr", "add", f"{address(lab['network'], host)}/24", "dev", "eth0")
    _do("ip", "-n", host, "link", "set", "lo", "up")
    _do("ip", "-n", host, "link", "set", "eth0", "up")


def _furnish(lab, host, folder):
    """The writable parts, once: what makes a host itself, and a data disk of its own so that it can be full or slow."""
    if (folder / "made").exists():
        return
    upper = folder / "upper"
    (upper / "etc").mkdir(parents=True)
    (folder / "work").mkdir()
    (upper / "etc/hostname").write_text(host + "\n")
    # Constant, or the journals of earlier boots would be another machine's.
    identity = subprocess.run(["md5sum"], input=f"{lab['id']}-{host}".encode(), capture_output=True, check=True).stdout
    (upper / "etc/machine-id").write_text(identity.decode().split()[0] + "\n")
    (upper / "etc/hosts").write_text(Path("/run/lab/hosts").read_text())
    (upper / "etc/resolv.conf").touch()
    disk = folder / "data.img"
    with open(disk, "wb") as file:
        file.truncate(lab["dataMegabytes"] << 20)
    _do("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", disk)
    (folder / "made").touch()


def supervise(state, host):
    """In a mount namespace of its own."""
    lab = settings(state)
    folder = Path(state) / "hosts" / host
    folder.mkdir(parents=True, exist_ok=True)
    groups = [Path(group) for group in lab["groups"]]
    console = os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(console, 1)
    os.dup2(console, 2)
    Path("/proc/self/comm").write_text(f"lab:{host}")
    _furnish(lab, host, folder)
    root, data = f"/run/lab/{host}", f"/run/lab/{host}.data"
    os.makedirs(root, exist_ok=True)
    os.makedirs(data, exist_ok=True)
    layers = f"lowerdir=/run/lab/base,upperdir={folder}/upper,workdir={folder}/work"
    _do("mount", "-t", "overlay", "covey-lab", "-o", layers, root)
    _do("mount", "-o", "loop", folder / "data.img", data)
    words = [
        "systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={host}", "--register=no", "--keep-unit", "--console=pipe",
        f"--network-namespace-path=/run/netns/{host}", "--capability=CAP_NET_ADMIN", f"--bind={data}:/var/lib/covey",
        "--kill-signal=SIGRTMIN+3", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
    ]
    # On machines that have v1 controllers they must be made writable before systemd looks.
    words.append("-b" if cgroups.is_unified_only() else "/usr/local/sbin/lab-init")
    while True:
        cgroups.remove(groups, host)
        cgroups.make(groups, host)
        running = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=lambda: cgroups.enter(groups, host))
        if running.wait() != REBOOT:
            break


def main(words):
    verb, state, *rest = words
    if verb == "hold":
        hold(state)
    elif verb == "supervise" and len(rest) == 1:
        # In the holder's mount namespace, where the names of network namespaces must stay when the host is gone.
        _wire(settings(state), rest[0])
        # Twice forked: the holder becomes the parent, and the command that booted the host need not stay.
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                me = str(Path(__file__).resolve().parent.parent / "lab")
                os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, me, "_inside", "mounted", state, *rest])
            os._exit(0)
    elif verb == "mounted":
        supervise(state, rest[0])
