"""Acts: drills that share hosts and run in the order in which they are written. A module takes the `drill` of its act:

    drill = acts.FLEET.drill

    @drill()
    def a_member_is_replaced(stage): ...

A drill gets the stage (cluster, writer, watcher) and returns what is worth printing; it fails by raising.
"""

from typing import Callable, NamedTuple

from systemdlab.processes import LabError


class Drill(NamedTuple):
    name: str
    function: Callable
    # Beside the writer and the watcher.
    loaded: bool
    # Of the set that runs without words; others run when asked for by name, or with --all.
    always: bool
    # Of the few that run with --brief.
    brief: bool


class Act:
    def __init__(self, name, hosts, always=True, brief=False):
        self.name, self.hosts, self.always, self.brief = name, hosts, always, brief
        self.drills = []

    def drill(self, loaded=True, always=True, brief=None):
        """`brief`: as the act is, if it is not said; set-up is, if it is not denied."""
        def add(function):
            is_brief = (self.brief or not loaded) if brief is None else brief
            self.drills.append(Drill(function.__name__.replace("_", " "), function, loaded, always, is_brief))
            return function

        return add

    def chosen(self, words, size):
        """Those whose names contain a word, after what sets them up: the unloaded ones at the beginning."""
        first = next(number for number, drill in enumerate(self.drills) if drill.loaded)
        setup, rest = self.drills[:first], self.drills[first:]
        if words:
            rest = [one for one in rest if any(word in f"{self.name}: {one.name}" for word in words)]
        elif size != "all":
            is_wanted = lambda one: one.brief if size == "brief" else one.always
            rest = [one for one in rest if is_wanted(one) and self.always]
            setup = [one for one in setup if is_wanted(one)]
        return setup + rest if rest else []


def expect(condition, otherwise):
    if not condition:
        raise LabError(otherwise)


# Members that a person sets up with systemctl.
HOSTS = Act("hosts", 3, brief=True)
# Members that agents look after.
FLEET = Act("fleet", 5)
# The same with upstream's server.
UPSTREAM = {
    "3.4": Act("etcd-3.4", 4),
    "3.5": Act("etcd-3.5", 4, always=False),
}
