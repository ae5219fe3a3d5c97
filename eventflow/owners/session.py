"""This process as an owner: entered with its first transition, guarded, taken leave of at exit."""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import ClassVar, Final, Protocol
from uuid import UUID
from weakref import WeakSet

from eventflow.errors import JournalError
from eventflow.eventbus.bus import EventBus
from eventflow.events import ErrorInfo, Event, JournalFailed, JournalRecovered, fact
from eventflow.hooks.declaration import Hook
from eventflow.hooks.importability import note_call
from eventflow.hooks.ledger import OWED
from eventflow.interrupts.scopes import live
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, Fence, RunQuery, StaleOwnerError
from eventflow.journal.format import owner_line
from eventflow.journal.rows import OwnerRow
from eventflow.journal.spool import Spool
from eventflow.journal.writer import Writer
from eventflow.owners.folders import RECOVERING, OwnFolder, dead, describe, owners_folder
from eventflow.owners.guarding import Guarding
from eventflow.owners.heartbeat import Heartbeat
from eventflow.owners.lifeline import start_recovery
from eventflow.owners.locks import is_free
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
"""How long a recovery may be silent at least before others take it for dead."""

PRUNE_EVERY: Final = timedelta(hours=1)
"""How often, at most, what is too old is looked for."""

SWEEP_SECONDS: Final = 60.0
"""How often, at most, a recovery is started because of one and the same owner."""

FOR_EVER: Final = 365_000
"""How many days are as good as no end: no date is longer ago."""


class Gathered(Protocol):
    """Holds lines back, for a moment."""

    def flush_held(self) -> None:
        """Write what is held back."""
        ...

    def discard_held(self) -> None:
        """Have nothing held back any more: it is another process's to write."""
        ...


class OwnerSession:
    """Writes lines to a journal in the name of this process, from its first transition on.

    Nothing is opened, made or started before `begin`. After a fork the child is an owner of its
    own, from its own first transition on.
    """

    sweeps: ClassVar[bool] = True
    """Whether dead owners are recovered that this process finds; a recovery does that itself."""

    def __init__(self, url: str, durability: Durability) -> None:
        self.url = url
        self.journal = open_journal(url, durability)
        self._spools = durability == "process" and url.startswith("sqlite:")
        self.lease_seconds = self._lease() if url.startswith("postgresql:") else None
        self._recovery_due = False
        # Runs that others have taken over, because this process was silent for too long; in a
        # forked child, those of its parent.
        self.given_up: frozenset[int] = frozenset()
        # Whose runs are recorded here: their listeners are told of trouble.
        self.buses: WeakSet[EventBus] = WeakSet()
        self._gathered: WeakSet[Gathered] = WeakSet()
        self._begin_anew()
        forks.watch(self)

    def _lease(self) -> float:
        # A recovery works where there is trouble: taken for dead itself, it would make more of it.
        return max(EVENTFLOW_LEASE_SECONDS.value(), 0 if self.sweeps else RECOVERY_LEASE_SECONDS)

    def _begin_anew(self) -> None:
        self.owner = ""
        self.begun = False
        self._swept: dict[str, float] = {}
        self._starting = threading.RLock()
        self._row: OwnerRow | None = None
        self._fence: Fence | None = None
        self._folder: OwnFolder | None = None
        self._guarding: Guarding | None = None
        self._attendance: Heartbeat | None = None
        self._writer: Writer | None = None
        self._heading: bytes | None = None

    @property
    def waits(self) -> bool:
        """Whether a line is durable only after a `wait`."""
        return self._writer is not None and self._writer.waits

    # -- beginning --------------------------------------------------------------------------

    def begin(self) -> None:
        """Be an owner, if this process is not one yet."""
        with self._starting:
            if not self.begun:
                self._begin()
                self.begun = True

    def _begin(self) -> None:
        note_call()
        self._enter()
        atexit.register(self.close)
        # A child of multiprocessing leaves without calling what is registered there.
        children = sys.modules.get("multiprocessing.util")
        if children is not None and sys.modules["multiprocessing.process"].parent_process():
            children.Finalize(None, self.close, exitpriority=-100)
        if not self.url.startswith("memory:"):
            self._attendance = Heartbeat(self)
            self._attendance.start()

    def _enter(self) -> None:
        """Be somebody who was not there before."""
        self._fence = None
        self._row = describe()
        self.owner = self._row.id
        self._guarding = None
        folder = self._folder = self._own_folder(self._row)
        spool = None
        if folder is not None:
            self._guarding = Guarding(folder.path, self.url)
            if self._spools:
                # As long as the journal does not know the owner, its lines say whose they are.
                spool, self._heading = Spool(folder.path), owner_line(folder.description)
        self._writer = Writer(
            _As(self.owner, self),
            partial(self._troubled, self.owner),
            waits=not self.url.startswith("memory:"),
            spool=spool,
            before_commit=self._gather,
        )

    def register(self, recorder: Gathered) -> None:
        """Ask a recorder for what it holds back before lines are committed."""
        self._gathered.add(recorder)

    def _gather(self) -> None:
        for one in list(self._gathered):
            one.flush_held()

    def _own_folder(self, row: OwnerRow) -> OwnFolder | None:
        root = owners_folder(self.url)
        if root is None:
            return None
        try:
            return OwnFolder.begin(root, row)
        except OSError as error:
            get_logger("journal").warning(
                f"The folder {root} cannot be used ({error}). If this process is killed, nobody "
                "will know of it, and the hooks it owes will not be run."
            )
            return None

    def _restore_folder(self) -> None:
        """Have the folder of this owner again, if it was deleted with all around it."""
        with self._starting:
            folder, row = self._folder, self._row
            if folder is None or row is None or not folder.is_held or folder.path.exists():
                return
            made = self._own_folder(row)
            if made is not None:
                self._folder = made
                folder.let_go()

    # -- writing ----------------------------------------------------------------------------

    @property
    def writer(self) -> Writer:
        """The writer of this owner, which is entered for it if need be."""
        if self._writer is None:
            self.begin()
        assert self._writer is not None  # noqa: S101 - for the type checker

        return self._writer

    def append(self, line: bytes) -> None:
        """Write a line; calls nothing else, so that it may be called under a lock."""
        writer = self._writer or self.writer
        if self._heading is not None:
            # Not before: who dies without a line has left nothing to be finished.
            heading, self._heading = self._heading, None
            writer.append(heading)
        writer.append(line)

    def notify(self) -> None:
        """Have what is put, or held back, in the journal within a moment."""
        (self._writer or self.writer).notify()

    def wait(self) -> bool:
        """Come back when all lines are as durable as they are to be; says whether they are."""
        return self.writer.wait()

    def flush(self) -> bool:
        """Have all lines in the journal; says whether they are."""
        return self._writer is None or self._writer.flush()

    def guard(self, key: str, hooks: Sequence[Hook]) -> None:
        """Have hooks run even if this process dies; `key` names the definition they belong to."""
        if self._guarding is not None:
            self._guarding.guard(key, hooks)

    def fence(self) -> Fence:
        """Give what this owner proves itself with; enters it in the journal if need be.

        Raises:
            JournalError: the journal cannot be written.
        """
        with self._starting:
            if self._fence is None:
                if self._row is None:
                    self.begin()
                assert self._row is not None  # noqa: S101 - for the type checker
                self._fence = self.journal.register(self._row, self.lease_seconds)

            return self._fence

    def _troubled(self, owner: str, error: JournalError | None, lost: int) -> None:
        log = get_logger("journal")
        if error is None:
            log.warning("The journal can be written again.", lost=lost)
            self._publish(fact(JournalRecovered, lost=lost))
        elif isinstance(error, StaleOwnerError):
            self._given_up(owner, error, lost)
        else:
            self._restore_folder()
            log.warning("%s The runs go on; what happens is kept until then.", error, lost=lost)
            self._publish(fact(JournalFailed, lost=lost, error=ErrorInfo.of(error)))

    def _publish(self, event: Event) -> None:
        for bus in list(self.buses):
            bus.publish(event)

    def _given_up(self, owner: str, error: StaleOwnerError, lost: int) -> None:
        """Be somebody new: what this process executes belongs to others now."""
        with self._starting:
            if owner != self.owner:
                return
            # To the writer that it was held back for: refused there, it is counted as lost.
            self._gather()
            self.given_up |= frozenset(live)
            folder, guarding, writer = self._folder, self._guarding, self.writer
            self._enter()
        # What it has still to write is refused from now on.
        writer.flush()
        if guarding is not None:
            guarding.leave()
        if folder is not None:
            folder.end()
        get_logger("journal").error(
            "This process was silent for too long: others took it for dead, and its runs over. "
            "What becomes of these runs here is not recorded."
        )
        self._publish(fact(JournalFailed, lost=lost, error=ErrorInfo.of(error)))

    # -- duties -----------------------------------------------------------------------------

    def cancels(self) -> list[UUID]:
        """Give the runs whose cancellation is asked for."""
        return self.journal.cancels(self.owner)

    def renew(self) -> None:
        """Prolong the lease."""
        fence, seconds = self._fence, self.lease_seconds
        if fence is not None and seconds is not None and not self.journal.renew(fence, seconds):
            stale = StaleOwnerError(fence.owner, fence.token)
            self._given_up(fence.owner, stale, self.writer.lost)

    def sweep_and_prune(self) -> None:
        """See to what dead owners left, and to the size of the journal."""
        self._restore_folder()
        if self.sweeps:
            self._sweep()
        days = timedelta(days=min(EVENTFLOW_RETENTION_DAYS.value(), FOR_EVER))
        since, size = datetime.now(UTC) - days, EVENTFLOW_RETENTION_BYTES.value()
        self.journal.prune_if_due(older_than=since, max_bytes=size, every=PRUNE_EVERY)

    def _sweep(self) -> None:
        """Have dead owners recovered, all by one: many may look, and find the same many dead."""
        root = owners_folder(self.url)
        for one in dead(root) if root is not None else ():
            if time.monotonic() - self._swept.get(one.id, -SWEEP_SECONDS) >= SWEEP_SECONDS:
                self._swept[one.id] = time.monotonic()
                self._recovery_due = True
        lapsed = [] if self.lease_seconds is None else self.journal.owners(lapsed=True)
        # Only one can end an owner, and it is for that one to have it recovered.
        for silent in lapsed:
            if silent.id != self.owner and self.journal.end(silent.id, "silent", only_lapsed=True):
                self._recovery_due = True
        # Whoever is at it may have looked before the last one died: then it stays due.
        if self._recovery_due and (root is None or is_free(root / RECOVERING)):
            self._recovery_due = False
            start_recovery(None, self.url)

    # -- ending -----------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is left and take leave, unless something is still owed: then others finish.

        May be repeated.
        """
        if not self.begun or self._writer is None:
            return
        atexit.unregister(self.close)
        if self._attendance is not None:
            self._attendance.stop()
        written = self._writer.close()
        if self._writer.kept:
            kept = f"until the end of this process: {self._writer.kept} lines are lost."
            get_logger("journal").error(f"The journal could not be written {kept}")
        try:
            if written and self._is_done():
                self._leave()
        except JournalError as error:
            get_logger("journal").warning(f"{error} `eventflow recover` will finish this.")
        self.journal.close()
        self._begin_anew()

    def _is_done(self) -> bool:
        """Whether nothing is left to others."""
        if self._fence is None:
            return True
        owner, journal = self._fence.owner, self.journal

        return not (
            journal.runs(RunQuery(keeper=owner, unfinished=True, limit=1))
            or journal.deliveries(DeliveryQuery(keeper=owner, statuses=OWED, limit=1))
        )

    def _leave(self) -> None:
        if self._fence is not None:
            self.journal.end(self._fence.owner, "ended")
        # In this order: killed in between, the guardian comes for a folder that is gone.
        if self._folder is not None:
            self._folder.end()
        if self._guarding is not None:
            self._guarding.leave()

    # -- forks ------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the child begins anew."""

    def after_fork(self, *, child: bool) -> None:
        """Begin anew in a child, which is another process."""
        if child:
            atexit.unregister(self.close)
            self.given_up = frozenset(live)
            for one in self._gathered:
                one.discard_held()
            self._begin_anew()


class _As:
    """The journal as the writer of one owner sees it: this one is entered before its first lines.

    When it was given up, nothing is written any more.
    """

    def __init__(self, owner: str, ownership: OwnerSession) -> None:
        self._owner = owner
        self._ownership = ownership

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        """Write lines, whole or not at all."""
        fence = fence or self._ownership.fence()
        if fence.owner != self._owner:
            raise StaleOwnerError(self._owner, 0)
        self._ownership.journal.commit_lines(lines, fence)

    def in_transaction(self) -> bool:
        """Whether this thread keeps the journal, and therefore cannot commit."""
        return self._ownership.journal.in_transaction()

    def close(self) -> None:
        """Leave files and connections open: the ownership has leave to take, and closes them."""
