"""Lines that wait in memory, and how lines get from where they wait into the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Final, Protocol, TypeAlias

from eventflow.errors import JournalError
from eventflow.journal.contract import Fence, UnstorableError
from eventflow.journal.spool import GROUP, GROUP_BYTES
from eventflow.primitives.loggers import get_logger

__all__ = ["CAPACITY", "Backlog", "Source", "Store", "Trouble", "commit_all", "say"]

Trouble: TypeAlias = Callable[[JournalError | None, int], None]
"""Told of the error when lines cannot be written, of None when they can be again; of a
`StaleOwnerError` when it was refused; and each time how many lines are lost for good so far."""

CAPACITY: Final = 64 * 2**20
"""How many bytes of lines are kept in memory; beyond, the newest are lost."""


class Store(Protocol):
    """What a writer needs of a journal."""

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        """Write lines, whole or not at all."""
        ...

    def engaged(self) -> bool:
        """Whether this thread keeps the journal, and therefore cannot commit."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class Source(Protocol):
    """Where lines wait, in their order."""

    def peek(self, count: int = GROUP) -> list[bytes]:
        """Give the next lines, again and again until `advance`; at the end none."""
        ...

    def advance(self) -> None:
        """Go past the lines that were given last."""
        ...


class Backlog:
    """Lines in memory, of at most `capacity` bytes. Many may put them, one may take them.

    `lines` is there to be looked at.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = RLock()
        self.lines: deque[bytes] = deque()
        self._bytes = 0
        self._peeked = 0

    def put(self, line: bytes) -> bool:
        """Add a line; says whether there was room for it."""
        with self._lock:
            if self._bytes + len(line) > self._capacity:
                return False
            self.lines.append(line)
            self._bytes += len(line)

        return True

    def peek(self, count: int = GROUP) -> list[bytes]:
        """Give the next lines, again and again until `advance`; if there are none, none."""
        lines: list[bytes] = []
        size = 0
        # One by one: an iterator breaks when a line is added meanwhile.
        for place in range(min(count, len(self.lines))):
            line = self.lines[place]
            size += len(line)
            if lines and size > GROUP_BYTES:
                break
            lines.append(line)
        self._peeked = len(lines)

        return lines

    def advance(self) -> None:
        """Go past the lines that were given last."""
        with self._lock:
            while self._peeked:
                self._peeked -= 1
                self._bytes -= len(self.lines.popleft())


_NO_END: Final = 2**63


def commit_all(
    source: Source,
    commit: Callable[[Sequence[bytes]], None],
    refused: Callable[[int, UnstorableError], None],
    left: int = _NO_END,
) -> None:
    """Commit what a source holds, at most `left` lines of it, in groups.

    A line that cannot be stored is looked for by halving its group, handed to `refused` and left
    behind. Whatever else `commit` raises ends it; what was not committed waits as before.
    """
    size = GROUP
    while lines := source.peek(min(size, left)):
        try:
            commit(lines)
        except UnstorableError as error:
            if len(lines) > 1:
                size = len(lines) // 2
                continue
            refused(1, error)
        source.advance()
        left -= len(lines)
        size = min(GROUP, size * 2)


def say(what: str) -> None:
    """Say in the log what is lost."""
    get_logger("journal").error(what)
