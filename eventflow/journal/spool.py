"""The spool: lines on their way to the journal, safe in files as soon as they are appended.

An owner's lines go to files of its own, one `os.write` each, and are with that in the kernel's
keeping: they survive the death of the process, though not a loss of power. Whoever commits takes
them from there, oldest file first, and deletes each file when it is in the journal. What a dead
owner left is read from its folder.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["Segment", "Spool", "segments"]

SEGMENT_BYTES: Final = 64 * 2**20
"""How long one file may become while the journal cannot be written."""

SPOOL_BYTES: Final = 2**30
"""How much may wait for the journal in all."""

GROUP: Final = 10_000
"""How many lines are read together at most."""

GROUP_BYTES: Final = 8 * 2**20
"""How many bytes of lines are read together, unless a single line is longer."""

KNOWN_BYTES: Final = 2**20
"""Up to which size of a file it is remembered what is in its lines."""

_PREFIX: Final = "spool-"
_SUFFIX: Final = ".jsonl"
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND


class Segment:
    """One file of lines. Read through its descriptor: a deleted file loses nothing.

    `size` is how many bytes of whole lines there are; whatever comes behind was never finished.
    """

    __slots__ = ("_fd", "_first", "_known", "_next", "_peeked", "_place", "number", "path", "size")

    def __init__(self, path: Path, number: int, fd: int, size: int = 0) -> None:
        self.path = path
        self.number = number
        self.size = size
        self._fd = fd
        self._place = 0
        self._next = 0
        # All of its lines, unless that is too many, or some are those of a process that is gone.
        self._known: list[bytes] | None = None if size else []
        self._first = 0
        self._peeked = 0

    @property
    def fd(self) -> int:
        """The descriptor, which is -1 when the segment was dropped or closed."""
        return self._fd

    def peek(self, count: int = GROUP) -> list[bytes]:
        """Give the next lines, again and again until `advance`; at the end none.

        Raises:
            OSError: the file cannot be read.
        """
        if self._fd < 0:
            return []
        if self._known is not None:
            return self._peek_known(self._known, count)
        data = self._whole_lines()
        lines = data.split(b"\n", count)
        # Behind the last newline: nothing, or what is left for the next time.
        rest = lines.pop()
        self._next = self._place + len(data) - len(rest)

        return lines

    def _peek_known(self, known: list[bytes], count: int) -> list[bytes]:
        lines = known[self._first : self._first + count]
        self._peeked = len(lines)
        self._next = self._place + sum(map(len, lines)) + len(lines)

        return lines

    def know(self, line: bytes | None) -> None:
        """Remember the line that was written last; None: it is not known."""
        if self._known is not None:
            if line is None or self.size > KNOWN_BYTES:
                # What was committed already is behind `_place`.
                self._known = None
            else:
                self._known.append(line)

    def _whole_lines(self) -> bytes:
        length = GROUP_BYTES
        while True:
            data = _read(self._fd, min(length, self.size - self._place), self._place)
            end = data.rfind(b"\n") + 1
            if end or len(data) < length:
                return data[:end]
            length *= 2

    def advance(self) -> None:
        """Go past the lines that were given last."""
        self._place = self._next
        self._first += self._peeked
        self._peeked = 0

    def groups(self) -> Iterator[list[bytes]]:
        """Give what is left, group by group, each to be committed before the next is asked for.

        Raises:
            OSError: the file cannot be read.
        """
        while lines := self.peek():
            yield lines
            self.advance()

    def lines(self) -> Iterator[bytes]:
        """Give what is left, line by line.

        Raises:
            OSError: the file cannot be read.
        """
        for group in self.groups():
            yield from group

    def is_deleted(self) -> bool:
        """Whether the file was deleted by somebody."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    def drop(self) -> None:
        """Delete the file, or empty it where the folder cannot be changed. May be repeated."""
        if self._fd < 0:
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
        self.close()

    def close(self) -> None:
        """Let go of the file, and leave it as it is."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def _read(fd: int, length: int, place: int) -> bytes:
    """Read that much, or to the end: a single read may give less."""
    parts = []
    while length > 0 and (part := os.pread(fd, length, place)):
        parts.append(part)
        length -= len(part)
        place += len(part)

    return parts[0] if len(parts) == 1 else b"".join(parts)


class Spool:
    """The files of one owner that lives, in a folder that must be there.

    One thread at a time may use it, which whoever uses it must see to; only what a `Segment` does
    by itself may go on meanwhile. `limit` is how many bytes may wait in all.
    """

    def __init__(
        self, folder: Path, *, limit: int = SPOOL_BYTES, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.folder = folder
        self.size = 0
        self.newest = 0
        self._limit = limit
        self._segment_bytes = segment_bytes
        self._current: Segment | None = None
        self._closed: deque[Segment] = deque()

    def append(self, data: bytes, line: bytes | None = None) -> None:
        """Append whole lines, each with its newline: all of them, or none.

        `line` is what is to be given for it, if it is a single one, instead of reading it again.

        Raises:
            OSError: they could not be written, or too much waits already; nothing is there.
        """
        current = self._current
        length = len(data)
        if self.size + length > self._limit:
            raise OSError(errno.ENOSPC, f"{self.size} bytes wait for the journal already")
        try:
            if current is None or current.size >= self._segment_bytes:
                current = self._begin()
            if os.write(current.fd, data) != length:
                _undo(current)
        except BaseException:
            self._abandon(current)
            raise
        current.size += length
        current.know(line)
        self.size += length

    def _begin(self) -> Segment:
        self.turn()
        if self.newest == 0:
            self.newest = max((number for number, _ in _found(self.folder)), default=0)
        while True:
            self.newest += 1
            path = self.folder / f"{_PREFIX}{self.newest}{_SUFFIX}"
            with suppress(FileExistsError):
                segment = Segment(path, self.newest, os.open(path, _NEW, 0o600))
                break
        # In one step: a signal handler may have begun a file of its own meanwhile.
        other, self._current = self._current, segment
        if other is not None:
            self._closed.append(other)

        return segment

    def turn(self) -> None:
        """Have the next line begin a new file."""
        current, self._current = self._current, None
        if current is not None:
            # Also an empty one: this may have interrupted whoever writes its first line.
            self._closed.append(current)

    def _abandon(self, segment: Segment | None) -> None:
        """Go on in a new file, as no line may come behind what is at the end of this one now."""
        self.turn()
        if segment is not None and segment.size == 0:
            with suppress(ValueError):
                self._closed.remove(segment)
            segment.drop()

    def oldest(self, newest: int) -> Segment | None:
        """Give the oldest file, to which nothing is added any more.

        None if nothing waits but what came after the file of number `newest`.
        """
        current = self._current
        if current is not None and (not self._closed or current.is_deleted()):
            if current.number > newest:
                return None
            self.turn()
        if self._closed and self._closed[0].number <= newest:
            return self._closed[0]

        return None

    def forget(self, segment: Segment) -> None:
        """Have the oldest file done with: it was dropped."""
        if self._closed and self._closed[0] is segment:
            self._closed.popleft()
            self.size -= segment.size

    def close(self) -> None:
        """Let go of all files, and leave them to whoever finds them."""
        for segment in (*self._closed, *filter(None, [self._current])):
            segment.close()
        self._closed.clear()
        self._current = None


def _undo(segment: Segment) -> None:
    os.ftruncate(segment.fd, segment.size)
    raise OSError(errno.ENOSPC, "There was room for a part of a line only")


def segments(folder: Path) -> list[Segment]:
    """Give what an owner that is dead left in its folder, oldest first.

    A last line that was never finished is left out: nothing was begun on the strength of it.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    found: list[Segment] = []
    try:
        for number, path in sorted(_found(folder)):
            fd = _opened(path)
            found.append(Segment(path, number, fd, os.fstat(fd).st_size))
    except BaseException:
        for segment in found:
            segment.close()
        raise

    return found


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR)
    except OSError:
        # It cannot be emptied then, and to commit it once more does no harm.
        return os.open(path, os.O_RDONLY)


def _found(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        name = path.name
        number = name[len(_PREFIX) : -len(_SUFFIX)]
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX) and number.isdecimal():
            yield int(number), path
