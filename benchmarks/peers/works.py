"""The sides, the pieces of work, which side does which, and the targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["SIDES", "WORKS", "Side", "Target", "UnknownPeer", "Work", "chosen"]


@dataclass(frozen=True, slots=True)
class Side:
    """A system under comparison: its names, its package, and its environment variables.

    `{home}` in a variable is replaced by a folder of its own, which is deleted afterwards.
    """

    name: str
    label: str
    package: str
    environment: Mapping[str, str] = field(default_factory=dict)
    served: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is eventflow's own."""
        return self.package == OURS

    @property
    def module(self) -> str:
        """What it is imported as."""
        return "eventflow" if self.ours else self.package

    @property
    def statement(self) -> str:
        """How a program imports it. Some load a name only when it is taken from them."""
        return _STATEMENTS.get(self.module, f"import {self.module}")


_STATEMENTS: Final[Mapping[str, str]] = {
    "dbos": "from dbos import DBOS",
    "eventflow": "from eventflow import flow, task",
    "prefect": "from prefect import flow, task",
}


@dataclass(frozen=True, slots=True)
class Target:
    """How many times as long the peer has to take as a side of our own."""

    ours: str
    peer: str
    least: float


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work, the sides that do it, and how often they are compared."""

    name: str
    about: str
    sides: tuple[str, ...]
    targets: tuple[Target, ...]
    rounds: int = 15

    def label(self, side: str) -> str:
        """Return the label of a side in this work: plainly `eventflow` where it is our only one."""
        ours = [name for name in self.sides if SIDES[name].ours]

        return "eventflow" if ours == [side] else SIDES[side].label


OURS: Final = "eventflow-runtime"

_PREFECT: Final = {
    "HOME": "{home}",
    "PREFECT_HOME": "{home}",
    # Its log lines are left out, as eventflow writes none either.
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # A busy machine must not keep it from starting at all.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "DO_NOT_TRACK": "1",
}


_OURS: Final = {"EVENTFLOW_HOME": "{home}", "EVENTFLOW_LOG_LEVEL": "WARNING"}


def _by_name(*sides: Side) -> dict[str, Side]:
    return {side.name: side for side in sides}


SIDES: Final = _by_name(
    Side(
        "eventflow",
        "eventflow, journal off",
        OURS,
        {**_OURS, "EVENTFLOW_DURABILITY": "off"},
    ),
    Side(
        "eventflow-journal",
        "eventflow, journal on",
        OURS,
        {**_OURS, "EVENTFLOW_DURABILITY": "process"},
    ),
    Side("prefect-server", "Prefect, server kept running", "prefect", _PREFECT, served=True),
    Side("prefect-ephemeral", "Prefect, as it comes", "prefect", _PREFECT),
    Side("dbos", "DBOS on SQLite", "dbos", {"HOME": "{home}"}),
    Side("dask", "Dask threads", "dask", {"HOME": "{home}"}),
    Side("taskiq", "taskiq in memory", "taskiq"),
    Side("abxbus", "abxbus", "abxbus", {"ABXBUS_LOGGING_LEVEL": "WARNING"}),
    Side("bubus", "bubus", "bubus", {"BUBUS_LOGGING_LEVEL": "WARNING"}),
    Side("pyee", "pyee", "pyee"),
    Side("blinker", "blinker", "blinker"),
)
"""Every side, our own first."""

WORKS: Final = (
    Work(
        "task.direct",
        "task called in a flow, sync, one hook",
        ("eventflow", "eventflow-journal", "prefect-server", "prefect-ephemeral", "dbos", "dask"),
        (
            Target("eventflow", "prefect-server", 150),
            Target("eventflow-journal", "prefect-server", 70),
            Target("eventflow-journal", "dbos", 35),
        ),
    ),
    Work(
        "task.submitted",
        "tasks submitted at once, one hook each",
        ("eventflow", "eventflow-journal", "prefect-server", "dask", "taskiq"),
        (),
    ),
    Work(
        "flow.empty",
        "flow that does nothing, one hook",
        ("eventflow", "eventflow-journal", "prefect-server", "prefect-ephemeral", "dbos"),
        (Target("eventflow-journal", "prefect-server", 40),),
    ),
    Work(
        "publish.sync",
        "own event to one sync listener",
        ("eventflow", "abxbus", "bubus", "pyee", "blinker"),
        (Target("eventflow", "abxbus", 100), Target("eventflow", "bubus", 500)),
    ),
    Work(
        "publish.async",
        "own event to one async listener, sustained",
        ("eventflow", "abxbus", "bubus", "pyee", "blinker"),
        (Target("eventflow", "abxbus", 5), Target("eventflow", "pyee", 1)),
    ),
    Work(
        "import",
        "import, fresh interpreter",
        ("eventflow", "prefect-ephemeral", "dbos"),
        (Target("eventflow", "prefect-ephemeral", 8),),
        rounds=9,
    ),
    Work(
        "hello",
        "script with one flow and one task, start to exit",
        ("eventflow-journal", "prefect-server", "prefect-ephemeral", "dbos"),
        (),
        rounds=5,
    ),
)


class UnknownPeer(Exception):
    """No work and no peer has that name."""

    def __init__(self, name: str) -> None:
        works = ", ".join(work.name for work in WORKS)
        peers = ", ".join(side.name for side in SIDES.values() if not side.ours)
        super().__init__(f"There is no peer {name!r}. Peers: {peers}. Their work: {works}.")


def chosen(names: Iterable[str]) -> list[Work]:
    """Return the works of these names, with the peers of these names; without any, all of both.

    A group such as `publish` stands for its works, a package for every way to use it. A work
    that none of the peers does is omitted; our own sides are always included.

    Raises:
        UnknownPeer: a name stands for neither.
    """
    works: list[Work] = []
    peers: set[str] = set()
    for name in names:
        named_works = [work for work in WORKS if f"{work.name}.".startswith(f"{name}.")]
        named_peers = {side.name for side in SIDES.values() if name in (side.name, side.package)}
        if not named_works and (not named_peers or SIDES[min(named_peers)].ours):
            raise UnknownPeer(name)
        works += named_works
        peers |= named_peers

    return [
        narrowed
        for work in WORKS
        if (not works or work in works) and (narrowed := _among(work, peers)) is not None
    ]


def _among(work: Work, peers: set[str]) -> Work | None:
    if not peers:
        return work
    if peers.isdisjoint(work.sides):
        return None
    sides = tuple(name for name in work.sides if SIDES[name].ours or name in peers)
    targets = tuple(target for target in work.targets if target.peer in peers)

    return Work(work.name, work.about, sides, targets, work.rounds)
