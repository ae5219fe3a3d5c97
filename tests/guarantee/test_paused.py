"""A run that is left Paused is no unfinished work, neither of a living nor of a dead process."""

from __future__ import annotations

import json
import signal

import pytest

from tests.guarantee.sandbox import Sandbox

PAUSED = """
from eventflow.errors import PausedRun
from eventflow.states import Paused, Suspended

def told(definition, run, state):
    record(definition.name, state.name)

@task(on_completion=[told], on_crashed=[told])
def waiting():
    return Suspended(message="until tomorrow", timeout_seconds=60)

@flow(on_completion=[told], on_crashed=[told])
def review():
    return waiting.submit()

@flow(on_crashed=[told])
def parent():
    try:
        review()
    except PausedRun as error:
        record(str(error))
    END

review.on("Paused")(told)

if __name__ == "__main__":
    parent()
"""


def test_a_process_that_ends_leaves_nothing_behind(sandbox: Sandbox) -> None:
    """Its owner ends, and there is nothing to recover; the run is listed as what it is."""
    program = sandbox.python(PAUSED.replace("END", "pass"))
    assert program.end() == 0, program.output
    assert sandbox.records() == [["review", "Paused"], ["1/1 states paused."]]
    assert sandbox.states() == [
        *(("parent", "Completed"), ("review", "Paused"), ("waiting", "Suspended")),
    ]
    assert sandbox.recover() == []
    sandbox.assert_clean()
    listed = json.loads(sandbox.eventflow("runs", "ls", "--state", "Paused", "--all", "--json"))
    assert {run["state"]["name"] for run in listed} == {"Paused", "Suspended"}
    assert all(run["end_time"] for run in listed)
    assert json.loads(sandbox.eventflow("runs", "ls", "--unfinished", "--all", "--json")) == []


@pytest.mark.parametrize("with_guardian", [True, False])
def test_it_stays_paused_when_its_process_is_killed(
    sandbox: Sandbox, *, with_guardian: bool
) -> None:
    """The run around it is Crashed, by whoever recovers the process."""
    program = sandbox.python(PAUSED.replace("END", "hold()"))
    sandbox.wait_for_record("ready")
    if with_guardian:
        program.send(signal.SIGKILL)
        program.end()
        sandbox.wait_until_recovered()
    else:
        sandbox.kill_with_guardian(program)
        program.end()
        assert [report["problem"] for report in sandbox.recover()] == [None]
    # A hook that ended in the last moments before the kill may have been called again.
    assert list(dict.fromkeys(map(tuple, sandbox.records()))) == [
        *(("review", "Paused"), ("1/1 states paused.",), ("ready",), ("parent", "Crashed")),
    ]
    assert sandbox.states() == [
        *(("parent", "Crashed"), ("review", "Paused"), ("waiting", "Suspended")),
    ]
    sandbox.assert_clean()


def test_a_hook_that_it_owes_is_called(sandbox: Sandbox) -> None:
    """The process is killed in the hook for Paused: it runs again, and the run stays as it is."""
    program = sandbox.python(
        """
        from eventflow.states import Paused

        @flow
        def review():
            return Paused(message="until tomorrow")

        @review.on("Paused")
        def told(flow, run, state):
            record(state.name, state.message, runtime.hook.attempt, state.is_paused())
            if runtime.hook.attempt == 1:
                die()

        if __name__ == "__main__":
            review()
        """
    )
    assert program.end() == -signal.SIGKILL
    sandbox.wait_until_recovered()
    facts = ["Paused", "until tomorrow"]
    assert sandbox.records() == [[*facts, 1, True], [*facts, 2, True]]
    assert sandbox.states() == [("review", "Paused")]
    sandbox.assert_clean()
