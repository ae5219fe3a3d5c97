"""Recover every dead owner of a journal, side by side, each in a new process."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_any
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from eventflow.errors import JournalError
from eventflow.hooks.ledger import OWED
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.owners.folders import (
    RECOVERING,
    dead,
    is_of_this_host,
    is_recovery_at_work,
    owners_folder,
)
from eventflow.owners.leftovers import take_in
from eventflow.owners.lifeline import recovery_command, recovery_environment
from eventflow.owners.locks import Lock, lock
from eventflow.owners.process import recovery_program
from eventflow.recovery.owner import NO_LIMIT, UNFINISHED, Report
from eventflow.settings import EVENTFLOW_DURABILITY

__all__ = ["recover"]

POLL_SECONDS: Final = 0.25
"""How often to look for owners that have died meanwhile, and whether another recovery has ended."""

SIDE_BY_SIDE: Final = 16
"""How many owners are recovered at a time: one whose hook hangs holds up no other."""

TRIES_IN_VAIN: Final = 3
"""How often the recovery of an owner is started anew that ended before it had done anything."""

STOPPED: Final = (signal.SIGINT, signal.SIGTERM)
"""The signals by which somebody ends a recovery, which is not started anew then."""

TRIES_BY_ID: Final = 5
"""How often an owner without a folder is recovered whose runs another recovery kept meanwhile."""


def recover(url: str, *, wait: bool = True) -> list[Report]:
    """Recover every dead owner of a journal, each in a process of its own, side by side.

    Owners of this host are dead when their lock is free, those of other hosts (in PostgreSQL) when
    their lease ran out. Deliveries that were redriven, and runs that an interrupted recovery left,
    are finished as well. Owners that die meanwhile are recovered too, so that nobody waits behind a
    hook that hangs. While another process does this, `recover` returns when both have finished, or,
    without `wait`, at once: the other recovers all.

    Raises:
        JournalError: the journal cannot be read, or the folder of its owners has no locks.
        SettingError: there is no journal for such a URL.
    """
    take_in(url, EVENTFLOW_DURABILITY.value())
    folder = owners_folder(url)
    root = folder if folder is not None and folder.is_dir() else None
    reports: list[Report] = []
    seen: set[str] = set()
    # Once more after the lock is released: what died at the end was left to this process.
    while not reports or (root is not None and _unseen(root, seen)):
        with _recovering(root) as recovering:
            if recovering is None and root is not None and not wait:
                break
            found = _Supervisor(url, root, recovering, seen).recover(wait=wait)
        if not found:
            break
        reports += found

    return reports


def _unseen(root: Path, seen: set[str]) -> bool:
    return any(owner.id not in seen for owner in dead(root))


@contextmanager
def _recovering(root: Path | None) -> Iterator[Lock | None]:
    """Hold the lock by which other processes know that this one recovers all; None if held."""
    held = None if root is None else _lock(root)
    try:
        yield held
    finally:
        if held is not None:
            held.release()


def _lock(root: Path) -> Lock | None:
    try:
        return lock(root / RECOVERING)
    except OSError as error:
        raise JournalError(
            f"Nobody can be recovered: {root} cannot be locked ({error})."
        ) from error


class _Supervisor:
    """Starts a recovery for each dead owner, and another if that one died."""

    def __init__(
        self, url: str, root: Path | None, recovering: Lock | None, seen: set[str]
    ) -> None:
        self._url = url
        self._root = root
        self._recovering = recovering
        self._seen = seen
        self._reports: dict[str, Report] = {}
        self._tries: Counter[str] = Counter()
        self._limit = 1

    def recover(self, *, wait: bool) -> list[Report]:
        """Recover all dead owners, and those that die until the last of them is recovered.

        With `wait` those count that another process recovers, such as the guardian of an earlier
        recovery that was killed.
        """
        self._limit = TRIES_BY_ID if wait else 1
        with ThreadPoolExecutor(SIDE_BY_SIDE, "eventflow-recovery") as pool:
            pending = self._start_local(pool) | self._start_remote(pool)
            while pending or self._is_held_elsewhere() or (wait and self._is_recovered_elsewhere()):
                if pending:
                    _, pending = wait_for_any(pending, POLL_SECONDS, FIRST_COMPLETED)
                else:
                    time.sleep(POLL_SECONDS)
                pending |= self._start_local(pool)
                if not pending:
                    pending |= self._start_remote(pool)

        return list(self._reports.values())

    def _is_held_elsewhere(self) -> bool:
        """Return whether another process recovers all, and has not ended yet."""
        if self._recovering is None and self._root is not None and self._root.is_dir():
            self._recovering = _lock(self._root)
            return self._recovering is None

        return False

    def _is_recovered_elsewhere(self) -> bool:
        return self._root is not None and is_recovery_at_work(self._root)

    def _start_local(self, pool: ThreadPoolExecutor) -> set[Future[None]]:
        owners = [] if self._root is None else dead(self._root)
        unseen = [owner for owner in owners if owner.id not in self._seen]
        self._seen |= {owner.id for owner in unseen}

        return {
            pool.submit(
                self._recover_one, recovery_command(owner.path, self._url, owner.program), owner.id
            )
            for owner in unseen
        }

    def _start_remote(self, pool: ThreadPoolExecutor) -> set[Future[None]]:
        journal = open_journal(self._url)
        try:
            unfinished = _without_folder(journal, self._root)
        finally:
            journal.close()
        owner_ids = [owner for owner in unfinished if self._is_new(owner)]
        self._tries.update(owner_ids)

        return {
            pool.submit(self._recover_one, [*recovery_program(), "--owner-id", owner_id], owner_id)
            for owner_id in owner_ids
        }

    def _is_new(self, owner: str) -> bool:
        # One with a folder is recovered by that, here or by another process. Afterwards it may have
        # runs still: those that a recovery kept which was killed.
        report = self._reports.get(owner)
        limit = self._limit if report is None or report.problem is None else 0

        return self._tries[owner] < limit and not (self._root and (self._root / owner).is_dir())

    def _recover_one(self, command: Sequence[str], owner: str) -> None:
        """Recover one owner; note the outcome, unless another process does it."""
        report, done, in_vain = Report(owner), Report(owner), 0
        while in_vain < TRIES_IN_VAIN:
            try:
                code, last = _run(command, self._url)
            except OSError as error:
                report = Report(owner, problem=f"its recovery cannot be started: {error}")
                break
            if last is not None and last.problem != UNFINISHED:
                report = last
                break
            if code == 0:
                # Another process recovers it. If that one dies, it is found dead once more.
                self._seen.discard(owner)
                return
            report = Report(owner, problem=f"its recovery ended with code {code}")
            if -code in STOPPED:
                break
            # A hook or a file that kills its process is counted where it is run: each ends among
            # the dead after a few attempts, however many there are.
            in_vain = in_vain + 1 if last is None else 0
            done = done if last is None else last.after(done)
        before = self._reports.get(owner)
        report = report.after(done)
        self._reports[owner] = report if before is None else report.after(before)


def _without_folder(journal: Journal, folder: Path | None) -> list[str]:
    """Return the owners that only the journal shows to be unfinished.

    Their lease ran out, or they have ended, and runs or deliveries of theirs are unfinished.
    """
    silent = journal.owners(lapsed=True)
    lapsed = {row.id for row in silent if not is_of_this_host(folder, row)}
    ended = {row.id for row in journal.owners() if row.ended is not None}
    unkept = {row.owner for row in journal.runs(RunQuery(keeper="", limit=NO_LIMIT))}
    unfinished = journal.runs(RunQuery(unfinished=True, limit=NO_LIMIT))
    owed = journal.deliveries(DeliveryQuery(statuses=OWED, of_workers=False, limit=NO_LIMIT))
    owing = filter(None, map(journal.run, {row.run_id for row in owed}))

    return sorted(lapsed | unkept | {row.owner for row in [*unfinished, *owing]} & ended)


def _run(command: Sequence[str], url: str) -> tuple[int, Report | None]:
    """Run a recovery in a new process; return its exit code, and its last report."""
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--alone", "--report", str(file.fileno())],
            stdin=subprocess.DEVNULL,
            env=recovery_environment(url),
            pass_fds=[file.fileno()],
        )
        code = process.wait()
        # Each report is written over the one before, which may have been longer.
        line = file.readline()

        return code, Report(**json.loads(line)) if line else None
