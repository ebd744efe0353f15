"""The same agents with upstream's server: Debian's etcd 3.4 and an etcd 3.5, copied into the hosts."""

import json
import os
from pathlib import Path

from systemdlab.processes import LabError

from .acts import UPSTREAM
from .fleet import Fleet

ROOT = Path(os.path.realpath(__file__)).parent.parent.parent.parent
PROGRAMS = {"3.4": Path("/usr/bin/etcd"), "3.5": ROOT / ".deps/etcd-3.5.1/etcd"}


def program_of(act):
    return next(PROGRAMS[version] for version, one in UPSTREAM.items() if one is act)


def upstream(act):
    """What makes the cluster of such an act."""

    def make(lab, hosts, package, program):
        fleet = Upstream(lab, hosts, package, program)
        for host in hosts:
            host.put(program_of(act), fleet.engine, mode=0o755)
        return fleet

    return make


class Upstream(Fleet):
    engine = "/usr/local/bin/etcd"

    def hashes(self, revision):
        """By gRPC: upstream's JSON gateway of these versions does not know it."""
        try:
            answers = json.loads(self.control("endpoint", "hashkv", f"--rev={revision}", "--write-out=json"))
        except LabError:
            return None
        found = {}
        for answer in answers:
            told = answer["HashKV"]
            found[answer["Endpoint"]] = (told["hash"], told.get("compact_revision", 0), told["header"]["cluster_id"])
        return found if len(found) == len(self.hosts) else None
