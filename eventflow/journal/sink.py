"""What records are written to in the name of an owner, as the recorders of its buses use it."""

from __future__ import annotations

from typing import Final, Protocol

from eventflow.errors import JournalError
from eventflow.hooks.sets import Guard
from eventflow.journal.contract import Fence, Journal
from eventflow.journal.records import FIELDS
from eventflow.journal.wal.turns import Turns
from eventflow.journal.wal.writer import Writer
from eventflow.primitives.loggers import get_logger

__all__ = ["Numbers", "OpenRunsRecorder", "RecordSink", "log_failure"]


NUMBERED: Final = 10_000
"""Of how many definitions the numbers are kept, to be used again."""

MOST: Final = 10 ** FIELDS["number"][1] - 1
"""The highest number that a definition can have in a record."""


class Numbers:
    """The numbers of the definitions of one owner."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], int] = {}
        self._last = 0

    def of(self, definition: tuple[object, ...]) -> int:
        """Return the number of a definition of these facts.

        Raises:
            JournalError: there are no more numbers.
        """
        number = self._known.get(definition)
        if number is None:
            if len(self._known) >= NUMBERED:
                # Those that come again get another number, which tells the same.
                self._known.clear()
            if self._last >= MOST:
                raise JournalError(
                    f"This process has used {MOST} definitions with different options or tags, "
                    "more than the journal can tell apart; restart it to have the runs of further "
                    "ones recorded."
                )
            number = self._known[definition] = self._last = self._last + 1

        return number


class OpenRunsRecorder(Protocol):
    """Writes, when it is asked to, the runs that have not ended."""

    def record_open_runs(self) -> None:
        """Write the transitions of runs that have not ended, and that no record holds yet."""
        ...

    def continue_from(self, owner: str) -> None:
        """Write the open runs of a former owner anew that nobody else has."""
        ...


class RecordSink(Protocol):
    """Where records are written in the name of an owner."""

    @property
    def journal(self) -> Journal:
        """The journal that the records are committed to."""
        ...

    @property
    def owner(self) -> str:
        """The id of the owner."""
        ...

    @property
    def begun(self) -> bool:
        """Whether `begin` was called."""
        ...

    @property
    def guarding(self) -> Guard | None:
        """What guards the hooks of the owner, if anything can."""
        ...

    @property
    def has_workers(self) -> bool:
        """Whether other processes can read the journal, so that hooks are left to workers."""
        ...

    @property
    def turns(self) -> Turns:
        """What a record is made and appended under, so that its owner stays the same; reentrant."""
        ...

    @property
    def writer(self) -> Writer:
        """What the records are appended to: another one for each owner."""
        ...

    def begin(self) -> None:
        """Set the owner up, before its first record."""
        ...

    @property
    def numbers(self) -> Numbers:
        """The numbers of definitions, in the records of the owner."""
        ...

    def register(self, recorder: OpenRunsRecorder) -> None:
        """Have a recorder write the runs that have not ended before each commit."""
        ...

    def flush(self) -> bool:
        """Commit all records; return False if that failed."""
        ...

    def fence(self) -> Fence:
        """Return the fence under which the owner writes."""
        ...


def log_failure(what: str, error: Exception) -> None:
    """Log that something could not be recorded."""
    get_logger("journal").error(f"{what} could not be recorded", exc_info=error)
