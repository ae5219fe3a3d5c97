"""Lines that wait in memory, and the loop that commits waiting lines in groups."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Final, Protocol, TypeAlias

from eventflow.errors import JournalError
from eventflow.journal.contract import Fence, UnstorableError
from eventflow.journal.spool import GROUP, GROUP_BYTES
from eventflow.primitives.loggers import get_logger

__all__ = ["CAPACITY", "Backlog", "Source", "StatusCallback", "Store", "commit_all", "log_loss"]

StatusCallback: TypeAlias = Callable[[JournalError | None, int], None]
"""Called with the error when lines cannot be written, with None when they can be again, and with a
`StaleOwnerError` when the journal refused them; the number is how many lines are lost so far."""

CAPACITY: Final = 64 * 2**20
"""How many bytes of lines are kept in memory; beyond that, the newest lines are lost."""


class Store(Protocol):
    """What a writer needs of a journal."""

    @property
    def in_hurry(self) -> bool:
        """Whether to wait for others a moment only."""
        ...

    @in_hurry.setter
    def in_hurry(self, value: bool) -> None: ...

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        """Write lines, whole or not at all."""
        ...

    def in_transaction(self) -> bool:
        """Return whether this thread is within a hook's transaction and therefore cannot commit."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


class Source(Protocol):
    """Lines that wait to be committed, in their order."""

    def peek(self, count: int = GROUP) -> list[bytes]:
        """Return the next lines, the same ones until `advance`; an empty list at the end."""
        ...

    def advance(self) -> None:
        """Skip the lines that `peek` returned last."""
        ...


class Backlog:
    """A queue of lines in memory, of at most `capacity` bytes.

    Any thread may append; only one at a time may peek and advance. `lines` is for reading only.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = RLock()
        self.lines: deque[bytes] = deque()
        self._bytes = 0
        self._peeked = 0

    def append(self, line: bytes) -> bool:
        """Add a line; return False if there is no room for it."""
        with self._lock:
            if self._bytes + len(line) > self._capacity:
                return False
            self.lines.append(line)
            self._bytes += len(line)

        return True

    def peek(self, count: int = GROUP) -> list[bytes]:
        """Return the next lines, the same ones until `advance`; an empty list if there are none."""
        lines: list[bytes] = []
        size = 0
        # By index: an iterator fails when another thread appends a line.
        for index in range(min(count, len(self.lines))):
            line = self.lines[index]
            size += len(line)
            if lines and size > GROUP_BYTES:
                break
            lines.append(line)
        self._peeked = len(lines)

        return lines

    def advance(self) -> None:
        """Drop the lines that `peek` returned last."""
        with self._lock:
            while self._peeked:
                self._peeked -= 1
                self._bytes -= len(self.lines.popleft())


_UNLIMITED: Final = 2**63


def commit_all(
    source: Source,
    commit: Callable[[Sequence[bytes]], None],
    on_unstorable: Callable[[int, UnstorableError], None],
    limit: int = _UNLIMITED,
) -> None:
    """Commit the lines of a source in groups, at most `limit` lines.

    A line that cannot be stored is found by halving its group; `on_unstorable` is called for it,
    and it is skipped. Any other error of `commit` is raised; the lines not yet committed remain.
    """
    size = GROUP
    while lines := source.peek(min(size, limit)):
        try:
            commit(lines)
        except UnstorableError as error:
            if len(lines) > 1:
                size = len(lines) // 2
                continue
            on_unstorable(1, error)
        source.advance()
        limit -= len(lines)
        size = min(GROUP, size * 2)


def log_loss(message: str) -> None:
    """Log that lines are lost."""
    get_logger("journal").error(message)
