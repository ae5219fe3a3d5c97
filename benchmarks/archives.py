"""A program that fills a journal with very many runs, as weeks of work leave them.

Flows of a hundred runs each, one run in a thousand Failed, a delivered hook for each flow but for
one in ten, which is dead; one flow of a rare name; and a last flow with a tenth of all runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import run_python
from eventflow import flow, task

__all__ = ["ALONE", "DEAD", "FAILED", "FLOW", "build"]

FLOW: Final = 100
"""How many runs there are of a flow and its tasks."""

DEAD: Final = 10
"""The hook of one flow in so many is dead."""

FAILED: Final = 1_000
"""One run in so many has failed."""

ALONE: Final = {
    "EVENTFLOW_GUARDIAN": "false",
    "EVENTFLOW_LOG_LEVEL": "CRITICAL",
    "EVENTFLOW_RETENTION_BYTES": str(2**62),
}
"""The settings of a process that nobody watches, and that prunes nothing."""


def build(home: Path, runs: int) -> None:
    """Make so many runs in a process of its own, with a journal in this home."""
    run_python("-m", "benchmarks.archives", str(runs), home=str(home), **ALONE)


def tell(_definition: object, run: Any, _state: object) -> None:
    """Do nothing with a state, or fail."""
    if run.parameters["begin"] // FLOW % DEAD == 0:
        raise OSError("nobody there")


@task
def extract(number: int) -> int:
    """Do next to nothing, or fail."""
    if number % FAILED == DEAD // 2:
        raise ValueError(number)

    return number


@flow(on_completion=[tell], tags=["nightly"], validate_parameters=False)
def etl(begin: int, end: int) -> None:
    """Run a task for each number but the first, which stands for the flow."""
    for number in range(begin + 1, end):
        extract(number, return_state=True)


@flow
def report() -> None:
    """Do nothing, once."""


def fill(runs: int) -> None:
    """Make so many runs."""
    report()
    last = runs - runs // 10
    for begin in range(1, last, FLOW):
        etl(begin, min(begin + FLOW, last))
    etl(last, runs)


if __name__ == "__main__":
    fill(int(sys.argv[1]))
