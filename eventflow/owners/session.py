"""This process as an owner of runs, from its first transition until it exits."""

from __future__ import annotations

import atexit
import errno
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar, Final, cast
from weakref import WeakSet

from eventflow.errors import JournalError
from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.publication import fact
from eventflow.events import ErrorInfo, Event, JournalFailed, JournalRecovered
from eventflow.hooks.importability import note_call
from eventflow.interrupts.scopes import active_runs, inherited_runs
from eventflow.journal import open_journal
from eventflow.journal.contract import Fence, StaleOwnerError
from eventflow.journal.records import pack
from eventflow.journal.rows import OwnerRow
from eventflow.journal.sink import Numbers, OpenRunsRecorder
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.turns import Turns
from eventflow.journal.wal.writer import Durable, Writer
from eventflow.owners.folders import RECOVERING, LockedFolder, dead, is_of_this_host, owners_folder
from eventflow.owners.guarding import Guarding
from eventflow.owners.heartbeat import Heartbeat
from eventflow.owners.leftovers import is_done, take_in
from eventflow.owners.lifeline import Lifeline, start_recovery
from eventflow.owners.locks import is_free
from eventflow.owners.process import describe
from eventflow.owners.store import OwnerStore
from eventflow.primitives import forks
from eventflow.primitives.loggers import get_logger
from eventflow.settings import (
    EVENTFLOW_LEASE_SECONDS,
    EVENTFLOW_RETENTION_BYTES,
    EVENTFLOW_RETENTION_DAYS,
    Durability,
)

__all__ = ["OwnerSession"]

RECOVERY_LEASE_SECONDS: Final = 60.0
"""The lease of a recovery is at least this long."""

HEARTBEAT_SECONDS: Final = 60.0
"""How often dead owners are recovered and old runs pruned where there is no lease."""

SETTLE_SECONDS: Final = 1.0
"""How long a process has lived before it does what others can do as well."""

PRUNE_EVERY: Final = timedelta(hours=1)
"""How often, at most, the journal is pruned."""

SWEEP_SECONDS: Final = 60.0
"""How often, at most, a recovery is started because of the same owner."""

WITHOUT_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
"""The errors of a lock on a file system that has none."""

UNLIMITED_DAYS: Final = 365_000
"""A retention that is as good as unlimited: a date cannot be longer ago."""


class OwnerSession:
    """Writes records to a journal in the name of this process.

    Nothing is opened, created or started before `begin`. After a fork the child is an owner of its
    own, from its own first transition on.
    """

    sweeps: ClassVar[bool] = True
    """Whether this process starts recoveries of dead owners; a recovery sets it to False."""

    def __init__(self, url: str, durability: Durability) -> None:
        self.url = url
        self.journal = open_journal(url, durability)
        self.has_workers = not url.startswith("memory:")
        self._durability: Durability = durability
        self.lease_seconds = self._lease() if url.startswith("postgresql:") else None
        self._recovery_due = False
        self._lockless = False
        # The buses whose runs are recorded here. Failures of the journal are published on them.
        self.buses: WeakSet[EventBus] = WeakSet()
        self._recorders: WeakSet[OpenRunsRecorder] = WeakSet()
        self._reset()
        forks.watch(self)

    def _lease(self) -> float:
        # A recovery has a long lease: if it counted as dead while it works, its runs would be
        # recovered a second time.
        return max(EVENTFLOW_LEASE_SECONDS.value(), 0 if self.sweeps else RECOVERY_LEASE_SECONDS)

    def _reset(self) -> None:
        self.owner = ""
        self.begun = False
        self._swept: dict[str, float] = {}
        self.turns = Turns()
        """What a record is made and appended under, so that its owner stays the same."""
        # What is left of owners whose runs others have taken over, until that is reported.
        self._resigned: dict[str, tuple[LockedFolder | None, Guarding | None, Writer]] = {}
        self._store = cast("OwnerStore", None)  # as the writer
        self._folder: LockedFolder | None = None
        # What guards the hooks of this owner; None where there is no folder to recover.
        self.guarding: Guarding | None = None
        self._heartbeat: Heartbeat | None = None
        self.writer = cast("Writer", None)  # not asked for before `begin`
        """What records are appended to; that of the owner once this has begun."""
        self.numbers = Numbers()
        """The numbers of definitions, in the records of this owner."""

    # -- beginning --------------------------------------------------------------------------

    def begin(self) -> None:
        """Make this process an owner, unless it is one."""
        with self.turns.free(), self.turns:
            if not self.begun:
                self._begin()
                self.begun = True

    def _begin(self) -> None:
        note_call()
        self._become_owner()
        atexit.register(self.leave)
        # A child of multiprocessing exits without calling what is registered with atexit.
        children = sys.modules.get("multiprocessing.util")
        if children is not None and sys.modules["multiprocessing.process"].parent_process():
            children.Finalize(None, self.leave, exitpriority=-100)
        if not self.url.startswith("memory:"):
            lease = self.lease_seconds
            self._heartbeat = Heartbeat(
                record=self._record_open_runs,
                cancels=lambda: self.journal.cancels(self.owner),
                guard=lambda: None if self.guarding is None else self.guarding.replace_if_killed(),
                renew=self.renew,
                maintain=self.sweep_and_prune,
                interval=HEARTBEAT_SECONDS if lease is None else lease / 3,
            )
            self._heartbeat.start()

    def _become_owner(self) -> None:
        """Become an owner with a new id, and with its own folder, guardian and writer."""
        row = describe()
        folder = self._create_folder(row)
        store = OwnerStore(self.journal, row, self.lease_seconds, self.resign)
        guarding = spool = None
        if folder is not None:
            guarding = Guarding(Lifeline(folder.path, self.url), folder.path)
            spool = Spool(folder.path)
        writer = Writer(
            store,
            partial(self._report, row.id),
            durable=self._durable(),
            spool=spool,
            # The journal has the owner only after the first commit: each segment names it.
            heading=pack("O", folder.description if folder is not None else ""),
            before_commit=self._record_open_runs,
        )
        # Last: a signal handler or a finalizer that runs a flow before has the former owner.
        self.numbers, self._folder, self.guarding, self._store = Numbers(), folder, guarding, store
        self.owner, self.writer = row.id, writer

    def _durable(self) -> Durable:
        """Return what a publisher waits for that owes hooks."""
        if self._lockless or self.url.startswith("memory:"):
            return "kept"
        if self.url.startswith("postgresql:"):
            return "committed"

        return "flushed" if self._durability == "power" else "appended"

    def register(self, recorder: OpenRunsRecorder) -> None:
        """Have a recorder write the runs that have not ended before each commit."""
        self._recorders.add(recorder)

    def _record_open_runs(self) -> None:
        for recorder in list(self._recorders):
            recorder.record_open_runs()

    def _create_folder(self, row: OwnerRow) -> LockedFolder | None:
        root = owners_folder(self.url)
        if root is None:
            return None
        try:
            return LockedFolder.create(root, row)
        except OSError as error:
            if error.errno in WITHOUT_LOCKS and self.url.startswith("sqlite:"):
                # SQLite takes that for the lock of another process, for which it would wait.
                self.journal.in_hurry = self._lockless = True
            get_logger("journal").warning(
                f"The folder {root} cannot be used ({error}). If this process is killed, nobody "
                "will know of it, and the hooks it owes will not be run. On a file system without "
                "locks nothing is recorded either: have EVENTFLOW_HOME on one that has them."
            )
            return None

    def _restore_folder(self) -> None:
        """Create the folder of this owner again, if it was deleted together with its parent."""
        with self.turns.free(), self.turns:
            folder = self._folder
            if folder is None or not folder.is_held or folder.path.exists():
                return
            restored = self._create_folder(self._store.row)
            if restored is not None:
                self._folder = restored
                folder.release()

    # -- writing ----------------------------------------------------------------------------

    def flush(self) -> bool:
        """Commit all lines; return False if that failed."""
        return not self.begun or self.writer.flush()

    def fence(self) -> Fence:
        """Return the fence under which this owner writes; register the owner if need be.

        Raises:
            JournalError: the journal cannot be written.
        """
        self.begin()

        return self._store.fence()

    def _report(self, owner: str, error: JournalError | None, lost: int) -> None:
        log = get_logger("journal")
        if error is None:
            log.warning("The journal can be written again.", lost=lost)
            self._publish(fact(JournalRecovered, lost=lost))
        elif isinstance(error, StaleOwnerError):
            self._report_resignation(owner, error, lost)
        else:
            self._restore_folder()
            log.warning("%s The runs go on; what happens is kept until then.", error, lost=lost)
            self._publish(fact(JournalFailed, lost=lost, error=ErrorInfo.of(error)))

    def _publish(self, event: Event) -> None:
        for bus in list(self.buses):
            bus.publish(event)

    def resign(self, owner: str) -> None:
        """Become a new owner, since others have taken over the runs of the present one.

        These go on here, but are recorded no more: see `Recorder.has_given_up`.
        """
        with self.turns.free(), self.turns:
            if owner != self.owner:
                return
            self._resigned[owner] = self._folder, self.guarding, self.writer
            self._store.is_stale = True
            self._become_owner()
            # Before anybody asks whose they are: see `has_given_up`.
            for recorder in list(self._recorders):
                recorder.continue_from(owner)
        self.writer.notify()

    def _report_resignation(self, owner: str, error: StaleOwnerError, lost: int) -> None:
        """Remove what is left of an owner that has resigned, and tell of it once."""
        left = self._resigned.pop(owner, None)
        if left is None:
            return
        folder, guarding, writer = left
        # The journal refuses the records that are left.
        writer.retire()
        if guarding is not None:
            guarding.dismiss()
        if folder is not None:
            folder.remove()
        get_logger("journal").error(
            "This process was silent for too long: others took it for dead, and its runs over. "
            "What becomes here of the runs that they know is not recorded."
        )
        self._publish(fact(JournalFailed, lost=lost, error=ErrorInfo.of(error)))

    # -- heartbeat --------------------------------------------------------------------------

    def renew(self) -> None:
        """Renew the lease."""
        fence, seconds = self._store.registered, self.lease_seconds
        if fence is not None and seconds is not None and not self.journal.renew(fence, seconds):
            lost = self.writer.lost
            self.resign(fence.owner)
            stale = StaleOwnerError(fence.owner, fence.token)
            self._report_resignation(fence.owner, stale, lost)

    def sweep_and_prune(self) -> None:
        """Have dead owners recovered, and prune the journal."""
        self._restore_folder()
        if self.sweeps:
            self._sweep()
        if self._heartbeat is not None and self._heartbeat.is_stopped(SETTLE_SECONDS):
            # A process that ends at once leaves this to others.
            return
        take_in(self.url, self._durability)
        days = timedelta(days=min(EVENTFLOW_RETENTION_DAYS.value(), UNLIMITED_DAYS))
        since, size = datetime.now(UTC) - days, EVENTFLOW_RETENTION_BYTES.value()
        self.journal.prune_if_due(older_than=since, max_bytes=size, every=PRUNE_EVERY)

    def _sweep(self) -> None:
        """Start one recovery for all dead owners: many processes may find the same ones."""
        root = owners_folder(self.url)
        for owner in dead(root) if root is not None else ():
            if time.monotonic() - self._swept.get(owner.id, -SWEEP_SECONDS) >= SWEEP_SECONDS:
                self._swept[owner.id] = time.monotonic()
                self._recovery_due = True
        lapsed = [] if self.lease_seconds is None else self.journal.owners(lapsed=True)
        # Only one process succeeds in marking an owner as ended; that one starts its recovery.
        for row in lapsed:
            if row.id == self.owner or is_of_this_host(root, row):
                continue
            if self.journal.end(row.id, "silent", only_lapsed=True):
                self._recovery_due = True
        # A recovery that is in progress may have missed the owner that died last: the next sweep
        # then starts another.
        if self._recovery_due and (root is None or is_free(root / RECOVERING)):
            self._recovery_due = False
            start_recovery(None, self.url)

    # -- ending -----------------------------------------------------------------------------

    def leave(self) -> None:
        """End with this process: if it owes nothing, others take in what it has recorded."""
        if not self.begun:
            return
        if self._heartbeat is not None:
            self._heartbeat.stop()
        folder = self._folder
        # What executes still, or is left to a recovery, has to be in the journal.
        may_leave = self.sweeps and active_runs.keys() <= inherited_runs
        if folder is None or not (may_leave and self.writer.leave() and folder.leave()):
            self.close()
            return
        # In this order: if killed in between, the guardian finds nothing that is owed.
        if self.guarding is not None:
            self.guarding.dismiss()
        self._close_journal()

    def close(self) -> None:
        """Write what is left and end the owner, unless runs or hooks are left for a recovery.

        May be repeated.
        """
        if not self.begun:
            return
        self.writer.hurry()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        written = self.writer.close()
        if self.writer.kept:
            kept = f"until the end of this process: {self.writer.kept} records are lost."
            get_logger("journal").error(f"The journal could not be written {kept}")
        try:
            if written and (self._store.registered is None or is_done(self.journal, self.owner)):
                self._end()
            elif self.guarding is not None:
                self.guarding.note_exit()
        except JournalError as error:
            get_logger("journal").warning(f"{error} `eventflow recover` will finish this.")
        self._close_journal()

    def _close_journal(self) -> None:
        atexit.unregister(self.leave)
        self.journal.close()
        self.journal.in_hurry = False
        self._reset()

    def _end(self) -> None:
        if self._store.registered is not None:
            self.journal.end(self.owner, "ended")
        # In this order: if killed in between, the guardian finds no folder to recover.
        if self._folder is not None:
            self._folder.remove()
        if self.guarding is not None:
            self.guarding.dismiss()

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the child is reset afterwards."""

    def after_fork(self, *, child: bool) -> None:
        """Reset the child, which becomes an owner of its own."""
        if child:
            atexit.unregister(self.leave)
            self._reset()
