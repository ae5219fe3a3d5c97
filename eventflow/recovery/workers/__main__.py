"""`python -m eventflow.recovery.workers`: run claimed hooks of one program, as its worker asks.

A worker starts it, set up as the owner of the runs was: with its folder, its arguments, its
`sys.path`, its files loaded again. Commands come as lines of JSON on one descriptor, and each is
answered by a line on another, once the hook has ended. It ends with the first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventflow.errors import EventflowError, JournalError
from eventflow.eventbus.bus import bus_of_runs, current_bus
from eventflow.journal.claims import Claim
from eventflow.journal.recorder import Recorder
from eventflow.logs import configure
from eventflow.owners.leftovers import row_of
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.owner import unknown_owner
from eventflow.recovery.reloading.loading import adopt_environment
from eventflow.recovery.reloading.parking import serve
from eventflow.recovery.workers.claimed import Deliverer
from eventflow.wiring import detach
from eventflow.wiring import recorder as wired_recorder

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what comes as commands, until there are no more."""
    options = _options(arguments)
    for descriptor in (options.commands, options.replies):
        # No process that a hook starts has it.
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - takes no keyword
    configure()
    try:
        recorder = _recorder()
        owner = row_of(recorder.journal, options.owner) or unknown_owner(options.owner)
        adopt_environment(owner)
        deliverer = Deliverer(recorder, owner)
        with os.fdopen(options.commands) as commands, os.fdopen(options.replies, "w") as replies:
            for line in commands:
                replies.write(json.dumps(_answer(deliverer, json.loads(line))) + "\n")
                replies.flush()
    except (EventflowError, OSError) as error:
        sys.stderr.write(f"eventflow: {error}\n")
        return 1

    return 0


def _answer(deliverer: Deliverer, command: dict[str, str]) -> dict[str, Any]:
    claim = Claim(UUID(command["run"]), command["claim"])
    try:
        ledger = deliverer.deliver(claim, UUID(command["delivery"]))
    except JournalError as error:
        get_logger("workers").warning(f"{error}")
        return {"status": "lost", "error": str(error)}

    return {"status": "lost" if ledger.is_lost else str(ledger.status), "error": ledger.error}


def _recorder() -> Recorder:
    """Return the recorder of this process: hooks may run flows, which are recorded as its own."""
    bus_of_runs()
    recorder = wired_recorder()
    if recorder is None:
        raise JournalError("There is no journal here: EVENTFLOW_DURABILITY is off.")
    recorder.sink.begin()

    return recorder


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="eventflow.recovery.workers", allow_abbrev=False)
    parser.add_argument("--owner", required=True, help="whose program is loaded again")
    parser.add_argument("--commands", type=int, required=True, help="a descriptor to read")
    parser.add_argument("--replies", type=int, required=True, help="a descriptor to write to")

    return parser.parse_args(arguments)


def _work() -> int:
    """Run hooks, and end the owner that this process is itself."""
    code = main()
    detach(current_bus())

    return code


if __name__ == "__main__":
    serve(_work)
