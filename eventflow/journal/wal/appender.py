"""Appends records to segments, and acknowledges hooks in them: on the way of every run.

While there is room on the disk a segment is a mapped file, and nothing here calls the system but
the taking of another segment. Without a file, records wait in memory until there is room for one.
"""

from __future__ import annotations

import threading
from itertools import count
from struct import Struct
from time import monotonic
from typing import Final, TypeAlias

from eventflow.journal.wal.segments import HEAD, Segment, nowhere
from eventflow.journal.wal.spool import SEGMENT_BYTES, Spool
from eventflow.journal.wal.status import Status, StatusCallback

__all__ = ["CAPACITY", "Appender"]

CAPACITY: Final = 64 * 2**20
"""How many bytes of records are kept in memory only; beyond that, the newest ones are lost."""

BEHIND: Final = 8
"""From how many segments on that wait for the journal no further lines of logs are recorded."""

_RUN: Final = ord("R")
_HOOKS: Final = b"SA"
"""The kinds of records that tell of hooks what is not told in the record of the run itself."""
Note: TypeAlias = tuple[Segment, int, int]
"""Where the beginning of a run was noted: the segment, the start and the end of the record."""

_store_time: Final = Struct(">Q").pack_into


class Appender:
    """The segments of one writer; each begins with the record `heading`, if there is one.

    Any thread may call any method, also from a signal handler or a finalizer that interrupts
    another call.
    """

    def __init__(
        self, on_status: StatusCallback, spool: Spool | None, heading: bytes, capacity: int
    ) -> None:
        self.spool = spool
        self._on_status = on_status
        self._heading = heading
        self._capacity = capacity
        self._reset()

    def _reset(self) -> None:
        self.lock = threading.RLock()
        """What a record is made and appended under."""
        self._status = Status(self._on_status, self.lock)
        self.segment: Segment | None = None
        """The segment that is appended to."""
        self._busy = self._saving = self._closing = False
        # Those that are not committed, oldest first, the present one among them.
        self._segments: list[Segment] = []
        # How many records were appended, and how many of them are on the disk.
        self._appended = self._synced = 0
        self.unsafe = False
        """Whether records may be in memory only."""
        self.unfinished: set[int] = set()
        """For the recorder: the runs that were recorded, and that have not ended."""
        self._owes = False
        self.line_numbers = count(1)
        """The numbers of the lines that were logged."""

    @property
    def lost(self) -> int:
        """How many records are lost: there was no room for them, or the journal refused them."""
        return self._status.lost

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the journal that the room is left to what has to be in it."""
        return len(self._segments) > BEHIND

    @property
    def kept(self) -> int:
        """How many records are in memory only, and would be lost with this process."""
        return sum(segment.kept for segment in self._segments.copy())

    def append(  # noqa: C901 - for each run: no call that can be avoided
        self, record: bytes, *, owed: bool = False, over: Note | None = None
    ) -> tuple[Segment, int]:
        """Add a record, to be committed after `notify` or `wait`; return its segment and offset.

        One that is `owed` to hooks waits for `acknowledge` up to a second before it is committed.
        It is written `over` the note of its run, if nothing was appended since then. Commits
        nothing, so that it may be called under a lock.
        """
        with (lock := self.lock):
            # First of all: what interrupts this call then takes a segment of its own.
            busy, self._busy = self._busy, True
            try:
                segment, size = self.segment, len(record)
                if over is not None and not busy:
                    self._uncover(over, size)
                if (
                    segment is None
                    or segment.end + size > len(segment.data)
                    or busy
                    or lock is not self.lock
                ):
                    segment = self._next_segment(size, lock)
                start = segment.end
                segment.end = end = start + size
                segment.data[start:end] = record
                if record[8] == _RUN:
                    if owed:
                        segment.open[start] = monotonic(), segment.runs, len(segment.others)
                    segment.runs += 1
                else:
                    segment.others.append((start, end))
                    if record[8] in _HOOKS:
                        self._owes = True
                self._appended += 1
                if not segment.mapped:
                    self._store(segment, start)
            except BaseException:
                if not busy:
                    # Interrupted: it may be there or not. A second copy does no harm.
                    self.append(record)
                raise
            finally:
                self._busy = busy

        return segment, start

    def note(self, record: bytes, told: object) -> Note | None:
        """Add the note that a run has begun, which need not be committed; return where it is.

        None if it cannot be put into a mapped file at once, beside the records that are `told`.
        """
        with (lock := self.lock):
            segment = self.segment
            if (
                segment is None
                or segment.told is not told
                or segment.end + len(record) > len(segment.data)
                or not segment.mapped
                or self._busy
                or lock is not self.lock
            ):
                return None
            self._busy = True
            try:
                start = segment.end
                segment.end = end = start + len(record)
                segment.data[start:end] = record
            finally:
                self._busy = False

        return segment, start, end

    def _uncover(self, note: Note, size: int) -> None:
        """Have a record of this size, which is larger, take the place of a note."""
        segment, start, end = note
        if (
            segment is self.segment
            and segment.end == end
            # No commit has it.
            and segment.taken <= start
            and end < start + size <= len(segment.data)
        ):
            segment.end = start

    def acknowledge(self, segment: Segment, offset: int, begun: int, done: int, at: int) -> bool:
        """Note in the record of a run how many of its hooks have begun, and how many are done.

        Returns False if the record was taken to be committed meanwhile, perhaps without this.
        """
        data = segment.data
        _store_time(data, offset + 16, at)
        data[offset + 14] = begun
        # Last of all: a process that dies in between has not done it.
        data[offset + 15] = done
        if not segment.mapped:
            with self.lock:
                segment.store_acknowledgement(offset)
        if done == data[offset + 13]:
            segment.open.pop(offset, None)

        # In this order: who commits first notes how far, and then copies.
        return offset >= segment.taken

    # -- taking segments --------------------------------------------------------------------

    def _next_segment(self, size: int, lock: threading.RLock) -> Segment:
        """Return another segment, with room for a record; from now on it is the present one."""
        if lock is not self.lock:
            # A signal handler has forked in the middle of `append`: the parent appends this.
            return nowhere(size)
        segment = self._take_file(size) or self._take_memory(size)
        if segment is None:
            self._status.overflow()
            return nowhere(size)
        self._begin(segment)

        return segment

    def _begin(self, segment: Segment) -> None:
        if heading := self._heading:
            segment.end = end = HEAD + len(heading)
            segment.data[HEAD:end] = heading
            segment.others.append((HEAD, end))
        self._segments.append(segment)
        self.segment = segment

    def _retry_spool(self) -> None:
        """Have what comes next be in a file again, if there is room for one by now."""
        if self._status.spool_error is not None and not self.unsafe:
            segment = self._take_file(0)
            if segment is not None:
                self._begin(segment)
                if not segment.mapped:
                    self._store(segment, 0)

    def _take_file(self, size: int) -> Segment | None:
        # What is in memory comes before.
        if self.spool is None or not self._save():
            return None
        try:
            segment = self.spool.take(len(self._heading) + size)
        except OSError as error:
            self._status.spool_failed(self.spool.folder, error)
            return None
        self._status.spool_error = None

        return segment

    def _take_memory(self, size: int) -> Segment | None:
        size += len(self._heading)
        segments = self._segments
        room = self._capacity - sum(segment.end for segment in segments if segment.kept)
        if room < HEAD + size:
            return None
        number = segments[-1].number + 1 if segments else 1

        return Segment(number, bytearray(max(min(SEGMENT_BYTES, room), HEAD + size)))

    def _store(self, segment: Segment, start: int) -> None:
        """Write what was appended to a segment that is not mapped, if it has a file."""
        # What interrupted the append may have written what was not yet there.
        segment.stored = min(segment.stored, start)
        if segment.fd < 0 or self.spool is None:
            self.unsafe = True
            return
        try:
            segment.store()
        except OSError as error:
            self.unsafe = True
            self._status.spool_failed(self.spool.folder, error)

    def _save(self) -> bool:
        """Write to files what is in memory only, if there is room; return whether all of it is."""
        spool = self.spool
        if spool is None or not self.unsafe or self._saving:
            return not self.unsafe
        self._saving = True
        try:
            for segment in self._segments.copy():
                if segment.kept:
                    spool.save(segment)
                if segment is self.segment and not segment.mapped:
                    # What follows can be mapped again.
                    self.segment = None
        except OSError as error:
            self._status.spool_failed(spool.folder, error)
        else:
            self.unsafe, self._status.spool_error = False, None
        finally:
            self._saving = False

        return not self.unsafe

    def _check(self, segment: Segment) -> None:
        """Append nothing more to a segment that nobody would find, or that was truncated."""
        links, size = segment.links_and_size()
        is_truncated = segment.mapped and size < len(segment.data)
        if is_truncated:
            # To touch what is not there any more would end this process.
            self._status.discard(segment.count, OSError(f"{segment.path} was truncated"))
            segment.detach()
        if segment is self.segment and (is_truncated or not links or self._closing):
            self.segment = None

    def _sync(self) -> None:
        """Have all segments survive a loss of power."""
        with self.lock:
            appended, segments = self._appended, self._segments.copy()
        try:
            for segment in segments:
                segment.sync()
        except OSError as error:
            # What was not written may count as written from now on: nothing more goes there.
            self.segment, self.unsafe = None, True
            if self.spool is not None:
                self._status.spool_failed(self.spool.folder, error)
        else:
            self._synced = appended

    def _is_left(self) -> bool:
        """Append nothing more if others find all records, and no run or hook needs more of them."""
        with self.lock:
            if self.spool is None or self.unsafe or self._owes or self.unfinished:
                return False
            for segment in self._segments:
                links, size = segment.links_and_size()
                if segment.open or not links or size < segment.end:
                    return False
            self.segment = None
            self.spool.close()

        return self._appended > 0

    # -- forks ------------------------------------------------------------------------------

    def _detach(self) -> None:
        """Leave all segments to the parent of this forked child."""
        for segment in self._segments:
            segment.detach()
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.leave()
