"""Group commit: lines of many runs in one transaction, made by whoever cannot wait.

With a spool a line is safe as soon as it is put: a background thread commits what is there. Where
there is none, or it cannot be written, lines wait in memory; a line that must be durable before
its publisher goes on is then committed by the publisher itself, together with all that was
waiting, so that no thread is changed on the way. Publishers that come meanwhile find their lines
committed by the one that came first.

Any method may be interrupted by a signal handler or a finalizer that calls any other. That is why
the locks are reentrant and the bell is a `SimpleQueue`: an `Event` would deadlock.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final

from eventflow.errors import JournalError
from eventflow.journal.backlog import CAPACITY, Backlog, Store, Trouble, commit_all, say
from eventflow.journal.contract import Fence, StaleOwnerError
from eventflow.journal.leader import CommitLeader
from eventflow.journal.spool import Segment, Spool
from eventflow.primitives import forks

__all__ = ["Trouble", "Writer"]


LINGER_SECONDS: Final = 0.02
"""How long the background thread lets a group gather."""

RETRY_SECONDS: Final = 0.5
"""How often a journal that failed is tried again."""


class Writer:
    """Collects lines and commits them in groups, in the order in which they came.

    `fence` is put on every group. With `waits=False` nobody waits for a commit. `before` is called
    before each, to put what is not put yet. All methods may be called from any thread, also from
    within one another. In a forked child it begins anew with `forked` set, without fence and spool,
    which are its parent's.
    """

    def __init__(
        self,
        journal: Store,
        troubled: Trouble,
        *,
        fence: Fence | None = None,
        waits: bool = True,
        spool: Spool | None = None,
        capacity: int = CAPACITY,
        before: Callable[[], object] = bool,
    ) -> None:
        self.journal = journal
        self.fence = fence
        self.spool = spool
        self.forked = False
        self._troubled = troubled
        self._waits = waits
        self._capacity = capacity
        self._before = before
        self._begin()
        forks.watch(self)

    def _begin(self) -> None:
        self.lost = 0
        self._backlog = Backlog(self._capacity)
        self._putting = threading.RLock()
        # Tells, by refusing to notify, whether this thread holds the lock.
        self._put_by_me = threading.Condition(self._putting)
        self._midway = False
        self._committing = threading.RLock()
        self._turns = CommitLeader(self._committing)
        self._committer: int | None = None
        # How many lines were kept in memory, and how many of them are gone from there.
        self._placed = self._passed = 0
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        self._closing = False
        self._error: JournalError | None = None
        self._spool_error: JournalError | None = None
        self._told = False
        self._overflowed = False
        self._refusals: deque[JournalError] = deque()

    @property
    def down(self) -> bool:
        """Whether the journal, or the spool, could not be written the last time."""
        return self._error is not None or self._spool_error is not None

    @property
    def kept(self) -> int:
        """How many lines are in memory only, to be lost with this process."""
        return len(self._backlog.lines)

    @property
    def waits(self) -> bool:
        """Whether what was put last is durable only after a `wait`."""
        return self._waits and not self._is_spooled()

    # -- putting ----------------------------------------------------------------------------

    def put(self, line: bytes) -> bool:
        """Keep a line until `ring` or `wait`; says whether it is in the spool, and so durable.

        Commits nothing, so that it may be called under a lock.
        """
        with self._putting:
            spool = self.spool
            # What waits in memory came before.
            if spool is None or self._backlog.lines:
                self._keep(line)
                return False
            midway, self._midway = self._midway, True
            try:
                if midway:
                    # This interrupted another one: who knows how far that came in its file?
                    spool.turn()
                spool.append(line + b"\n", line)
            except OSError as error:
                self._keep(line)
                self._spool_failed(error)
                return False
            except BaseException:
                # Interrupted from outside. Twice in the journal is once, but lost is lost.
                self._keep(line)
                self.ring()
                raise
            finally:
                self._midway = midway
            self._spool_error = None
            return True

    def ring(self) -> None:
        """Have the thread come, or, where there can be none, write at once."""
        if not self._rung and not self._summon() and not self._is_hindered():
            self.flush()

    def wait(self) -> bool:
        """Come back when all that was put is durable; says whether it is.

        With a spool it is already. Where the journal is down, only the background thread tries
        it: a run must not pay for each attempt.
        """
        if self._is_spooled():
            return True
        if not self._waits or self._error is not None:
            self.ring()
            return False

        if self._is_hindered():
            self._summon()
            return False
        # Whoever commits does it for all who wait.
        placed, lost = self._placed, self.lost
        self._turns.wait(
            lambda: self._passed >= placed or self._error is not None,
            partial(self._flush, patient=False),
        )

        return (self._passed >= placed and self.lost == lost) or self._is_spooled()

    def _is_spooled(self) -> bool:
        return self.spool is not None and not self._backlog.lines

    def _keep(self, line: bytes) -> None:
        self._placed += 1
        if not self._backlog.put(line):
            self.lost += 1
            self._overflowed = True

    def _spool_failed(self, error: OSError) -> None:
        folder = None if self.spool is None else self.spool.folder
        self._spool_error = JournalError(
            f"The spool of the journal in {folder} cannot be written: {error}."
        )

    # -- committing -------------------------------------------------------------------------

    def flush(self) -> bool:
        """Have all that was put before in the journal; says whether that worked.

        It does not if the journal cannot be written, or must not be from here.
        """
        return self._flush(patient=True)

    def _flush(self, *, patient: bool) -> bool:
        if self._is_hindered():
            self._summon()
            return False
        lost = self.lost
        try:
            with self._committing:
                if self._committer is not None or (self._error is not None and not patient):
                    return False
                self._committer, placed = threading.get_ident(), self._placed
                try:
                    self._before()
                    if done := self._write_all():
                        self._passed = placed
                finally:
                    self._committer = None
        finally:
            self._turns.wake()
        if not done:
            self._summon()
        self._tell()
        return done and self.lost == lost

    def _is_hindered(self) -> bool:
        """Whether others must commit, as this thread keeps the journal or is at work here."""
        return self._is_at_work() or self.journal.engaged()

    def _is_at_work(self) -> bool:
        """Whether this thread is in the middle of a commit or of putting a line."""
        if self._committer == threading.get_ident():
            return True
        try:
            self._put_by_me.notify()
        except RuntimeError:
            return False

        return True

    def _write_all(self) -> bool:
        try:
            self._move()
            while not self._commit_present():
                pass
        except JournalError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the lines are kept
            self._error = JournalError(f"The journal cannot be written: {error!r}.")
        else:
            self._error = None

        return self._error is None

    def _commit_present(self) -> bool:
        """Commit what there is now: nobody must write for others for ever.

        Gives False when lines were moved from memory to the spool on the way.
        """
        with self._putting:
            # Seen at once: what is in memory now comes behind these files, but before later ones.
            spool, left = self.spool, len(self._backlog.lines)
            newest = 0 if spool is None else spool.newest
        while spool is not None and (segment := self._oldest(spool, newest)) is not None:
            commit_all(segment, self._commit, self._drop)
            segment.drop()
            with self._putting:
                spool.forget(segment)
            # Now there may be room for what waits in memory.
            if self._move():
                return False
        commit_all(self._backlog, self._commit, self._drop, left)

        return True

    def _oldest(self, spool: Spool, newest: int) -> Segment | None:
        with self._putting:
            return spool.oldest(newest)

    def _move(self) -> bool:
        """Have what waits in memory in the spool instead; says whether any of it is now."""
        moved = False
        while self._backlog.lines and self._move_some():
            moved = True

        return moved

    def _move_some(self) -> bool:
        with self._putting:
            spool = self.spool
            if spool is None:
                return False
            try:
                spool.append(b"\n".join(self._backlog.peek()) + b"\n")
            except OSError as error:
                self._spool_failed(error)
                return False
            self._backlog.advance()
            self._spool_error = None

        return True

    def _commit(self, lines: Sequence[bytes]) -> None:
        try:
            self.journal.commit_lines(lines, self.fence)
        except StaleOwnerError as error:
            # It will never be right again, and what is owed is done by whoever took over.
            self._drop(len(lines), error)
            self._refusals.append(error)

    def _drop(self, count: int, error: Exception) -> None:
        with self._putting:
            self.lost += count
        say(f"{count} lines are not in the journal, and will not be: {error!r}")

    def _tell(self) -> None:
        with self._putting:
            refused = [self._refusals.popleft() for _ in range(len(self._refusals))]
            error = self._error or self._spool_error
            news = (error is not None) is not self._told
            self._told = error is not None
            overflowed, self._overflowed = self._overflowed, False
        if overflowed:
            say(f"There is no room for more lines; {self.lost} are lost so far")
        for one in refused:
            self._troubled(one, self.lost)
        if news:
            self._troubled(error, self.lost)

    # -- the background thread --------------------------------------------------------------

    def _summon(self) -> bool:
        self._rung = True
        self._bell.put(None)
        if self._thread is None and not self._start():
            # Let the next one try as well.
            self._rung = False

        return self._rung

    def _start(self) -> bool:
        with self._starting:
            if self._thread is None and not self._closing:
                thread = threading.Thread(
                    target=self._write_on, name="eventflow-journal", daemon=True
                )
                self._thread = thread
                try:
                    thread.start()
                except RuntimeError:
                    # At the end of the process, or beyond its limit, there are no new threads.
                    self._thread = None
                else:
                    atexit.register(self.close)

            return self._thread is not None

    def _write_on(self) -> None:
        while not self._closing:
            if self._error is None:
                self._bell.get()
            self._pause(LINGER_SECONDS if self._error is None else RETRY_SECONDS)
            # Before the flush: what comes behind it rings again.
            self._rung = False
            try:
                self.flush()
            except BaseException as error:  # noqa: BLE001 - whoever is told may fail, the thread may not
                say(f"Nobody could be told of the state of the journal: {error!r}")

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._closing and (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                self._bell.get(timeout=left)

    def close(self) -> bool:
        """Write what is left and end; says whether nothing is left behind.

        May be repeated. A writer can still be used afterwards: it writes everything at once.
        """
        self._closing = True
        self._bell.put(None)
        thread = self._thread
        if thread not in (None, threading.current_thread()) and not self._is_at_work():
            thread.join()
        self._thread = None
        atexit.unregister(self.close)
        done = self.flush()
        self.journal.close()
        return done

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the child begins anew, whatever the parent is about."""

    def after_fork(self, *, child: bool) -> None:
        """Begin anew in a child: what is in memory and in the spool is written by the parent."""
        if not child:
            return
        spool, self.spool = self.spool, None
        if spool is not None:
            spool.close()
        self.fence = None
        self.forked = True
        self._begin()
