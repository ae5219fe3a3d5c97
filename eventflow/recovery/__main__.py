"""`python -m eventflow.recovery`: finish what dead owners left.

With `--owner FOLDER --journal URL` it recovers one owner, in a process set up as that owner was:
with its folder, its arguments, its `sys.path`, its files loaded again. The guardian executes this
command when its owner dies. The files are loaded in the main thread, and all else is done in
another: the main thread is parked where a file would begin a run.
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
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from eventflow.errors import EventflowError, JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.hooks.delivery import Delivery
from eventflow.logs import configure
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.note import read_handed_over
from eventflow.owners.session import OwnerSession
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.endings import Seen
from eventflow.recovery.overdue import deliver_due
from eventflow.recovery.owner import Report, recover_folder, recover_id
from eventflow.recovery.reloading.parking import serve, threads_of_hooks
from eventflow.recovery.supervisor import recover
from eventflow.settings import EVENTFLOW_JOURNAL_URL, EVENTFLOW_RECOVERY_HOOK_SECONDS
from eventflow.wiring import detach

__all__ = ["main", "pause_before"]

GENERATIONS: Final = 100
"""How many recoveries may start one another: if each of them is killed, the chain must end."""

WITHOUT_PAUSE: Final = 10
"""How many of them follow without a pause."""

PAUSE_SECONDS: Final = 0.5
"""By how much each later recovery waits longer than the one before it."""

EXIT_SECONDS: Final = 10.0
"""How long threads that hooks have started may delay the exit of this process."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Recover one owner, or all; return 0 if the recovery is complete, else 1."""
    options = _options(arguments)
    if options.journal is not None:
        os.environ[EVENTFLOW_JOURNAL_URL.name] = options.journal
    for descriptor in (options.report, options.blobs, options.lasting, options.pidfd):
        if descriptor is not None:
            # No process that a hook starts has it.
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keyword
    try:
        configure()
        return _recover(options)
    except (EventflowError, OSError) as error:
        sys.stderr.write(f"eventflow: {error}\n")
        return 1


def _recover(options: argparse.Namespace) -> int:
    url = EVENTFLOW_JOURNAL_URL.value()
    if options.lasting is not None:
        Delivery.limit_seconds = EVENTFLOW_RECOVERY_HOOK_SECONDS.value()
        OwnerSession.sweeps = False
        handed_over = {} if options.blobs is None else read_handed_over(options.blobs)
        deliver_due(Path(options.owner), handed_over, options.lasting)
        return 0
    if options.owner is None and options.owner_id is None:
        reports = recover(url, wait=False)
    else:
        OwnerSession.sweeps = False
        Lifeline.generation = options.generation + 1
        Delivery.limit_seconds = EVENTFLOW_RECOVERY_HOOK_SECONDS.value()
        report = _recover_one(options)
        reports = [] if report is None else [report]
        if report is not None:
            log = get_logger("recovery")
            (log.debug if report.problem is None else log.error)(str(report))
            _write_report(options.report, report)
        if not options.alone:
            # If this owner was a recovery itself, the owner that it recovered is still dead.
            reports += recover(url, wait=False)

    return 0 if all(report.problem is None for report in reports) else 1


def _recover_one(options: argparse.Namespace) -> Report | None:
    generation = options.generation + 1
    try:
        if generation > GENERATIONS:
            raise JournalError(f"it was tried {GENERATIONS} times in vain")
        time.sleep(pause_before(generation))
        handed_over = {} if options.blobs is None else read_handed_over(options.blobs)
        tell = partial(_write_report, options.report)
        if options.owner_id is not None:
            return recover_id(options.owner_id, handed_over, tell)

        waits = not options.alone

        return recover_folder(
            Path(options.owner), handed_over, tell, seen=_seen(options), waits=waits
        )
    except (EventflowError, OSError) as error:
        return Report(options.owner_id or Path(options.owner).name, problem=str(error))


def _seen(options: argparse.Namespace) -> Seen | None:
    """Return what the guardian that has started this process has seen."""
    if options.died is None:
        return None
    died = datetime.fromtimestamp(options.died, UTC)

    return Seen(died, options.pidfd, options.oom_kills)


def pause_before(generation: int) -> float:
    """Return how many seconds a recovery of this generation waits before it begins."""
    return PAUSE_SECONDS * max(0, generation - WITHOUT_PAUSE)


def _write_report(descriptor: int | None, report: Report) -> None:
    if descriptor is not None:
        with suppress(OSError):
            os.pwrite(descriptor, json.dumps(report._asdict()).encode() + b"\n", 0)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="eventflow.recovery", allow_abbrev=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--owner", help="the folder of an owner of this host; else all dead ones")
    which.add_argument("--owner-id", help="an owner that only the journal knows")
    parser.add_argument("--journal", help="the URL of the journal, by default that of the settings")
    parser.add_argument("--alone", action="store_true", help="leave all other owners as they are")
    parser.add_argument(
        "--lasting",
        type=int,
        help="deliver only what is due because a state lasts, and note here when more is",
    )
    parser.add_argument("--died", type=float, help="when the owner ended, in seconds since 1970")
    parser.add_argument("--pidfd", type=int, help="a descriptor of that process")
    parser.add_argument(
        "--oom-kills", type=int, help="what the out-of-memory killer had killed before it ended"
    )
    parser.add_argument("--blobs", type=int, help="a descriptor to read hooks by value from")
    parser.add_argument(
        "--generation", type=int, default=0, help="how many recoveries have started one another"
    )
    parser.add_argument("--report", type=int, help="a descriptor of a file to write the outcome to")

    return parser.parse_args(arguments)


def _work() -> int:
    """Recover, and end the owner that this process is itself."""
    code = main()
    forced_exit = threading.Timer(EXIT_SECONDS, os._exit, [code])
    forced_exit.daemon = True
    forced_exit.start()
    detach(current_bus())
    for thread in threads_of_hooks():
        thread.join()

    return code


if __name__ == "__main__":
    serve(_work)
