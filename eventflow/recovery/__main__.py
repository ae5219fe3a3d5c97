"""`python -m eventflow.recovery`: finish what dead owners left.

With `--owner FOLDER --journal URL` it does so for one owner, in a process that is like that
owner's: its folder, its arguments, its `sys.path`, its files loaded again. The guardian becomes
such a process when its owner dies.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.context import without_runs
from eventflow.errors import EventflowError, JournalError
from eventflow.logs import configure
from eventflow.owners.lifeline import read_blobs
from eventflow.owners.session import OwnerSession
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.owner import Report, recover_folder, recover_id
from eventflow.recovery.supervisor import recover
from eventflow.settings import EVENTFLOW_JOURNAL_URL

__all__ = ["main"]

GENERATION: Final = "EVENTFLOW_RECOVERY_GENERATION"
"""Where a recovery finds how many led to it, each of which was killed or found another to do."""

GENERATIONS: Final = 100
"""How many recoveries may follow from each other: what ends them all must not go on for ever."""

AT_ONCE: Final = 10
"""How many of these follow at once: hooks that kill their process each time need no more, and what
has another cause is not mended by haste."""

PAUSE_SECONDS: Final = 0.5
"""By how much each of the later ones waits longer than the one before it."""

LAST_SECONDS: Final = 10.0
"""How long what the owner's files have started may still keep this process, when all is done."""


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
            handed_over = {} if given.blobs is None else dict(read_blobs(given.blobs))
            if given.owner_id is not None:
                return recover_id(given.owner_id, handed_over)
            return recover_folder(Path(given.owner), handed_over)
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


if __name__ == "__main__":
    CODE = main()
    LAST = threading.Timer(LAST_SECONDS, os._exit, [CODE])
    LAST.daemon = True
    LAST.start()
    sys.exit(CODE)
