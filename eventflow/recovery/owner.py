"""Recovery: finding owners that are dead, and finishing what they left, each in a new process.

`python -m eventflow.recovery --owner FOLDER --journal URL` does it for one owner, in a process
that is like that owner's: its folder, its arguments, its `sys.path`, its files loaded again. The
guardian becomes such a process when its owner dies; `recover` starts one for every dead owner.
Recovery is an owner itself: if it is killed in the middle, the next one goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from eventflow.context import without_runs
from eventflow.errors import EventflowError, JournalError
from eventflow.eventbus.bus import bus_of_runs
from eventflow.hooks.ledger import OWED
from eventflow.journal import open_journal
from eventflow.journal.backlog import commit_all
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import OwnerRow
from eventflow.journal.spool import segments
from eventflow.logs import configure
from eventflow.owners.folders import RECOVERING, DeadOwner, OwnFolder, dead, owners_folder
from eventflow.owners.lifeline import read_blobs, recovery_command, recovery_environment
from eventflow.owners.locks import lock
from eventflow.owners.process import recovery_program
from eventflow.owners.session import OwnerSession
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.finishing import Finished, Finisher
from eventflow.recovery.loading import Reloader, move_in
from eventflow.recovery.lookup import DefinitionLookup
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.wiring import recorder

__all__ = ["Report", "absorb", "main", "recover"]

MANY: Final = 100_000
"""How many runs or deliveries are looked at to find out whose they are."""

GENERATION: Final = "EVENTFLOW_RECOVERY_GENERATION"
"""Where a recovery finds how many led to it, each of which was killed or found another to do."""

GENERATIONS: Final = 100
"""How many recoveries may follow from each other: what ends them all must not go on for ever."""

AT_ONCE: Final = 10
"""How many of these follow at once: hooks that kill their process each time need no more, and what
has another cause is not mended by haste."""

PAUSE_SECONDS: Final = 0.5
"""By how much each of the later ones waits longer than the one before it."""

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


# -- all owners, each in a process of its own -----------------------------------------------------


def recover(url: str, *, wait: bool = True) -> list[Report]:
    """Recover every owner of a journal that is dead, one after the other.

    Owners of this host are dead when their lock is free, those of others (in PostgreSQL) when
    their lease ran out. What was redriven, or left by a recovery that was broken off, is
    finished as well. Only one process of a host does this at a time: who comes second waits, or,
    without `wait`, leaves it to the first.

    Raises:
        JournalError: the journal cannot be read.
        SettingError: there is no journal for such a URL.
    """
    folder = owners_folder(url)
    if folder is None or not folder.is_dir():
        return _recover_all(url, folder)
    while (held := lock(folder / RECOVERING)) is None:
        if not wait:
            return []
        time.sleep(POLL_SECONDS)
    try:
        return _recover_all(url, folder)
    finally:
        held.let_go()


def _recover_all(url: str, folder: Path | None) -> list[Report]:
    found = [] if folder is None else dead(folder)
    reports = [_started(recovery_command(one.path, url, one.program), one.id, url) for one in found]
    journal = open_journal(url)
    try:
        left = _left_over(journal)
    finally:
        journal.close()
    reports += [_started([*recovery_program(), "--owner-id", one], one, url) for one in left]

    return [one for one in reports if one is not None]


def _left_over(journal: Journal) -> list[str]:
    """Give the owners that are silent, or have ended, and of whose runs something is left."""
    lapsed = {one.id for one in journal.owners(lapsed=True)}
    over = {one.id for one in journal.owners() if one.ended is not None}
    free = {one.owner for one in journal.runs(RunQuery(keeper="", limit=MANY))}
    unfinished = journal.runs(RunQuery(unfinished=True, limit=MANY))
    owing = {one.run_id for one in journal.deliveries(DeliveryQuery(statuses=OWED, limit=MANY))}
    rows = [*unfinished, *filter(None, map(journal.run, owing))]

    return sorted(lapsed | free | {one.owner for one in rows} & over)


def _started(command: Sequence[str], owner: str, url: str) -> Report | None:
    """Have one owner recovered in a new process; None if another is at it."""
    reader, writer = os.pipe()
    try:
        try:
            started = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "--alone", "--report", str(writer)],
                stdin=subprocess.DEVNULL,
                env=recovery_environment(url),
                pass_fds=[writer],
            )
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as told:
            text = told.read()
        code = started.wait()
    except OSError as error:
        return Report(owner, problem=f"its recovery cannot be started: {error}")
    if text:
        return Report(**json.loads(text))

    return None if code == 0 else Report(owner, problem=f"its recovery ended with code {code}")


# -- one owner, in this process -------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Recover one owner; gives 0 if nothing is left to do, else 1."""
    configure()
    given = _arguments(arguments)
    if given.journal is not None:
        os.environ[EVENTFLOW_JOURNAL_URL.name] = given.journal
    if given.owner is None and given.owner_id is None:
        reports = recover(EVENTFLOW_JOURNAL_URL.value(), wait=False)
    else:
        OwnerSession.sweeps = False
        report = _one(given)
        _tell(given.report, report)
        reports = [] if report is None else [report]
        if not given.alone:
            # Such as the owner that a recovery was at when it became this one's: whoever recovers
            # all just now may have tried it before.
            reports += recover(EVENTFLOW_JOURNAL_URL.value())

    return 0 if all(one.problem is None for one in reports) else 1


def _one(given: argparse.Namespace) -> Report | None:
    generation = int(os.environ.get(GENERATION, "0")) + 1
    os.environ[GENERATION] = str(generation)
    try:
        if generation > GENERATIONS:
            raise JournalError(f"it was tried {GENERATIONS} times in vain")
        time.sleep(_pause(generation))
        with without_runs():
            return _recovered(given)
    except (EventflowError, OSError) as error:
        return Report(given.owner_id or Path(given.owner).name, problem=str(error))


def _pause(generation: int) -> float:
    """Give how many seconds a recovery waits that so many led to, itself included."""
    return PAUSE_SECONDS * max(0, generation - AT_ONCE)


def _tell(descriptor: int | None, report: Report | None) -> None:
    if report is None:
        return
    log = get_logger("recovery")
    (log.info if report.problem is None else log.error)(str(report))
    if descriptor is not None:
        with suppress(OSError), os.fdopen(descriptor, "w") as told:
            json.dump(report._asdict(), told)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="eventflow.recovery", allow_abbrev=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--owner", help="the folder of an owner of this host; else all dead ones")
    which.add_argument("--owner-id", help="an owner that only the journal knows")
    parser.add_argument("--journal", help="the URL of the journal, by default that of the settings")
    parser.add_argument("--alone", action="store_true", help="leave all other owners as they are")
    parser.add_argument("--blobs", type=int, help="a descriptor to read hooks by value from")
    parser.add_argument("--report", type=int, help="a descriptor to write the outcome to")

    return parser.parse_args(arguments)


def _recovered(given: argparse.Namespace) -> Report | None:
    parcels = {} if given.blobs is None else dict(read_blobs(given.blobs))
    if given.owner_id is not None:
        return _of_journal(given.owner_id, parcels)
    path = Path(given.owner)
    found = DeadOwner.read(path)
    taken = found.take()
    if taken is None:
        return None
    with taken:
        return _of_folder(found, taken, parcels)


def _of_folder(found: DeadOwner, taken: OwnFolder, parcels: Mapping[str, bytes]) -> Report:
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
    report = _finished(account, owner, VANISHED, parcels)
    if report.problem is None and not taken.end():
        return report._replace(problem=f"its folder {taken.path} cannot be deleted")

    return report


def _of_journal(owner_id: str, parcels: Mapping[str, bytes]) -> Report:
    """Recover an owner that has no folder here: of another host, or redriven after its end."""
    account = _account()
    owner = _known(account.journal, owner_id) or _unknown(owner_id)
    if owner.ended is None:
        account.journal.end(owner_id, SILENT, only_lapsed=True)

    return _finished(account, owner, SILENT if owner.lease_until else VANISHED, parcels)


def _account() -> Recorder:
    bus_of_runs()
    account = recorder()
    if account is None:
        raise JournalError("There is no journal here to recover from.")
    account.books.begin()

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


def _finished(account: Recorder, owner: OwnerRow, how: str, parcels: Mapping[str, bytes]) -> Report:
    """Finish all runs of an owner that nobody alive keeps."""
    fence = account.books.fence()
    move_in(owner)
    executed = f"The process that executed it (pid {owner.pid} on {owner.host}) {how}."
    finisher = Finisher(account, DefinitionLookup(account, Reloader(owner), parcels), executed)
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
