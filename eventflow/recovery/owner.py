"""One dead owner, recovered in this process, which is an owner itself.

If it is killed in the middle, the next recovery goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from eventflow.errors import JournalError
from eventflow.eventbus.bus import bus_of_runs
from eventflow.hooks.ledger import OWED
from eventflow.journal.backlog import commit_all
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import OwnerRow
from eventflow.journal.spool import segments
from eventflow.owners.folders import DeadOwner, OwnFolder, dead
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.finishing import Finished, Finisher
from eventflow.recovery.loading import Reloader, move_in
from eventflow.recovery.lookup import DefinitionLookup
from eventflow.wiring import recorder

__all__ = ["Report", "absorb", "recover_folder", "recover_id"]

MANY: Final = 100_000
"""How many runs or deliveries are looked at to find out whose they are."""

PATIENCE_SECONDS: Final = 5.0
"""How long runs are waited for that a dead recovery keeps, until it counts as ended."""

POLL_SECONDS: Final = 0.1
"""How often they are looked for."""

VANISHED: Final = "vanished"
SILENT: Final = "is silent: its lease ran out"


class Report(NamedTuple):
    """What came of the recovery of one owner; `problem` is None if nothing is left to do."""

    owner: str
    host: str = ""
    pid: int = 0
    crashed: int = 0
    delivered: int = 0
    dead: int = 0
    problem: str | None = None

    def __str__(self) -> str:
        if self.problem is not None:
            return f"The owner {self.owner} is not recovered: {self.problem}"

        return (
            f"The owner {self.owner} (pid {self.pid} on {self.host}) is recovered: {self.crashed} "
            f"runs Crashed, {self.delivered} owed hooks delivered, {self.dead} dead"
        )


def recover_folder(path: Path, handed_over: Mapping[str, bytes]) -> Report | None:
    """Recover an owner of this host by its folder; return None if another process is at it.

    `handed_over` holds the hooks that it handed to its guardian by value.
    """
    owner = DeadOwner.read(path)
    folder = owner.take()
    if folder is None:
        return None
    # Its lock is ours for as long as the recovery takes.
    with folder:
        return _of_folder(owner, folder, handed_over)


def _of_folder(found: DeadOwner, taken: OwnFolder, handed_over: Mapping[str, bytes]) -> Report:
    """Recover an owner of this host, whose lock is ours for as long as that takes."""
    account = _account()
    journal = account.journal
    owner = _buried(journal, found, taken)
    for other in dead(taken.path.parent):
        # It may be a recovery that was killed: what it kept is free only when it is ended.
        other_taken = other.take()
        if other_taken is not None:
            with other_taken:
                _buried(journal, other, other_taken)
    report = _finished(account, owner, VANISHED, handed_over)
    if report.problem is None and not taken.end():
        return report._replace(problem=f"its folder {taken.path} cannot be deleted")

    return report


def recover_id(owner_id: str, handed_over: Mapping[str, bytes]) -> Report:
    """Recover an owner that has no folder here: of another host, or redriven after its end."""
    account = _account()
    owner = _known(account.journal, owner_id) or _unknown(owner_id)
    if owner.ended is None:
        account.journal.end(owner_id, SILENT, only_lapsed=True)

    return _finished(account, owner, SILENT if owner.lease_until else VANISHED, handed_over)


def _account() -> Recorder:
    bus_of_runs()
    account = recorder()
    if account is None:
        raise JournalError("There is no journal here to recover from.")
    account.sink.begin()

    return account


def _buried(journal: Journal, found: DeadOwner, taken: OwnFolder) -> OwnerRow:
    """Have in the journal what a dead owner wrote, and that it has ended; gives who it was."""
    absorb(journal, taken.path)
    known = _known(journal, taken.id)
    if known is None and found.owner is not None:
        # Killed before its first commit: what is redriven later must be loaded as now.
        journal.register(found.owner)
    journal.end(taken.id, VANISHED)

    return found.owner or known or _unknown(taken.id)


def absorb(journal: Journal, folder: Path) -> None:
    """Commit what is in the spool of a dead owner, and delete it there.

    Raises:
        JournalError: the journal cannot be written; what is not in it yet is still in the spool.
    """
    log = get_logger("recovery")
    for segment in segments(folder):
        try:
            commit_all(
                segment,
                journal.commit_lines,
                lambda _, error: log.error("A line of the spool is left out: %s", error),
            )
            segment.drop()
        finally:
            segment.close()


def _known(journal: Journal, owner_id: str) -> OwnerRow | None:
    return next((one for one in journal.owners() if one.id == owner_id), None)


def _unknown(owner_id: str) -> OwnerRow:
    """Stand for an owner of which only the id is left."""
    now, here = datetime.now(UTC), tuple(sys.path)

    return OwnerRow(owner_id, "unknown", "", 0, now, None, None, (), "", here)


def _finished(
    account: Recorder, owner: OwnerRow, how: str, handed_over: Mapping[str, bytes]
) -> Report:
    """Finish all runs of an owner that nobody alive keeps."""
    fence = account.sink.fence()
    move_in(owner)
    executed = f"The process that executed it (pid {owner.pid} on {owner.host}) {how}."
    finisher = Finisher(account, DefinitionLookup(account, Reloader(owner), handed_over), executed)
    tally = finisher.finish(fence, owner.id)
    patience = time.monotonic() + PATIENCE_SECONDS
    while _kept_by_others(account, owner.id) and time.monotonic() < patience:
        # By a recovery that was killed, and is itself being recovered: it ends in a moment.
        time.sleep(POLL_SECONDS)
        again = finisher.finish(fence, owner.id)
        tally = Finished(*map(sum, zip(tally, again, strict=True)))
    report = Report(owner.id, owner.host, owner.pid, *tally)

    return report._replace(problem=_left(account, owner.id))


def _kept_by_others(account: Recorder, owner_id: str) -> int:
    """Give how many runs of a dead owner are left to somebody who counts as alive."""
    journal = account.journal
    ended = {one.id for one in journal.owners() if one.ended is not None}
    runs = journal.runs(RunQuery(unfinished=True, limit=MANY)) if owner_id in ended else []

    return sum(one.owner == owner_id for one in runs)


def _left(account: Recorder, owner_id: str) -> str | None:
    """Say what is left to do; None if nothing is."""
    if not account.flush():
        return "the journal cannot be written"
    kept = _kept_by_others(account, owner_id)
    if kept:
        return f"{kept} of its runs are kept by others"
    query = DeliveryQuery(statuses=OWED, keeper=account.owner_id, limit=MANY)
    owed = account.journal.deliveries(query)

    return f"{len(owed)} of its hooks are owed still" if owed else None
