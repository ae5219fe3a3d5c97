"""Segments: what holds the records of a process from their appending until they are committed.

A segment is a file of fixed size that is mapped into memory, so that to append a record, or to
acknowledge a hook in its head, is to store bytes: no system call, and what is stored survives the
process. It begins with a head of 64 bytes: a magic text, and at 32 up to where it is committed
(8 bytes, big-endian). Records follow, then zeros. Where a file cannot be mapped, or there is none,
the bytes are kept in a `bytearray` of the same layout.

A mapped file must never become shorter: the system ends a process (SIGBUS) that touches what is not
there any more. Nothing here truncates a file. If somebody else does, the records in it are lost,
and the process is ended if it appends to it before that is noticed, at the next commit. A file that
somebody deletes costs nothing, unless the process dies before its records are committed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from mmap import mmap
from pathlib import Path
from time import monotonic
from typing import Any, Final

from eventflow.journal.contract import Group, decoded
from eventflow.journal.records import Record

__all__ = ["COMMITTED", "HEAD", "MAGIC", "OPEN_SECONDS", "Segment", "nowhere"]

HEAD: Final = 64
"""How many bytes of a segment come before its first record."""

MAGIC: Final = b"eventflow segment 1\n"
"""What a segment begins with; the number is the version of its layout."""

COMMITTED: Final = 32
"""Where the head says up to where the segment is committed."""

OPEN_SECONDS: Final = 1.0
"""How long a record whose hooks still run keeps later records from being committed."""

_ZEROS: Final = memoryview(bytes(2**16))


class Segment:
    """A segment of this process. All but acknowledging needs the lock of its writer.

    `data` holds the bytes, in the file itself if it is `mapped`; otherwise the file, if there is
    one, has the bytes up to `stored`. Up to `end` records were appended, up to `taken` they were
    read to be committed, and up to `committed` the journal has them.
    """

    def __init__(
        self, number: int, data: mmap | bytearray, *, fd: int = -1, path: Path | None = None
    ) -> None:
        self.data: Any = data
        self.mapped = isinstance(data, mmap)
        self.fd = fd
        self.path = path
        self.stored = 0
        self.begin(number)

    def begin(self, number: int) -> None:
        """Begin with no record, under a new number."""
        self.number = number
        self.runs = 0
        """How many records are about a run."""
        self.others: list[tuple[int, int]] = []
        """Where the other records begin and end."""
        self.open: dict[int, tuple[float, int, int]] = {}
        """Of each record whose hooks still run, by its offset: since when, how many precede it."""
        self.told: set[object] = set()
        """For the recorder: what it need not record again in this segment."""
        self.late = False
        """Whether a record was taken while its hooks ran: it may be acknowledged at any time."""
        self.end = self.taken = self.committed = HEAD
        self._before = self._next = (HEAD, 0, 0)
        self._synced = 0
        self.data[: len(MAGIC)] = MAGIC
        self.data[COMMITTED : COMMITTED + 8] = HEAD.to_bytes(8, "big")

    @property
    def count(self) -> int:
        """How many of its records are not committed."""
        _, runs, others = self._before

        return self.runs - runs + len(self.others) - others

    @property
    def kept(self) -> int:
        """How many of these are in memory only."""
        return 0 if self.mapped or self.stored >= self.end else self.count

    def links_and_size(self) -> tuple[int, int]:
        """Return how many names the file has, by which others find it, and its size.

        Without a file: as if nothing had happened to it.
        """
        if self.fd < 0:
            return 1, len(self.data)
        status = os.fstat(self.fd)

        return status.st_nlink, status.st_size

    # -- committing -------------------------------------------------------------------------

    def take(self, *, everything: bool) -> Group | None:
        """Return the records to be committed next, again and again until `advance`.

        None if there are none. Unless `everything` is asked for, the first record whose hooks have
        been running for less than a second is not among them, nor what follows.
        """
        end, runs, others = self.end, self.runs, len(self.others)
        latest = monotonic() - OPEN_SECONDS
        # A copy: publishers acknowledge without the lock.
        for offset, (since, *before) in self.open.copy().items():
            if since > latest and not everything:
                end, (runs, others) = offset, before
                break
            self.late = True
            self.open.pop(offset, None)
        # In this order: a publisher stores first, and then looks whether that was early enough.
        self.taken = end
        self._next = end, runs, others
        start, runs_before, others_before = self._before
        if start == end:
            return None
        places = self.others[others_before:others]

        return Group(
            bytes(self.data[start:end]),
            runs - runs_before,
            decoded(self.data, (Record(chr(self.data[at + 8]), at, end) for at, end in places)),
        )

    def advance(self) -> None:
        """Note that the journal has the records that `take` returned last."""
        self._before = self._next
        self.committed = self._before[0]
        noted = self.committed.to_bytes(8, "big")
        self.data[COMMITTED : COMMITTED + 8] = noted
        if not self.mapped and self.fd >= 0 and self.stored:
            # If that fails, records may be committed twice, which changes nothing.
            with suppress(OSError):
                os.pwrite(self.fd, noted, COMMITTED)

    # -- the file ---------------------------------------------------------------------------

    def store(self) -> None:
        """Write to the file what it does not have yet, where it is not mapped.

        Raises:
            OSError: not all of it could be written.
        """
        data = memoryview(self.data)
        while self.stored < self.end:
            start = self.stored
            written = os.pwrite(self.fd, data[start : self.end], start)
            if not written:
                raise OSError(f"Nothing more can be written to {self.path}")
            # What interrupted this call may have written all of it.
            self.stored = max(self.stored, start + written)

    def store_acknowledgement(self, offset: int) -> None:
        """Write to the file what was acknowledged in a record, where it is not mapped."""
        if self.fd >= 0 and self.stored > offset:
            # If that fails, a recovery may call a hook once more.
            with suppress(OSError):
                os.pwrite(self.fd, self.data[offset + 13 : offset + 24], offset + 13)

    def sync(self) -> None:
        """Have all records that were appended survive a loss of power.

        Raises:
            OSError: that is not sure.
        """
        number, end = self.number, self.end
        if self._synced < end and self.committed < end:
            if self._synced == 0 and self.path is not None:
                for folder in (*self.path.parents,)[:3]:
                    _sync_folder(folder)
            getattr(os, "fdatasync", os.fsync)(self.fd)
            # It may have been committed meanwhile, and begun again.
            if number == self.number:
                self._synced = end

    def clear(self) -> None:
        """Overwrite all records with zeros, little by little: this holds the interpreter's lock."""
        for start in range(HEAD, self.end, len(_ZEROS)):
            end = min(start + len(_ZEROS), self.end)
            self.data[start:end] = _ZEROS[: end - start]

    def close(self, *, delete: bool = False) -> None:
        """Close the file, and delete it. A mapping lasts as long as somebody refers to this."""
        if delete and self.path is not None:
            # Where that is refused, its head says that all of it is committed.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def detach(self) -> None:
        """Forget all records and leave the file: what is stored here from now on goes nowhere.

        In a forked child, whose parent has the file; and where somebody has truncated it.
        """
        self.close()
        self.data, self.mapped = bytearray(len(self.data)), True
        self.begin(self.number)


def nowhere(size: int) -> Segment:
    """Return a segment with room for so many bytes of records, which nobody will commit."""
    segment = Segment(0, bytearray(HEAD + size))
    segment.detach()

    return segment


def _sync_folder(folder: Path) -> None:
    # Not every system can open a folder, or needs that.
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
