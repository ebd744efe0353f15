#!/usr/bin/env python3
"""Three members in network namespaces of their own, cut off from each other under concurrent clients.

    partitions.py [--seconds N] [--seed S]

The script runs itself again in a namespace where it may lay cables: a bridge, with the clients on it, and a namespace
behind a virtual cable for each member. A cut from A to B gives A a wrong hardware address for B: what A sends then is
lost without a word, one way only, while clients reach both. Members therefore cannot know, and an old leader with
clients of its own must find out by itself that it leads nobody.
"""

import os
import subprocess
import sys
import time

from cluster import expect, scenario_main, until
from faults import FLAGS, Load

INSIDE = "COVEY_PARTITIONS_INSIDE"
NOWHERE = "02:00:00:00:00:ff"


def ip(*words):
    subprocess.run(["ip"] + [str(w) for w in words], check=True, capture_output=True)


class Cables:
    """A place for members (see `Loopback`): namespaces around a bridge, and the cuts between them."""

    def __init__(self, count):
        self.holders, self.cuts = {}, set()
        ip("link", "set", "lo", "up")
        ip("link", "add", "hub", "type", "bridge")
        ip("addr", "add", "10.77.0.254/24", "dev", "hub")
        ip("link", "set", "hub", "up")
        self.count = count
        for number in range(1, count + 1):
            # A namespace lives as long as a process in it: this one waits for its standard input to end.
            holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self.holders[number] = holder
            mine = os.readlink("/proc/self/ns/net")
            until("the namespace is there", lambda: os.readlink("/proc/%d/ns/net" % holder.pid) != mine)
            ip("link", "add", "m%d" % number, "type", "veth", "peer", "name", "eth0", "netns", holder.pid)
            ip("link", "set", "m%d" % number, "master", "hub", "up")
            for words in (
                    ["link", "set", "lo", "up"], ["link", "set", "eth0", "address", self.hardware(number), "up"],
                    ["addr", "add", self.host(number) + "/24", "dev", "eth0"]):
                self.inside(number, *words)
        self.heal()

    @staticmethod
    def hardware(number):
        return "02:00:00:00:00:%02x" % number

    def host(self, number):
        return "10.77.0.%d" % number

    def enter(self, number):
        return ["nsenter", "--net=/proc/%d/ns/net" % self.holders[number].pid]

    def inside(self, number, *words):
        subprocess.run(self.enter(number) + ["ip"] + [str(w) for w in words], check=True, capture_output=True)

    def route(self, a, b, address):
        self.inside(a, "neigh", "replace", self.host(b), "lladdr", address, "dev", "eth0", "nud", "permanent")

    def cut(self, a, b, both=True):
        """What `a` sends to `b` is lost; what `b` sends to `a` too, unless it is a cut of one way."""
        for x, y in ((a, b), (b, a))[:2 if both else 1]:
            self.cuts.add((x, y))
            self.route(x, y, NOWHERE)

    def heal(self):
        for a in self.holders:
            for b in self.holders:
                if a != b:
                    self.route(a, b, self.hardware(b))
        self.cuts = set()

    def end(self):
        for holder in self.holders.values():
            holder.stdin.close()
            holder.wait()


def partition(c, place, rng):
    """One cut between the members; the name of its kind and whether a majority can still work."""
    leader = c.leader()
    others = [n for n in c if n is not leader]
    a, b = rng.sample(others, 2)
    kind = rng.choice(("leader alone", "leader alone", "follower alone", "all alone", "one link", "leader deaf", "leader dumb",
                       "one way", "leader alone, then the next"))
    if kind.startswith("leader alone"):
        for node in others:
            place.cut(leader.number, node.number)
    elif kind == "follower alone":
        for node in c:
            if node is not a:
                place.cut(a.number, node.number)
    elif kind == "all alone":
        place.cut(leader.number, a.number)
        place.cut(leader.number, b.number)
        place.cut(a.number, b.number)
    elif kind == "one link":
        place.cut(leader.number, a.number)
    elif kind == "leader deaf":
        for node in others:
            place.cut(node.number, leader.number, both=False)
    elif kind == "leader dumb":
        for node in others:
            place.cut(leader.number, node.number, both=False)
    else:
        place.cut(*rng.choice(((leader.number, a.number), (a.number, leader.number), (a.number, b.number))), both=False)
    return kind, leader, others


def partitions_under_load(stage):
    place = Cables(3)
    try:
        c = stage.cluster(3, flags=FLAGS, place=place)
        seconds, unknown, rounds, tally = stage.programs.seconds or 45, 0, 0, stage.tally
        until_when = time.monotonic() + seconds
        while time.monotonic() < until_when:
            rounds += 1
            load = Load(c, stage.seed + rounds)
            end = min(time.monotonic() + 30, until_when)
            while time.monotonic() < end:
                time.sleep(stage.random.uniform(0.1, 0.6))
                kind, leader, others = partition(c, place, stage.random)
                tally.faults[kind] += 1
                began = time.monotonic()
                if kind.startswith("leader alone"):
                    until("the majority has a new leader", lambda: others[0].put("gap", "1", seconds=0.5), 30)
                    tally.gaps.append(time.monotonic() - began)
                    if kind != "leader alone":
                        place.heal()
                        second = c.leader()
                        for node in c:
                            if node is not second:
                                place.cut(second.number, node.number)
                elif kind in ("one link", "one way", "follower alone"):
                    # A majority is connected: clients must be served somewhere, cut or not.
                    until("somebody is served while " + kind, lambda: any(
                        served(n) for n in c), 30)
                time.sleep(stage.random.choice((0, 0.3, 1, 2.5, 6)))
                place.heal()
                c.ready()
                count = load.operations()
                until("clients are served again", lambda: load.operations() > count + 20, 30)
            load.stop()
            tally.operations += load.judge()
            unknown += load.unknown()
            expect(c.same(5), "compared")
            if stage.programs.seconds:
                print("round %d: %d operations so far, %d unknown, cuts %s, errors %s" % (
                    rounds, tally.operations, unknown, dict(tally.faults), load.errors()), flush=True)
        return "%d operations (%d unknown) linearizable under %s; %s" % (
            tally.operations, unknown, dict(tally.faults), tally.gap_line())
    finally:
        place.end()


def served(node):
    try:
        node.put("gap", "1", seconds=0.7)
        return True
    except Exception:  # noqa: BLE001: an error here is "not this one".
        return False


if __name__ == "__main__":
    if os.environ.get(INSIDE) != "yes":
        privately = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
        possible = subprocess.run(
            privately + ["sh", "-c", "ip link set lo up && ip link add x type bridge && ip link add y type veth peer name z"],
            capture_output=True, text=True)
        if possible.returncode != 0:
            print("NOT RUN: this machine gives no network namespaces: " + possible.stderr.strip())
            sys.exit(77)
        os.execvpe(privately[0], privately + [sys.executable] + sys.argv, {**os.environ, INSIDE: "yes"})
    scenario_main([partitions_under_load])
