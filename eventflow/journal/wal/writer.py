"""Group commit: records of many runs are appended to segments, and committed in one transaction.

In a segment that is a file, a record survives this process as soon as it is appended, and a
background thread commits it. Where that is not enough, or there is no file, a publisher whose
record must be durable waits: for the disk, or for a commit. One of those that wait does it for all,
so that no other thread has to be woken.

Any method may be interrupted by a signal handler or a finalizer that calls any other. For that
reason the locks are reentrant, and the thread is woken by a `SimpleQueue`: an `Event` would
deadlock.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, Literal, Protocol, TypeAlias

from eventflow.journal.contract import Group, StaleOwnerError, UnstorableError
from eventflow.journal.wal.appender import CAPACITY, Appender
from eventflow.journal.wal.leader import CommitLeader
from eventflow.journal.wal.segments import Segment
from eventflow.journal.wal.spool import Spool, commit_in_parts
from eventflow.journal.wal.status import StatusCallback, log_loss
from eventflow.primitives import forks

__all__ = ["Durable", "Store", "Writer"]

LINGER_SECONDS: Final = 0.02
"""How long the background thread waits for more records before it commits a group."""

RETRY_SECONDS: Final = 0.5
"""How long the background thread waits before it tries a failed journal again."""

Durable: TypeAlias = Literal["kept", "appended", "flushed", "committed"]
"""When a publisher may go on: at once; when its record is in a file, which survives this process;
on the disk, which survives a loss of power; in the journal, which survives this host."""


class Store(Protocol):
    """What a writer needs of a journal."""

    @property
    def in_hurry(self) -> bool:
        """Whether to wait for others a moment only."""
        ...

    @in_hurry.setter
    def in_hurry(self, value: bool) -> None: ...

    def commit(self, group: Group) -> None:
        """Write records, whole or not at all."""
        ...

    def in_transaction(self) -> bool:
        """Return whether this thread is within a hook's transaction and therefore cannot commit."""
        ...

    def close(self) -> None:
        """Close files and connections."""
        ...


class Writer(Appender):
    """Appends records to segments, and commits them in groups, in their order.

    `durable` says what a publisher waits for. Each segment begins with the record `heading`, if
    there is one. `on_status` is called when the journal fails, and when it works again;
    `before_commit` before each commit, to append what is held back elsewhere. Any thread
    may call any method, also from within another one. In a forked child the writer is empty again,
    without the spool, which belongs to the parent.
    """

    def __init__(
        self,
        journal: Store,
        on_status: StatusCallback,
        *,
        durable: Durable = "appended",
        spool: Spool | None = None,
        heading: bytes = b"",
        capacity: int = CAPACITY,
        before_commit: Callable[[], object] = bool,
    ) -> None:
        self.journal = journal
        self.durable = durable
        self._before_commit = before_commit
        super().__init__(on_status, spool, heading, capacity)
        forks.watch(self)

    def _reset(self) -> None:
        super()._reset()
        # Its `notify` raises unless this thread holds the lock: that is how ownership is checked.
        self._lock_owned = threading.Condition(self.lock)
        self._commit_lock = threading.RLock()
        self._committers, self._syncers = CommitLeader(self._commit_lock), CommitLeader()
        self._committer: int | None = None
        # How many records are committed, of all that were appended.
        self._committed = 0
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self.notified = False
        """Whether the thread will commit what is appended now without another `notify`."""
        self._thread: threading.Thread | None = None

    @property
    def down(self) -> bool:
        """Whether the last write to the journal, or to the spool, failed."""
        return self._status.error is not None

    @property
    def waits(self) -> bool:
        """Whether the record appended last is durable only after a `wait`."""
        return self.durable != "kept" and (self.unsafe or self.durable != "appended")

    # -- waiting ----------------------------------------------------------------------------

    def notify(self) -> None:
        """Wake the writer thread; where no thread can be started, commit at once."""
        if not self.notified and not self._wake_thread() and not self._must_not_commit():
            self.flush()

    def wait(self) -> bool:
        """Return when all appended records are durable; return False if they are not.

        While the journal is down, only the background thread tries again, so that no run pays for
        an attempt.
        """
        if not self.waits:
            return True
        appended, lost = self._appended, self.lost
        if self.durable == "flushed" and not (self.unsafe or self._is_reentrant()):
            self.notify()
            self._syncers.wait(lambda: self._synced >= appended or self.unsafe, self._sync)
            if not self.unsafe:
                return True
        if self._status.journal_error is not None:
            self.notify()
            return self._is_safe()
        if self._must_not_commit():
            self._wake_thread()
            return False
        # The thread that commits does so for all that wait.
        self._committers.wait(
            lambda: self._committed >= appended or self._status.journal_error is not None,
            partial(self._flush, retry=False),
        )

        return (self._committed >= appended and self.lost == lost) or self._is_safe()

    def _is_safe(self) -> bool:
        return self.durable == "appended" and not self.unsafe

    # -- committing -------------------------------------------------------------------------

    def flush(self) -> bool:
        """Commit all records appended before; return False if that failed.

        It also fails where this thread must not commit.
        """
        return self._flush(retry=True)

    def _flush(self, *, retry: bool, everything: bool = True) -> bool:
        if self._must_not_commit():
            self._wake_thread()
            return False
        lost = self.lost
        try:
            with self._commit_lock:
                if self._committer is not None or (
                    self._status.journal_error is not None and not retry
                ):
                    return False
                self._committer = threading.get_ident()
                try:
                    committed = self._commit_pending(everything=everything)
                finally:
                    self._committer = None
        finally:
            self._committers.wake()
        if not committed and self._status.journal_error is not None:
            self._wake_thread()
        self._status.report()
        return committed and self.lost == lost

    def _must_not_commit(self) -> bool:
        """Return whether this thread is in a method of this writer, or in a hook's transaction."""
        return self._is_reentrant() or self.journal.in_transaction()

    def _is_reentrant(self) -> bool:
        """Return whether this call interrupted a commit or an append of the same thread."""
        if self._committer == threading.get_ident():
            return True
        try:
            self._lock_owned.notify()
        except RuntimeError:
            return False

        return True

    def _commit_pending(self, *, everything: bool) -> bool:
        try:
            self._before_commit()
            with self.lock:
                # No call of this thread is interrupted: a mark is one that an interrupt has left.
                self._busy = False
                self._save()
                appended, segments = self._appended, self._segments.copy()
            # Not those that come later: that might never end.
            committed = all(
                self._commit_segment(segment, everything=everything) for segment in segments
            )
            if not self._closing:
                with self.lock:
                    self._retry_spool()
        except Exception as error:  # noqa: BLE001 - whatever it is, the records are kept
            self._status.journal_failed(error)
            return False
        self._status.journal_error = None
        if committed:
            self._committed = appended

        return committed

    def _commit_segment(self, segment: Segment, *, everything: bool) -> bool:
        """Commit what a segment has; return False if some of it waits for its hooks."""
        with self.lock:
            self._check(segment)
            # A signal handler or a finalizer has to append elsewhere meanwhile.
            self._busy = True
            try:
                group, end = segment.take(everything=everything), segment.end
                self._owes |= segment.late
            finally:
                self._busy = False
        if group is not None:
            self._commit_group(group)
        with self.lock:
            segment.advance()
            committed = segment.committed >= end
            left = segment is not self.segment and segment.committed == segment.end
            if left:
                self._segments.remove(segment)
            self.unsafe = self.unsafe and self.kept > 0
        if left and self.spool is not None:
            if not (segment.late or self._closing):
                segment.clear()
            with self.lock:
                self.spool.give_back(segment, keep=not self._closing)

        return committed

    def _commit_group(self, group: Group) -> None:
        unstorable: list[UnstorableError] = []
        try:
            commit_in_parts(group, self.journal.commit, unstorable.append)
        except StaleOwnerError as error:
            # The journal will never take them.
            others = sum(kind != "O" for kind, _ in group.others)
            self._status.refuse(group.runs + others, error)
        # Not before all others are committed: otherwise they would be counted once more.
        for problem in unstorable:
            self._status.discard(1, problem)

    # -- the background thread --------------------------------------------------------------

    def _wake_thread(self) -> bool:
        """Wake the thread, starting it if need be; return False if it cannot be started."""
        self.notified = True
        self._wakeups.put(None)
        if self._thread is None and not self._start_thread():
            # The next call tries again.
            self.notified = False
            return False

        return True

    def _start_thread(self) -> bool:
        with self.lock:
            if self._thread is None and not self._closing:
                thread = threading.Thread(target=self._run, name="eventflow-journal", daemon=True)
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    # At the end of the process, or beyond its limit, there are no new threads.
                    self._thread = None
                else:
                    atexit.register(self.close)

            return self._thread is not None

    def _run(self) -> None:
        idle = True
        while not self._closing:
            if idle:
                self._wakeups.get()
            failed = self._status.journal_error is not None
            if not self._pause(RETRY_SECONDS if failed else LINGER_SECONDS):
                return
            # Before the flush: a record appended after it notifies again.
            self.notified = False
            idle = False
            try:
                # Otherwise the journal failed, or hooks still run.
                idle = self._flush(retry=True, everything=False)
            except BaseException as error:  # noqa: BLE001 - a callback may fail, the thread may not
                log_loss(f"Nobody could be told of the state of the journal: {error!r}")

    def _pause(self, seconds: float) -> bool:
        """Wait so many seconds; return False at once if the writer is closed."""
        end = time.monotonic() + seconds
        while not self._closing and (remaining := end - time.monotonic()) > 0:
            with suppress(Empty):
                self._wakeups.get(timeout=remaining)

        return not self._closing

    def hurry(self) -> None:
        """Have nobody wait long for the journal, if all records are in files."""
        if self.spool is not None and not self.unsafe:
            self.journal.in_hurry = True

    def close(self) -> bool:
        """Commit the remaining records and stop the thread; return False if any record remains.

        With all of them in files it does not wait until others release the journal. May be
        repeated. A closed writer can still be used: it commits every record at once.
        """
        self._stop_thread()
        committed = self.retire()
        self.journal.close()
        return committed

    def retire(self) -> bool:
        """Commit the remaining records, and have the thread end by itself; return as `close`.

        For an owner that has another writer by now: any thread may call it, also this one's own.
        """
        self._closing = True
        self._wakeups.put(None)
        atexit.unregister(self.close)
        committed = self.flush()
        if self.spool is not None:
            with self.lock:
                self.spool.close()

        return committed

    def leave(self) -> bool:
        """Stop the thread, and leave all records in their files; return False if that cannot be.

        It can be if others find the files there, and nothing is left to do for a run or a hook:
        whoever takes the records in then need not know more than how to commit them.
        """
        if self.spool is None or self.durable == "committed" or self._is_reentrant():
            return False
        self._stop_thread()
        try:
            self._before_commit()
        except Exception:  # noqa: BLE001 - to commit reports it
            return False
        if self.durable == "flushed":
            self._sync()

        return self._is_left()

    def _stop_thread(self) -> None:
        self._closing = True
        self.hurry()
        self._wakeups.put(None)
        thread = self._thread
        if thread not in (None, threading.current_thread()) and not self._is_reentrant():
            thread.join()
        self._thread, self.notified = None, False
        atexit.unregister(self.close)

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the child resets everything, whatever the parent is doing."""

    def after_fork(self, *, child: bool) -> None:
        """Reset everything in a child: the parent writes what it has appended."""
        if not child:
            return
        self._detach()
        self._reset()
