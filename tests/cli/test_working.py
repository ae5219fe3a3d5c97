"""`eventflow work`: hooks that are left to workers are run, and what became of them is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from eventflow.errors import JournalError
from eventflow.recovery.workers.worker import Worker
from tests.cli.conftest import Invoke, Spawn

FLOW = """
from eventflow import Hook, flow

def press(flow, run, state):
    print("pressing", run.name)

def fail(flow, run, state):
    raise ValueError("no paper")

@flow(
    flow_run_name="report",
    hooks=[Hook(fn, state="Completed", where="worker") for fn in (press, fail)],
)
def etl():
    pass

if __name__ == "__main__":
    etl()
"""


class Ran(NamedTuple):
    """How a command ended, and what it has printed."""

    status: int
    output: str
    errors: str


Command: TypeAlias = Callable[..., Ran]


@pytest.fixture
def eventflow(spawn: Spawn) -> Command:
    """Return a function that runs the command line in a process of its own, to its end."""

    def run(*arguments: str) -> Ran:
        process = spawn(*arguments)
        output, errors = process.communicate()

        return Ran(process.returncode, output, errors)

    return run


@pytest.fixture
def owing(folder: Path, eventflow: Command) -> None:
    """Run a flow that leaves two hooks to workers, one of which fails."""
    (folder / "report.py").write_text(FLOW)
    assert eventflow("run", "report.py:etl").status == 0


@pytest.mark.usefixtures("owing")
def test_what_is_due_is_run_once(eventflow: Command) -> None:
    """Until then the list says who it waits for; the exit code is that of a dead hook."""
    listed = json.loads(eventflow("deliveries", "ls", "--json").output)
    assert [(each["where"], each["status"]) for each in listed] == [("worker", "pending")] * 2
    result = eventflow("work", "--once")
    assert result.status == 1
    assert "report:press for etl/report" in result.output
    assert "ValueError: no paper" in result.output
    assert "pressing report" in result.errors
    assert "eventflow work" in eventflow("deliveries", "redrive", "--all").output

    again = eventflow("work", "--once", "--json", "--hooks", "*:fail")
    document = json.loads(again.output)
    assert {key: document[key] for key in ("hook", "status", "attempt", "error")} == {
        "hook": "report:fail",
        "status": "dead",
        "attempt": 1,
        "error": "ValueError: no paper",
    }


def test_a_journal_in_memory_has_no_workers(invoke: Invoke) -> None:
    """It is of one process only; an error of the service says so."""
    with pytest.raises(JournalError, match="of one process only"):
        Worker("memory://", "process", (), 15.0)
    assert "memory" in invoke("work", "--once", "--journal", "memory://").stderr
