"""Recover every dead owner of a journal, each in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from eventflow.hooks.ledger import OWED
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.owners.folders import RECOVERING, dead, owners_folder
from eventflow.owners.lifeline import recovery_command, recovery_environment
from eventflow.owners.locks import lock
from eventflow.owners.process import recovery_program
from eventflow.recovery.owner import NO_LIMIT, Report

__all__ = ["recover"]

POLL_SECONDS: Final = 0.1
"""The pause between two tries to take the lock that another recovery holds."""


def recover(url: str, *, wait: bool = True) -> list[Report]:
    """Recover every dead owner of a journal, one after the other.

    Owners of this host are dead when their lock is free, those of other hosts (in PostgreSQL) when
    their lease ran out. Deliveries that were redriven, and runs that an interrupted recovery left,
    are finished as well. Only one process of a host does this at a time: a second one waits, or,
    without `wait`, returns at once.

    Raises:
        JournalError: the journal cannot be read.
        SettingError: there is no journal for such a URL.
    """
    folder = owners_folder(url)
    if folder is None or not folder.is_dir():
        return _recover_all(url, folder)
    while (recovering := lock(folder / RECOVERING)) is None:
        if not wait:
            return []
        time.sleep(POLL_SECONDS)
    try:
        return _recover_all(url, folder)
    finally:
        recovering.release()


def _recover_all(url: str, folder: Path | None) -> list[Report]:
    owners = [] if folder is None else dead(folder)
    reports = [
        _recover_in_process(recovery_command(owner.path, url, owner.program), owner.id, url)
        for owner in owners
    ]
    journal = open_journal(url)
    try:
        owner_ids = _without_folder(journal)
    finally:
        journal.close()
    reports += [
        _recover_in_process([*recovery_program(), "--owner-id", owner_id], owner_id, url)
        for owner_id in owner_ids
    ]

    return [report for report in reports if report is not None]


def _without_folder(journal: Journal) -> list[str]:
    """Return the owners that only the journal shows to be unfinished.

    Their lease ran out, or they have ended, and runs or deliveries of theirs are unfinished.
    """
    lapsed = {row.id for row in journal.owners(lapsed=True)}
    ended = {row.id for row in journal.owners() if row.ended is not None}
    unkept = {row.owner for row in journal.runs(RunQuery(keeper="", limit=NO_LIMIT))}
    unfinished = journal.runs(RunQuery(unfinished=True, limit=NO_LIMIT))
    owed = journal.deliveries(DeliveryQuery(statuses=OWED, limit=NO_LIMIT))
    owing = filter(None, map(journal.run, {row.run_id for row in owed}))

    return sorted(lapsed | unkept | {row.owner for row in [*unfinished, *owing]} & ended)


def _recover_in_process(command: Sequence[str], owner: str, url: str) -> Report | None:
    """Recover one owner in a new process; return None if another process does."""
    reader, writer = os.pipe()
    try:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "--alone", "--report", str(writer)],
                stdin=subprocess.DEVNULL,
                env=recovery_environment(url),
                pass_fds=[writer],
            )
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            report = pipe.read()
        code = process.wait()
    except OSError as error:
        return Report(owner, problem=f"its recovery cannot be started: {error}")
    if report:
        return Report(**json.loads(report))

    return None if code == 0 else Report(owner, problem=f"its recovery ended with code {code}")
