"""All drills in the order in which they run: the order of these imports, then that in each file."""

from . import scenarios  # noqa: F401
from . import bootstrap, members, operators, crashes, pressure, surroundings, leaves  # noqa: F401, E401
from .acts import FLEET, HOSTS, UPSTREAM


def order(hosts, fleet, upstream):
    """The acts, each with what makes its cluster."""
    return [(HOSTS, hosts), (FLEET, fleet), *((act, upstream(act)) for act in UPSTREAM.values())]
