"""How many notifications are sent: what is held back is counted in the home, and told later.

The counts are shared by all processes of the home, and outlive each of them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from eventflow.errors import StoreError
from eventflow.primitives.forks import in_children
from eventflow.primitives.private_files import open_file, refuse_foreign
from eventflow.settings import home

if TYPE_CHECKING:
    import sqlite3

__all__ = ["AGAIN_SECONDS", "Held", "Limit", "Limits", "limits_of"]

_FILE: Final = "notifications.db"
_BUSY_SECONDS: Final = 5.0

_STEP_SECONDS: Final = 5.0
"""How much a clock may be set back at a time without ending a window."""

_FORGET_SECONDS: Final = 7 * 86_400.0
"""After how long what nobody has asked for is forgotten."""

AGAIN_SECONDS: Final = 60.0
"""After how long what was held back is told again, if nobody has said that it was told."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sent (
    notifier TEXT, key TEXT, delivery TEXT, until REAL, PRIMARY KEY (notifier, key, delivery)
);
CREATE TABLE IF NOT EXISTS held (
    notifier TEXT, delivery TEXT, key TEXT, due REAL, seconds REAL, title TEXT, text TEXT,
    PRIMARY KEY (notifier, delivery)
);
CREATE TABLE IF NOT EXISTS accepted (
    notifier TEXT, delivery TEXT, place INT, at REAL, PRIMARY KEY (notifier, delivery, place)
)
"""


class Limit(NamedTuple):
    """At most so many notifications with a key in so many seconds, which begin with the first."""

    key: str
    seconds: float
    at_most: int


class Held(NamedTuple):
    """How many notifications with a key were held back within so many seconds; the last of them."""

    key: str
    number: int
    seconds: float
    title: str
    text: str


class Limits:
    """Knows what one notifier has sent, and what of it was held back.

    Every method raises `StoreError` if the file in the home cannot be used, and `HomeError` if
    there can be no home.
    """

    def __init__(self, notifier: str, clock: Callable[[], float] = time.time) -> None:
        self.notifier = notifier
        self._clock = clock
        # The windows that this process has begun, by their key and end, and what it held in them.
        self._windows: set[tuple[str, float]] = set()
        self._held: list[str] = []

    def admit(self, delivery: str, limits: Sequence[Limit], title: str, text: str) -> float | None:
        """Return None if a notification may be sent; else it is held back, and told in so long.

        The same delivery may be sent again: nobody knows whether it was.
        """
        with self._transaction() as database:
            # Not before: the times of transactions are in their order.
            now = self._clock()
            database.execute("DELETE FROM sent WHERE until <= ?", [now])
            database.execute("DELETE FROM held WHERE due <= ?", [now - _FORGET_SECONDS])
            database.execute("DELETE FROM accepted WHERE at <= ?", [now - _FORGET_SECONDS])
            sent = (self.notifier, delivery)
            of_delivery = "SELECT 1 FROM sent WHERE notifier = ? AND delivery = ?"
            if database.execute(of_delivery, sent).fetchone() is not None:
                return None
            for limit in limits:
                window = (self.notifier, limit.key, now + limit.seconds + _STEP_SECONDS)
                # Not what is to be held for longer, where the clock was set back.
                count, until = database.execute(
                    "SELECT count(*), min(until) FROM sent"
                    " WHERE notifier = ? AND key = ? AND until <= ?",
                    window,
                ).fetchone()
                if count >= limit.at_most:
                    database.execute(
                        "INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (*sent, limit.key, until, limit.seconds, title, text),
                    )
                    if (limit.key, until) in self._windows:
                        self._held.append(delivery)
                    return float(until) - now
            self._windows = {window for window in self._windows if window[1] > now}
            for limit in limits:
                self._windows.add((limit.key, now + limit.seconds))
                database.execute(
                    "INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?)",
                    (self.notifier, limit.key, delivery, now + limit.seconds),
                )

        return None

    def withdraw(self, delivery: str) -> None:
        """Note that a notification that was admitted has not been sent."""
        with self._transaction() as database:
            database.execute(
                "DELETE FROM sent WHERE notifier = ? AND delivery = ?", (self.notifier, delivery)
            )

    def take_due(self) -> list[Held]:
        """Return what was held back in windows that have ended, for this process to tell.

        It is returned again after a while, unless it is `told`.
        """
        now = self._clock()
        with self._transaction() as database:
            groups = database.execute(
                "SELECT key, count(*), seconds, title, text, max(rowid) FROM held"
                " WHERE notifier = ? AND due <= ? GROUP BY key",
                (self.notifier, now),
            ).fetchall()
            database.execute(
                "UPDATE held SET due = ? WHERE notifier = ? AND due <= ?",
                (now + AGAIN_SECONDS, self.notifier, now),
            )

        return [Held(*group[:5]) for group in groups]

    def take_own(self) -> list[Held]:
        """Return what this process has held back in windows that it has begun, ended or not."""
        if not self._held:
            return []
        now, held = self._clock(), json.dumps(self._held)
        self._held = []
        with self._transaction() as database:
            groups = database.execute(
                "SELECT key, count(*), max(1, seconds - due + ?), title, text, max(rowid) FROM held"
                " WHERE notifier = ? AND delivery IN (SELECT value FROM json_each(?)) GROUP BY key",
                (now, self.notifier, held),
            ).fetchall()

        return [Held(*group[:5]) for group in groups]

    def told(self, held: Held) -> None:
        """Forget what was held back, as it was told."""
        with self._transaction() as database:
            # Those that were held back since are not among those that wait to be told again.
            database.execute(
                "DELETE FROM held WHERE rowid IN (SELECT rowid FROM held"
                " WHERE notifier = ? AND key = ? ORDER BY rowid LIMIT ?)",
                (self.notifier, held.key, held.number),
            )

    def accept(self, delivery: str, places: Iterable[int]) -> None:
        """Note which targets have accepted a notification that others have not."""
        rows = [(self.notifier, delivery, place, self._clock()) for place in places]
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO accepted VALUES (?, ?, ?, ?)", rows)

    def accepted(self, delivery: str) -> set[int]:
        """Return which targets have accepted a notification."""
        with self._transaction() as database:
            found = database.execute(
                "SELECT place FROM accepted WHERE notifier = ? AND delivery = ?",
                (self.notifier, delivery),
            ).fetchall()

        return {place for (place,) in found}

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # noqa: PLC0415 - slow to import, and needed only to send

        path = home() / _FILE
        try:
            os.close(open_file(path, os.O_CREAT | os.O_RDWR))
            refuse_foreign(path)
            with closing(
                sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            ) as database:
                database.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                yield database
                database.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            advice = "It may be deleted: it holds nothing but what notifications were held back."
            raise StoreError(path, str(error), advice) from error


@cache
def limits_of(notifier: str) -> Limits:
    """Return what this process knows of a notifier, and of all that are alike."""
    return Limits(notifier)


# A child has begun no window.
in_children(limits_of.cache_clear)
