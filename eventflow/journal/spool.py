"""The spool: files that keep lines from the moment they are appended until they are committed.

An owner's lines go to files of its own, one `os.write` each. From then on the kernel keeps them:
they survive the death of the process, though not a loss of power. They are committed from there,
oldest file first, and each file is deleted when all of it is in the journal. What a dead owner left
is read from its folder.
On a full disk, lines that matter are written to a part of it that was reserved.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.primitives.private_files import open_file

__all__ = ["Segment", "Spool", "segments"]

SEGMENT_BYTES: Final = 64 * 2**20
"""The size at which a new file is begun."""

SPOOL_BYTES: Final = 2**30
"""How many bytes may wait for the journal in all files together."""

GROUP: Final = 10_000
"""How many lines are read together at most."""

GROUP_BYTES: Final = 8 * 2**20
"""How many bytes of lines are read together, unless a single line is longer."""

CACHED_BYTES: Final = 2**20
"""Up to which size of a file its lines are kept in memory as well."""

RESERVE_BYTES: Final = 256 * 2**10
"""How many bytes are reserved: the ends of some hundred runs, with what they owe."""

RESERVE: Final = "reserve"  # the file, until it is needed

_PREFIX: Final = "spool-"
_SUFFIX: Final = ".jsonl"
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND


class Segment:
    """One file of lines, read through its descriptor, so that a deleted file loses nothing.

    `size` is the length of its whole lines in bytes; what follows is a line that was never
    finished.
    """

    __slots__ = (
        "_cached",
        "_fd",
        "_next_cached",
        "_next_offset",
        "_offset",
        "_peeked",
        "number",
        "path",
        "size",
    )

    def __init__(self, path: Path, number: int, fd: int, size: int = 0) -> None:
        self.path = path
        self.number = number
        self.size = size
        self._fd = fd
        self._offset = 0
        self._next_offset = 0
        # All lines; None if they are too many, or were written by another process.
        self._cached: list[bytes] | None = None if size else []
        self._next_cached = 0
        self._peeked = 0

    @property
    def fd(self) -> int:
        """The descriptor; -1 after `drop` or `close`."""
        return self._fd

    def peek(self, count: int = GROUP) -> list[bytes]:
        """Return the next lines, the same ones until `advance`; an empty list at the end.

        Raises:
            OSError: the file cannot be read.
        """
        if self._fd < 0:
            return []
        if self._cached is not None:
            return self._peek_cached(self._cached, count)
        data = self._whole_lines()
        lines = data.split(b"\n", count)
        # What follows the last newline: nothing, or lines beyond the count.
        rest = lines.pop()
        self._next_offset = self._offset + len(data) - len(rest)

        return lines

    def _peek_cached(self, cached: list[bytes], count: int) -> list[bytes]:
        lines = cached[self._next_cached : self._next_cached + count]
        self._peeked = len(lines)
        self._next_offset = self._offset + sum(map(len, lines)) + len(lines)

        return lines

    def cache(self, line: bytes | None) -> None:
        """Keep the line that was written last in memory; None ends the caching of this file."""
        if self._cached is not None:
            if line is None or self.size > CACHED_BYTES:
                # `_offset` says from where on the file has to be read.
                self._cached = None
            else:
                self._cached.append(line)

    def _whole_lines(self) -> bytes:
        length = GROUP_BYTES
        while True:
            data = _read(self._fd, min(length, self.size - self._offset), self._offset)
            end = data.rfind(b"\n") + 1
            if end or len(data) < length:
                return data[:end]
            length *= 2

    def advance(self) -> None:
        """Skip the lines that `peek` returned last."""
        self._offset = self._next_offset
        self._next_cached += self._peeked
        self._peeked = 0

    def lines(self) -> Iterator[bytes]:
        """Yield the remaining lines one by one, and skip them.

        Raises:
            OSError: the file cannot be read.
        """
        while lines := self.peek():
            yield from lines
            self.advance()

    def is_deleted(self) -> bool:
        """Return whether another process has deleted the file."""
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
        """Close the file without changing it."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def _read(fd: int, length: int, offset: int) -> bytes:
    """Read that many bytes, or up to the end: a single read may return fewer."""
    parts = []
    while length > 0 and (part := os.pread(fd, length, offset)):
        parts.append(part)
        length -= len(part)
        offset += len(part)

    return parts[0] if len(parts) == 1 else b"".join(parts)


class Spool:
    """The files of the owner that this process is, in a folder that must exist.

    Not thread-safe: the caller must hold a lock, except for the methods of a `Segment`. `limit` is
    how many bytes may wait in all.
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
        self._reserves = False
        # The reserve, before it is needed, and while lines are written to it.
        self._spare = -1
        self._reserved: Segment | None = None

    def reserve(self) -> None:
        """Reserve a part of the disk, if there is room for it; else it is tried again later."""
        self._reserves = True
        # Some systems have no such call.
        with suppress(OSError, AttributeError):
            # Not to append, but to write in place: only that needs no space.
            fd = open_file(self.folder / RESERVE, os.O_CREAT | os.O_TRUNC | os.O_RDWR)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            except BaseException:
                os.close(fd)
                raise
            self._spare = fd

    def append_reserved(self, line: bytes) -> bool:
        """Write one line to what was reserved; return False if there is no room left."""
        data, written = line + b"\n", False
        try:
            segment = self._reserved or self._take_reserve()
            start = segment.size
            if start + len(data) <= RESERVE_BYTES and not segment.is_deleted():
                # First: what interrupts this call may write a line as well.
                segment.size += len(data)
                written = os.pwrite(segment.fd, data, start) == len(data)
        except OSError:
            return False
        finally:
            if not written:
                # Nothing may follow what is incomplete.
                self._reserved = None
        if written:
            segment.cache(line)
            self.size += len(data)

        return written

    def _take_reserve(self) -> Segment:
        if self._spare < 0:
            raise OSError(errno.ENOSPC, "Nothing is reserved")
        fd, self._spare = self._spare, -1
        self.rotate()
        self._find_newest()
        self.newest += 1
        path = self.folder / f"{_PREFIX}{self.newest}{_SUFFIX}"
        try:
            (self.folder / RESERVE).rename(path)
        except BaseException:
            os.close(fd)
            raise
        self._reserved = segment = Segment(path, self.newest, fd)
        self._closed.append(segment)

        return segment

    def is_complete(self, segment: Segment) -> bool:
        """Return whether all lines of the oldest file were read, and no more will come."""
        if segment is self._reserved:
            if segment.peek(1):
                return False
            self._reserved = None

        return True

    def append(self, data: bytes, line: bytes | None = None) -> None:
        """Append whole lines, each with its newline: all of them, or none.

        If `data` is a single line, `line` is the object that is returned for it when it is read.

        Raises:
            OSError: they could not be written, or too much waits already; nothing was appended.
        """
        current = self._current
        length = len(data)
        if self.size + length > self._limit:
            raise OSError(errno.ENOSPC, f"{self.size} bytes wait for the journal already")
        try:
            begins = current is None or current.size >= self._segment_bytes
            if current is None or begins:
                current = self._begin_segment()
            if os.write(current.fd, data) != length:
                _undo(current)
        except BaseException:
            self._rotate_after_failure(current)
            raise
        current.size += length
        current.cache(line)
        self.size += length
        if begins:
            # There is room. What follows comes after this line.
            self._reserved = None
            if self._reserves and self._spare < 0:
                self.reserve()

    def _begin_segment(self) -> Segment:
        self.rotate()
        self._find_newest()
        while True:
            self.newest += 1
            path = self.folder / f"{_PREFIX}{self.newest}{_SUFFIX}"
            with suppress(FileExistsError):
                segment = Segment(path, self.newest, open_file(path, _NEW))
                break
        # In one step: a signal handler may have begun a file of its own in between.
        other, self._current = self._current, segment
        if other is not None:
            self._closed.append(other)

        return segment

    def _find_newest(self) -> None:
        if self.newest == 0:
            self.newest = max((number for number, _ in _segment_files(self.folder)), default=0)

    def rotate(self) -> None:
        """Have the next line begin a new file."""
        current, self._current = self._current, None
        if current is not None:
            # An empty one as well: this call may have interrupted the write of its first line.
            self._closed.append(current)

    def _rotate_after_failure(self, segment: Segment | None) -> None:
        """Begin a new file, as nothing may follow what the failed write left at the end."""
        self.rotate()
        if segment is not None and segment.size == 0:
            with suppress(ValueError):
                self._closed.remove(segment)
            segment.drop()

    def oldest(self, newest: int) -> Segment | None:
        """Return the oldest file, which is not appended to any more.

        None if nothing waits but files with a number above `newest`.
        """
        current = self._current
        if current is not None and (not self._closed or current.is_deleted()):
            if current.number > newest:
                return None
            self.rotate()
        if self._closed and self._closed[0].number <= newest:
            return self._closed[0]

        return None

    def remove(self, segment: Segment) -> None:
        """Take the oldest file off the list after it was dropped."""
        if self._closed and self._closed[0] is segment:
            self._closed.popleft()
            self.size -= segment.size

    def close(self) -> None:
        """Close all files without changing them."""
        for segment in (*self._closed, *filter(None, [self._current])):
            segment.close()
        self._closed.clear()
        self._current = self._reserved = None
        spare, self._spare = self._spare, -1
        if spare >= 0:
            os.close(spare)


def _undo(segment: Segment) -> None:
    os.ftruncate(segment.fd, segment.size)
    raise OSError(errno.ENOSPC, "There was room for a part of a line only")


def segments(folder: Path) -> list[Segment]:
    """Return the files that a dead owner left in its folder, oldest first.

    A last line that was never finished is left out: nothing was begun because of it.

    Raises:
        OSError: the folder or a file cannot be read.
    """
    opened: list[Segment] = []
    try:
        for number, path in sorted(_segment_files(folder)):
            fd = _open(path)
            opened.append(Segment(path, number, fd, os.fstat(fd).st_size))
    except BaseException:
        for segment in opened:
            segment.close()
        raise

    return opened


def _open(path: Path) -> int:
    try:
        return open_file(path, os.O_RDWR)
    except OSError:
        # Then `drop` cannot empty it; to commit its lines once more does no harm.
        return open_file(path, os.O_RDONLY)


def _segment_files(folder: Path) -> Iterator[tuple[int, Path]]:
    for path in folder.iterdir():
        name = path.name
        number = name[len(_PREFIX) : -len(_SUFFIX)]
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX) and number.isdecimal():
            yield int(number), path
