"""Group commit: lines of many runs are committed in one transaction.

With a spool a line survives this process as soon as it is appended, and a background thread commits
it. Without one, or while it cannot be written, lines wait in memory. Where the spool is missing, or
is not enough (for another host, or for a loss of power), a publisher whose line must be durable
commits that line itself, together with all that waits, so that no other thread has to be woken.
Publishers that come in the meantime find their lines committed too.

Any method may be interrupted by a signal handler or a finalizer that calls any other. For that
reason the locks are reentrant, and the thread is woken by a `SimpleQueue`: an `Event` would
deadlock.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

from eventflow.journal.backlog import CAPACITY, Backlog, StatusCallback, Store, commit_all, log_loss
from eventflow.journal.contract import Fence, StaleOwnerError
from eventflow.journal.format import matters
from eventflow.journal.leader import CommitLeader
from eventflow.journal.spool import Segment, Spool
from eventflow.journal.status import Status
from eventflow.primitives import forks

__all__ = ["Writer"]

LINGER_SECONDS: Final = 0.02
"""How long the background thread waits for more lines before it commits a group."""

RETRY_SECONDS: Final = 0.5
"""How long the background thread waits before it tries a failed journal again."""


class Writer:
    """Commits lines in groups, in the order in which they were appended.

    Every group is committed under `fence`. With `waits=False` no publisher waits for a commit, with
    `trusts_spool=False` also those whose lines are in the spool do.
    `on_status` is called when the journal fails, and when it works again. `before_commit` is called
    before each commit, to append what is held back elsewhere. Any thread may call any method, also
    from within another one. In a forked child the writer is empty again, without the fence and the
    spool, which belong to the parent, and `forked` is set.
    """

    def __init__(
        self,
        journal: Store,
        on_status: StatusCallback,
        *,
        fence: Fence | None = None,
        waits: bool = True,
        trusts_spool: bool = True,
        spool: Spool | None = None,
        capacity: int = CAPACITY,
        before_commit: Callable[[], object] = bool,
    ) -> None:
        self.journal = journal
        self.fence = fence
        self.spool = spool
        self.forked = False
        self._on_status = on_status
        self._waits = waits
        self._trusts_spool = trusts_spool
        self._capacity = capacity
        self._before_commit = before_commit
        self._reset()
        forks.watch(self)

    def _reset(self) -> None:
        self._status = Status(self._on_status)
        self._backlog = Backlog(self._capacity)
        self._append_lock = threading.RLock()
        # Its `notify` raises unless this thread holds the lock: that is how ownership is checked.
        self._append_lock_owned = threading.Condition(self._append_lock)
        self._appending = self._kept_back = False
        self._commit_lock = threading.RLock()
        self._leader = CommitLeader(self._commit_lock)
        self._committer: int | None = None
        # How many lines were ever appended, and how many of them are committed.
        self._appended = self._committed = 0
        self._wakeups: SimpleQueue[None] = SimpleQueue()
        self._notified = False
        self._thread: threading.Thread | None = None
        self._start_lock = threading.RLock()
        self._closing = False

    @property
    def lost(self) -> int:
        """How many lines are lost: there was no room for them, or the journal refused them."""
        return self._status.lost

    @property
    def down(self) -> bool:
        """Whether the last write to the journal, or to the spool, failed."""
        return self._status.error is not None

    @property
    def kept(self) -> int:
        """How many lines are in memory only, and would be lost with this process."""
        return len(self._backlog.lines)

    @property
    def waits(self) -> bool:
        """Whether the line appended last is durable only after a `wait`."""
        return self._waits and not self._is_durable()

    # -- appending --------------------------------------------------------------------------

    def append(self, line: bytes) -> bool:
        """Add a line, to be committed after `notify` or `wait`.

        Returns True if it is in the spool, and so durable. Commits nothing, so that it may be
        called under a lock.
        """
        with self._append_lock:
            self._appended += 1
            reentrant, self._appending = self._appending, True
            try:
                spooled = self._append_to_spool(line, rotate=reentrant)
            except BaseException:
                # Interrupted: the line may be in the spool or not. A second copy does no harm.
                self._append_to_backlog(line)
                self.notify()
                raise
            finally:
                self._appending = reentrant
            if not spooled:
                self._append_to_backlog(line)

            return spooled

    def _append_to_spool(self, line: bytes, *, rotate: bool) -> bool:
        if (spool := self.spool) is None:
            return False
        # The lines in the backlog come before this one.
        if not self._backlog.lines:
            self._kept_back = False
            if rotate:
                # This call interrupted another one, which may have written a part of its line.
                spool.rotate()
            try:
                spool.append(line + b"\n", line)
            except OSError as error:
                self._status.spool_failed(spool.folder, error)
            else:
                self._status.spool_error = None
                return True
        # Only lines that do not matter are overtaken: they neither begin nor end anything.
        return not self._kept_back and matters(line) and spool.append_reserved(line)

    def notify(self) -> None:
        """Wake the writer thread; where no thread can be started, commit at once."""
        if not self._notified and not self._wake_thread() and not self._must_not_commit():
            self.flush()

    def wait(self) -> bool:
        """Return when all appended lines are durable; return False if they are not.

        Where the spool is enough, they are. While the journal is down, only the background thread
        tries again, so that no run pays for an attempt.
        """
        if self._is_durable():
            return True
        if not self._waits or self._status.journal_error is not None:
            self.notify()
            return False
        if self._must_not_commit():
            self._wake_thread()
            return False
        # The thread that commits does so for all that wait.
        appended, lost = self._appended, self.lost
        self._leader.wait(
            lambda: self._committed >= appended or self._status.journal_error is not None,
            partial(self._flush, retry=False),
        )

        return (self._committed >= appended and self.lost == lost) or self._is_durable()

    def _is_durable(self) -> bool:
        """Return whether all lines are durable without a commit."""
        return self._trusts_spool and self._is_spooled()

    def _is_spooled(self) -> bool:
        return self.spool is not None and not self._backlog.lines

    def _append_to_backlog(self, line: bytes) -> None:
        self._kept_back = self._kept_back or matters(line)
        if not self._backlog.append(line):
            self._status.overflow()

    # -- committing -------------------------------------------------------------------------

    def flush(self) -> bool:
        """Commit all lines appended before; return False if that failed.

        It also fails where this thread must not commit.
        """
        return self._flush(retry=True)

    def _flush(self, *, retry: bool) -> bool:
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
                self._committer, appended = threading.get_ident(), self._appended
                try:
                    self._before_commit()
                    if committed := self._commit_pending():
                        self._committed = appended
                finally:
                    self._committer = None
        finally:
            self._leader.wake()
        if not committed:
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
            self._append_lock_owned.notify()
        except RuntimeError:
            return False

        return True

    def _commit_pending(self) -> bool:
        try:
            self._spool_backlog()
            while not self._commit_snapshot():
                pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the lines are kept
            self._status.journal_failed(error)
        else:
            self._status.journal_error = None

        return self._status.journal_error is None

    def _commit_snapshot(self) -> bool:
        """Commit the lines there are now, and none that come later: that might never end.

        Returns False if lines were moved from memory to the spool in the meantime.
        """
        with self._append_lock:
            # One snapshot: the backlog comes after these files, but before later ones.
            spool, backlogged = self.spool, len(self._backlog.lines)
            newest = 0 if spool is None else spool.newest
        while spool is not None and (segment := self._oldest(spool, newest)) is not None:
            commit_all(segment, self._commit, self._status.discard)
            with self._append_lock:
                if not spool.is_complete(segment):
                    continue
            segment.drop()
            with self._append_lock:
                spool.remove(segment)
            # There may be room for the backlog now.
            if self._spool_backlog():
                return False
        commit_all(self._backlog, self._commit, self._status.discard, backlogged)

        return True

    def _oldest(self, spool: Spool, newest: int) -> Segment | None:
        with self._append_lock:
            return spool.oldest(newest)

    def _spool_backlog(self) -> bool:
        """Move the backlog to the spool; return True if any line was moved."""
        moved = False
        while self._backlog.lines and self._spool_group():
            moved = True

        return moved

    def _spool_group(self) -> bool:
        with self._append_lock:
            spool = self.spool
            if spool is None:
                return False
            try:
                spool.append(b"\n".join(self._backlog.peek()) + b"\n")
            except OSError as error:
                self._status.spool_failed(spool.folder, error)
                return False
            self._backlog.advance()
            self._status.spool_error = None

        return True

    def _commit(self, lines: Sequence[bytes]) -> None:
        try:
            self.journal.commit_lines(lines, self.fence)
        except StaleOwnerError as error:
            # The journal will never take them.
            self._status.refuse(len(lines), error)

    # -- the background thread --------------------------------------------------------------

    def _wake_thread(self) -> bool:
        """Wake the thread, starting it if need be; return False if it cannot be started."""
        self._notified = True
        self._wakeups.put(None)
        if self._thread is None and not self._start_thread():
            # The next call tries again.
            self._notified = False

        return self._notified

    def _start_thread(self) -> bool:
        with self._start_lock:
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
        while not self._closing:
            if self._status.journal_error is None:
                self._wakeups.get()
            self._pause(LINGER_SECONDS if self._status.journal_error is None else RETRY_SECONDS)
            # Before the flush: a line appended after it notifies again.
            self._notified = False
            try:
                self.flush()
            except BaseException as error:  # noqa: BLE001 - a callback may fail, the thread may not
                log_loss(f"Nobody could be told of the state of the journal: {error!r}")

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._closing and (remaining := end - time.monotonic()) > 0:
            with suppress(Empty):
                self._wakeups.get(timeout=remaining)

    def hurry(self) -> None:
        """Have nobody wait long for the journal, if all lines are in the spool."""
        if self._is_spooled():
            self.journal.in_hurry = True

    def close(self) -> bool:
        """Commit the remaining lines and stop the thread; return False if any line remains.

        With all of them in the spool it does not wait until others release the journal. May be
        repeated. A closed writer can still be used: it commits every line at once.
        """
        self._closing = True
        self.hurry()
        self._wakeups.put(None)
        thread = self._thread
        if thread not in (None, threading.current_thread()) and not self._is_reentrant():
            thread.join()
        self._thread = None
        atexit.unregister(self.close)
        committed = self.flush()
        self.journal.close()
        return committed

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the child resets everything, whatever the parent is doing."""

    def after_fork(self, *, child: bool) -> None:
        """Reset everything in a child: the parent writes the lines in memory and in the spool."""
        if not child:
            return
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.close()
        self.fence = None
        self.forked = True
        self._reset()
