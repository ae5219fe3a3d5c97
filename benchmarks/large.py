"""A journal of ten million events against a small one: no operation may take longer in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import uuid4

from benchmarks.archives import FILE, OWNER, build
from benchmarks.calls import work
from benchmarks.catalogue import Plan, paired
from benchmarks.measure import Pair, Side, again
from eventflow import EventBus, flow, use_bus
from eventflow.client.archive import Archive
from eventflow.journal.contract import Journal, RunQuery
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.recovery.supervisor import recover
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_RETENTION_BYTES,
    temporary_settings,
)
from eventflow.states import StateType
from eventflow.wiring import detach, recorder

__all__ = ["QUESTIONS"]

SMALL: Final = 100_000
"""How many events the small journal has: enough that each question has a whole page of answers."""

PAGE: Final = 26
"""How many runs `eventflow runs ls` asks for."""

CHUNK: Final = 50
"""How many events are asked for, of which both journals have as many in the last minutes."""

RECENT: Final = timedelta(minutes=15)


def _tail(journal: Journal) -> object:
    """Read from the end of the journal."""
    return Archive(journal).events_after(journal.cursor(), CHUNK)


def _tail_since(journal: Journal) -> object:
    """Read from some minutes before the end."""
    return Archive(journal).events_after(journal.cursor(datetime.now(UTC) - RECENT), CHUNK)


def _listing(query: RunQuery) -> Callable[[Journal], object]:
    return lambda journal: Archive(journal).runs(query)


QUESTIONS: Final[dict[str, tuple[str, Callable[[Journal], object]]]] = {
    "ls": ("runs ls", _listing(RunQuery(top=True, limit=PAGE))),
    "ls.all": ("runs ls --all", _listing(RunQuery(limit=PAGE))),
    "ls.flows": ("runs ls --type flow", _listing(RunQuery(run_type="flow", limit=PAGE))),
    "ls.failed": (
        "runs ls --state Failed",
        _listing(RunQuery(state_types=(StateType.FAILED,), limit=PAGE)),
    ),
    "ls.unfinished": ("runs ls --unfinished", _listing(RunQuery(unfinished=True, limit=PAGE))),
    "ls.name": ("runs ls --name etl", _listing(RunQuery(definition="etl", limit=PAGE))),
    "tail": ("tail", _tail),
    "tail.since": ("tail --since 15m", _tail_since),
}
"""The queries of the commands of those names."""


@cache
def _kept(events: int) -> TemporaryDirectory[str]:
    """Keep a journal of so many events until the end of this process."""
    folder = TemporaryDirectory(prefix="eventflow-")
    build(Path(folder.name), events)

    return folder


def _file(events: int) -> Path:
    return Path(_kept(events).name) / FILE


def asked(question: Callable[[Journal], object], file: Path) -> Iterator[Side]:
    """Yield a side that queries an open journal."""
    with closing(SqliteJournal(file)) as journal:
        yield again(question, journal)


def started(file: Path) -> Iterator[Side]:
    """Yield a side that registers an owner with its first run, and ends it."""
    called = flow(work)

    def side(loops: int) -> None:
        with at(file):
            for _ in range(loops):
                with use_bus(EventBus()) as own:
                    called(1)
                    journalled_by = recorder()
                    assert journalled_by is not None
                    assert journalled_by.flush()
                    detach(own)

    yield side


def recovered(file: Path) -> Iterator[Side]:
    """Yield a side that recovers dead owners, of which there are none."""

    def side(loops: int) -> None:
        with at(file):
            for _ in range(loops):
                assert recover(EVENTFLOW_JOURNAL_URL.value()) == []

    yield side


def claimed(file: Path) -> Iterator[Side]:
    """Yield a side that claims the runs and deliveries of a dead owner, of which there are none."""
    with closing(SqliteJournal(file)) as journal:
        (dead,) = (owner for owner in journal.owners() if owner.id == OWNER)
        fence = journal.register(dead._replace(id=uuid4().hex))

        def claim() -> None:
            assert not journal.claim(fence)

        yield again(claim)
        journal.end(fence.owner, "ended")


@contextmanager
def at(file: Path) -> Iterator[None]:
    """Put a journal in force, from which nothing is pruned."""
    with temporary_settings(
        {
            EVENTFLOW_DURABILITY: "process",
            EVENTFLOW_JOURNAL_URL: f"sqlite:///{file}",
            EVENTFLOW_RETENTION_BYTES: 2**62,
        }
    ):
        yield


def _compared(sides: Callable[[Path], Iterator[Side]], plan: Plan) -> Iterator[Pair]:
    prepared = contextmanager(sides)
    large, small = _file(plan.events), _file(min(SMALL, plan.events))
    with prepared(large) as ours, prepared(small) as floor:
        yield Pair(ours, floor)


def _register(name: str, about: str, sides: Callable[[Path], Iterator[Side]]) -> None:
    paired(
        f"large.{name}",
        f"{about}, 10,000,000 events",
        floor=f"journal of {SMALL:,} events",
        rounds=11,
        usual=False,
    )(partial(_compared, sides))


_register("start", "first run of a process and its leave", started)
_register("recover", "recover, nothing left to do", recovered)
_register("claim", "taking over, nothing left", claimed)
for _name, (_about, _question) in QUESTIONS.items():
    _register(_name, _about, partial(asked, _question))
