"""Keeping a journal small and checking it: what is deleted, what must not be, what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import repeat
from typing import Final, Protocol, TypeVar

from eventflow.journal.contract import Pruned, Statistics
from eventflow.journal.rows import micros
from eventflow.journal.stores.schema import VERSION
from eventflow.journal.stores.statements import OWED_LIST, Session

__all__ = ["Prunable", "is_due", "prune", "statistics", "take_turn"]

T = TypeVar("T")

MICROSECOND: Final = timedelta(microseconds=1)

EVER: Final = 2**62
"""Later than any moment, in microseconds since 1970."""

CHUNK: Final = 500
"""How many runs are deleted in one transaction: others must have their turn."""

DELETABLE: Final = (
    "SELECT r.id FROM @runs r WHERE r.ended < ? AND NOT EXISTS (SELECT 1 FROM @deliveries d"  # noqa: S608 - fixed text
    f" WHERE d.run_id = r.id AND d.status IN {OWED_LIST})"
)
IDLE_OWNERS: Final = (
    "SELECT id FROM @owners WHERE ended < ? AND id NOT IN"
    " (SELECT owner FROM @runs UNION SELECT keeper FROM @runs)"
)


class Prunable(Protocol):
    """What a journal gives to be pruned with."""

    def transact(self, work: Callable[[Session], T]) -> T:
        """Do the work in a transaction of its own."""
        ...

    def read(self, work: Callable[[Session], T]) -> T:
        """Do work that changes nothing."""
        ...

    def size(self) -> int:
        """Give how many bytes are in use."""
        ...


def is_due(session: Session, every: timedelta) -> bool:
    """Whether the last pruning is longer ago than that, or lies ahead, for clocks are set back."""
    last = int(session.all("SELECT value FROM @meta WHERE name = 'pruned'")[0][0])

    return not 0 <= session.now() - last < every // MICROSECOND


def take_turn(session: Session, every: timedelta) -> bool:
    """Put the stamp of a pruning; gives False if another process just did."""
    now = session.now()
    text = "UPDATE @meta SET value = ? WHERE name = 'pruned' AND (value <= ? OR value > ?)"

    return session.run(text, (now, now - every // MICROSECOND, now)) == 1


def prune(journal: Prunable, older_than: datetime | None, max_bytes: int | None) -> Pruned:
    """Delete what is too old, then the oldest until the size fits or nothing can go."""
    gone = [(0, 0, 0)]

    def some(before: int, most: int = CHUNK) -> int:
        gone.append(journal.transact(lambda session: _delete(session, before, most)))

        return gone[-1][0]

    before = 0 if older_than is None else micros(older_than)
    if older_than is not None:
        while some(before) == CHUNK:
            pass
    while max_bytes is not None and (share := _surplus(journal, max_bytes)):
        before = EVER
        # To the first portion of which nothing can go.
        if not all(some(EVER, one) for one in _portions(share)):
            break
    runs, events, deliveries = (sum(column) for column in zip(*gone, strict=True))

    return Pruned(runs, events, deliveries, owners=_delete_owners(journal, before))


def _surplus(journal: Prunable, max_bytes: int) -> int:
    """Give how many runs have to go for the size to fit, as far as can be told from the average."""
    size = journal.size()
    if size <= max_bytes:
        return 0
    count = int(journal.read(lambda session: session.all("SELECT count(*) FROM @runs"))[0][0])

    return max(1, int(count * (1 - max_bytes / size)))


def _portions(count: int) -> Iterator[int]:
    yield from repeat(CHUNK, count // CHUNK)
    if count % CHUNK:
        yield count % CHUNK


def _delete(session: Session, before: int, most: int) -> tuple[int, int, int]:
    """Delete some of the runs that ended before a moment and owe nothing, the oldest first."""
    text = f"{DELETABLE}{session.unmoved} ORDER BY r.ended, r.id LIMIT ?"
    runs = session.all(text, (before, most))
    deliveries = sum(session.run("DELETE FROM @deliveries WHERE run_id = ?", run) for run in runs)
    events = sum(session.run("DELETE FROM @events WHERE run_id = ?", run) for run in runs)
    for run in runs:
        session.run("DELETE FROM @runs WHERE id = ?", run)

    return len(runs), events, deliveries


def _delete_owners(journal: Prunable, before: int) -> int:
    """Delete owners that ended before a moment and that no run names."""
    old = "SELECT count(*) FROM @owners WHERE ended < ?"
    if not journal.read(lambda session: session.all(old, (before,)))[0][0]:
        return 0
    # Looked for without keeping others from writing: who has ended is not named anew.
    idle = journal.read(lambda session: session.all(IDLE_OWNERS, (before,)))
    text = "DELETE FROM @owners WHERE id = ? AND ended IS NOT NULL"

    return journal.transact(lambda session: sum(session.run(text, one) for one in idle))


def statistics(session: Session, size: int) -> Statistics:
    """Give how much there is of what."""

    def count(what: str) -> int:
        return int(session.all(f"SELECT count(*) FROM {what}")[0][0])  # noqa: S608 - fixed text

    statuses = session.all("SELECT status, count(*) FROM @deliveries GROUP BY status ORDER BY 1")

    return Statistics(
        runs=count("@runs"),
        unfinished=count("@runs WHERE ended IS NULL"),
        events=count("@events"),
        deliveries={str(status): int(number) for status, number in statuses},
        owners=count("@owners"),
        alive=count("@owners WHERE ended IS NULL"),
        size=size,
        schema=VERSION,
    )
