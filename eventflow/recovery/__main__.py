"""`python -m eventflow.recovery`: finish what dead owners left.

With `--owner FOLDER --journal URL` it recovers one owner, in a process set up as that owner was:
with its folder, its arguments, its `sys.path`, its files loaded again. The guardian executes this
command when its owner dies.
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
from eventflow.owners.note import read_handed_over
from eventflow.owners.session import OwnerSession
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.owner import Report, recover_folder, recover_id
from eventflow.recovery.supervisor import recover
from eventflow.settings import EVENTFLOW_JOURNAL_URL

__all__ = ["main", "pause_before"]

GENERATION: Final = "EVENTFLOW_RECOVERY_GENERATION"
"""The environment variable that counts the recoveries which started one another."""

GENERATIONS: Final = 100
"""How many recoveries may start one another: if each of them is killed, the chain must end."""

WITHOUT_PAUSE: Final = 10
"""How many of them follow without a pause: a hook that kills its process needs no more."""

PAUSE_SECONDS: Final = 0.5
"""By how much each later recovery waits longer than the one before it."""

EXIT_SECONDS: Final = 10.0
"""How long threads that the owner's files started may delay the exit of this process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Recover one owner, or all; return 0 if the recovery is complete, else 1."""
    configure()
    options = _options(arguments)
    if options.journal is not None:
        os.environ[EVENTFLOW_JOURNAL_URL.name] = options.journal
    if options.owner is None and options.owner_id is None:
        reports = recover(EVENTFLOW_JOURNAL_URL.value(), wait=False)
    else:
        OwnerSession.sweeps = False
        report = _recover_one(options)
        _write_report(options.report, report)
        reports = [] if report is None else [report]
        if not options.alone:
            # If this owner was a recovery itself, the owner that it recovered is still dead, and a
            # supervisor at work may have tried that one before.
            reports += recover(EVENTFLOW_JOURNAL_URL.value())

    return 0 if all(report.problem is None for report in reports) else 1


def _recover_one(options: argparse.Namespace) -> Report | None:
    generation = int(os.environ.get(GENERATION, "0")) + 1
    os.environ[GENERATION] = str(generation)
    try:
        if generation > GENERATIONS:
            raise JournalError(f"it was tried {GENERATIONS} times in vain")
        time.sleep(pause_before(generation))
        with without_runs():
            handed_over = {} if options.blobs is None else read_handed_over(options.blobs)
            if options.owner_id is not None:
                return recover_id(options.owner_id, handed_over)
            return recover_folder(Path(options.owner), handed_over)
    except (EventflowError, OSError) as error:
        return Report(options.owner_id or Path(options.owner).name, problem=str(error))


def pause_before(generation: int) -> float:
    """Return how many seconds a recovery of this generation waits before it begins."""
    return PAUSE_SECONDS * max(0, generation - WITHOUT_PAUSE)


def _write_report(descriptor: int | None, report: Report | None) -> None:
    if report is None:
        return
    log = get_logger("recovery")
    (log.info if report.problem is None else log.error)(str(report))
    if descriptor is not None:
        with suppress(OSError), os.fdopen(descriptor, "w") as pipe:
            json.dump(report._asdict(), pipe)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
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
    FORCED_EXIT = threading.Timer(EXIT_SECONDS, os._exit, [CODE])
    FORCED_EXIT.daemon = True
    FORCED_EXIT.start()
    sys.exit(CODE)
