"""Recover one dead owner in this process.

The recovering process is an owner itself: if it is killed on the way, the next recovery goes on.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from eventflow.errors import JournalError
from eventflow.eventbus.bus import bus_of_runs
from eventflow.hooks.ledger import OWED
from eventflow.journal.contract import (
    DeliveryQuery,
    NewerSchemaError,
    RunQuery,
    StaleOwnerError,
    UnstorableError,
)
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import OwnerRow
from eventflow.owners.folders import DeadOwner, LockedFolder, dead, owners_folder
from eventflow.owners.leftovers import end_owner, row_of
from eventflow.owners.process import host_id
from eventflow.primitives.durations import in_words
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.delivering import Finished, Progress
from eventflow.recovery.endings import Seen, ending_of
from eventflow.recovery.finishing import Finisher
from eventflow.recovery.lookup import Lookup
from eventflow.recovery.reloading.loading import LoadingNote, Reloader, adopt_environment
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.wiring import recorder as wired_recorder

__all__ = [
    "SILENT",
    "UNFINISHED",
    "Report",
    "recorder_of_recovery",
    "recover_folder",
    "recover_id",
    "unknown_owner",
]

NO_LIMIT: Final = 100_000
"""How many runs or deliveries a query returns at most."""

KEEPER_SECONDS: Final = 5.0
"""How long to wait until a killed recovery, which still keeps some of the runs, has ended."""

POLL_SECONDS: Final = 0.1
"""How often the journal is queried during that wait."""

LOADING_PREFIX: Final = ".loading-"
"""Begins the name of the file, beside the folders of the owners, that notes what is loaded."""
FIRST_PAUSE_SECONDS: Final = 0.1
"""The first pause before a journal is tried again that cannot be used; each is twice the last."""

LONGEST_PAUSE_SECONDS: Final = 5.0
"""The longest of these pauses."""

UNFINISHED: Final = "its recovery has not ended"
"""The problem of an owner in the reports that come before the last one."""

VANISHED: Final = "vanished"
SILENT: Final = "is silent: its lease ran out"


class Report(NamedTuple):
    """The outcome of the recovery of one owner; `problem` is None if it is complete.

    It has entered Crashed for so many runs, and so many deliveries of hooks have succeeded or died.
    """

    owner: str
    host: str = ""
    pid: int = 0
    crashed: int = 0
    delivered: int = 0
    dead: int = 0
    problem: str | None = None

    def after(self, before: Report) -> Report:
        """Return the outcome of this recovery and an earlier one of the same owner."""
        return self._replace(
            crashed=before.crashed + self.crashed,
            delivered=before.delivered + self.delivered,
            dead=before.dead + self.dead,
        )

    def __str__(self) -> str:
        if self.problem is not None:
            return f"The owner {self.owner} is not recovered: {self.problem}"

        return (
            f"The owner {self.owner} (pid {self.pid} on {self.host}) is recovered: {self.crashed} "
            f"runs Crashed, {self.delivered} hooks delivered, {self.dead} dead"
        )


def recover_folder(
    path: Path,
    handed_over: Mapping[str, bytes],
    tell: Callable[[Report], None],
    *,
    seen: Seen | None = None,
    waits: bool = False,
) -> Report | None:
    """Recover an owner of this host by its folder; return None if another process does.

    `handed_over` holds the packed hooks that it handed to its guardian, by their key.
    `tell` is given a report whenever something was done that the next recovery need not do again.
    With `waits` it waits for a journal that cannot be written. `seen` is what its guardian has seen
    of its end; what would have become due later is owed to nobody.
    """
    owner = DeadOwner.read(path)
    folder = owner.lock()
    if folder is None:
        return None
    # Locked until the recovery is over.
    with folder:
        return _recover_locked(owner, folder, handed_over, tell, seen=seen, waits=waits)


def _recover_locked(
    dead_owner: DeadOwner,
    folder: LockedFolder,
    handed_over: Mapping[str, bytes],
    tell: Callable[[Report], None],
    *,
    seen: Seen | None,
    waits: bool,
) -> Report:
    died = datetime.now(UTC) if seen is None else seen.at
    reason = f"{VANISHED}{ending_of(folder.path, dead_owner.owner, seen)}"
    recorder = recorder_of_recovery()

    def end_owners() -> OwnerRow:
        owner = end_owner(recorder.journal, dead_owner, folder, reason) or unknown_owner(folder.id)
        for other in dead(folder.path.parent):
            # It may be a recovery that was killed: the runs that it kept are free once it is ended.
            other_folder = other.lock()
            if other_folder is not None:
                with other_folder:
                    end_owner(recorder.journal, other, other_folder, VANISHED)
        return owner

    owner = _when_it_answers(end_owners, folder) if waits else end_owners()
    account = f"{reason}. {_finished_by(seen)}"
    report = _finish_runs(recorder, owner, account, handed_over, tell, died)
    if report.problem is None and not folder.remove():
        return report._replace(problem=f"its folder {folder.path} cannot be deleted")

    return report


def _when_it_answers(work: Callable[[], OwnerRow], folder: LockedFolder) -> OwnerRow:
    """Do the work as soon as the journal can be written, if the folder is still there then."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return work()
        except (StaleOwnerError, NewerSchemaError, UnstorableError):
            raise
        except JournalError as error:
            if not folder.path.is_dir():
                raise
            if pause == FIRST_PAUSE_SECONDS:
                get_logger("recovery").warning(f"{error} The recovery waits until it can be used.")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def recover_id(
    owner_id: str, handed_over: Mapping[str, bytes], tell: Callable[[Report], None]
) -> Report:
    """Recover an owner that has no folder here: of another host, or redriven after its end."""
    recorder = recorder_of_recovery()
    owner = row_of(recorder.journal, owner_id) or unknown_owner(owner_id)
    if owner.ended is None:
        recorder.journal.end(owner_id, SILENT, only_lapsed=True)

    # The first to have recovered it may have known how it ended.
    reason = SILENT if owner.lease_until else owner.reason or VANISHED
    died = owner.lease_until or datetime.now(UTC)
    account = f"{reason}. {_finished_by(None)}"

    return _finish_runs(recorder, owner, account, handed_over, tell, died)


def _finished_by(seen: Seen | None) -> str:
    """Say who finishes the runs of an owner, and how long after its end, if that is known."""
    if seen is None:
        return f"Finished by pid {os.getpid()} on {host_id()}."
    later = (datetime.now(UTC) - seen.at).total_seconds()

    return f"Finished by its guardian (pid {os.getpid()}), {in_words(max(0.0, later))} later."


def recorder_of_recovery() -> Recorder:
    """Return the recorder of this process, which has begun as an owner."""
    bus_of_runs()
    recorder = wired_recorder()
    if recorder is None:
        raise JournalError("There is no journal here to recover from.")
    recorder.continue_runs()
    recorder.sink.begin()

    return recorder


def unknown_owner(owner_id: str) -> OwnerRow:
    """Return a row for an owner of which only the id is known."""
    now, sys_path = datetime.now(UTC), tuple(sys.path)

    return OwnerRow(owner_id, "unknown", "", 0, now, None, None, (), "", sys_path)


def _finish_runs(  # noqa: PLR0917 - one call for each kind of owner
    recorder: Recorder,
    owner: OwnerRow,
    account: str,
    handed_over: Mapping[str, bytes],
    tell: Callable[[Report], None],
    died: datetime,
) -> Report:
    """Finish all runs of an owner that no living owner keeps; `account` is how that ended."""
    fence = recorder.sink.fence()
    # From now on this process has a guardian: a file that is loaded may end it.
    if recorder.sink.guarding is not None:
        recorder.sink.guarding.guard()
    adopt_environment(owner)
    message = f"The process that executed it (pid {owner.pid} on {owner.host}) {account}"
    report = partial(Report, owner.id, owner.host, owner.pid)

    def tell_so_far(finished: Finished) -> None:
        tell(report(*finished, problem=UNFINISHED))

    progress = Progress(tell_so_far)
    note = LoadingNote(_note_path(owner.id), progress.tell)
    lookup = Lookup(recorder.journal.hook_sets(owner.id), Reloader(owner, note), handed_over)
    finisher = Finisher(recorder, lookup, message, progress, died)
    finisher.finish(fence, owner.id)
    deadline = time.monotonic() + KEEPER_SECONDS
    while _kept_by_others(recorder, owner.id) and time.monotonic() < deadline:
        # By a recovery that was killed, and is itself being recovered: it ends in a moment.
        time.sleep(POLL_SECONDS)
        finisher.finish(fence, owner.id)
    problem = _problem(recorder, owner.id)
    if problem is None:
        note.remove()

    return report(*progress.finished, problem=problem)


def _note_path(owner_id: str) -> Path | None:
    folder = owners_folder(EVENTFLOW_JOURNAL_URL.value())

    return None if folder is None else folder / f"{LOADING_PREFIX}{owner_id}"


def _kept_by_others(recorder: Recorder, owner_id: str) -> int:
    """Return how many runs of an ended owner are kept by an owner that counts as alive."""
    journal = recorder.journal
    ended = {row.id for row in journal.owners() if row.ended is not None}
    unfinished = RunQuery(unfinished=True, limit=NO_LIMIT)
    runs = journal.runs(unfinished) if owner_id in ended else []

    return sum(row.owner == owner_id for row in runs)


def _problem(recorder: Recorder, owner_id: str) -> str | None:
    """Return why the recovery is not complete; None if it is."""
    if not recorder.flush():
        return "the journal cannot be written"
    kept = _kept_by_others(recorder, owner_id)
    if kept:
        return f"{kept} of its runs are kept by others"
    query = DeliveryQuery(statuses=OWED, keeper=recorder.owner_id, of_workers=False, limit=NO_LIMIT)
    owed = recorder.journal.deliveries(query)

    return f"{len(owed)} of its hooks are owed still" if owed else None
