"""Recovery of every dead owner of a journal, each in a new process."""

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
from eventflow.recovery.owner import Report

__all__ = ["recover"]

MANY: Final = 100_000
"""How many runs or deliveries are looked at to find out whose they are."""

POLL_SECONDS: Final = 0.1
"""How often the lock is tried that another recovery holds."""


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
