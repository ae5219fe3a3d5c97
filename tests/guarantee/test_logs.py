"""However a process ends, what its runs have logged is kept with them, each line once."""

from __future__ import annotations

import os
import signal

import pytest

from eventflow.journal.contract import RunQuery
from tests.guarantee.sandbox import Sandbox

KILLED = """
import logging

log = logging.getLogger("etl")

def told(definition, run, state):
    log.warning("hook of %s", state.name)
    get_run_logger().info("attempt %d", runtime.hook.attempt)

def dies_once(definition, run, state):
    log.warning("dying" if runtime.hook.attempt == 1 else "living")
    if runtime.hook.attempt == 1:
        die()

@task
def step(number):
    log.warning("step %d", number)

@flow({hooks})
def etl():
    for number in range(300):
        log.warning("line %d", number)
    step(1)
    {end}

if __name__ == "__main__":
    etl()
"""

LINES = [f"line {number}" for number in range(300)]


def logged(sandbox: Sandbox) -> dict[str, list[str]]:
    """Return the messages of all runs, by definition."""
    journal = sandbox.journal

    return {
        run.definition: [line.message for line in journal.lines(run.id)]
        for run in journal.runs(RunQuery())
    }


@pytest.mark.parametrize("end", ["die()", "os._exit(3)", "import ctypes; ctypes.string_at(0)"])
def test_a_killed_process_loses_no_line(sandbox: Sandbox, end: str) -> None:
    """And the hooks that another process calls log with the run as well."""
    program = sandbox.python(KILLED.format(hooks="on_crashed=[told]", end=end))
    program.end()

    assert logged(sandbox) == {
        "etl": [*LINES, "hook of Crashed", "attempt 1"],
        "step": ["step 1"],
    }
    sandbox.assert_clean()


def test_a_killed_process_without_hooks_loses_no_line(sandbox: Sandbox) -> None:
    """It has no guardian: whoever recovers it has its lines, and its runs, though it was short."""
    program = sandbox.python(KILLED.format(hooks="", end="die()"))
    program.end()
    sandbox.recover()

    assert logged(sandbox) == {"etl": LINES, "step": ["step 1"]}
    assert sandbox.entered("Crashed") == ["etl"]
    sandbox.assert_clean()


def test_a_recovery_that_is_killed(sandbox: Sandbox) -> None:
    """A hook that is called once more logs once more; no other line comes twice."""
    program = sandbox.python(
        KILLED.format(hooks="on_crashed=[told, dies_once]", end="die()"),
        EVENTFLOW_GUARDIAN="false",
    )
    program.end()
    sandbox.recover()
    sandbox.wait_until_recovered()

    told = ["hook of Crashed", "attempt 1", "dying"]
    assert logged(sandbox)["etl"] == [*LINES, *told, "living"]
    sandbox.assert_clean()


def test_lines_of_processes_that_were_forked(sandbox: Sandbox) -> None:
    """Of a pool of processes, and of one that is killed: with the run that forked them."""
    program = sandbox.python(
        """
        import logging, multiprocessing

        log = logging.getLogger("etl")

        def work(number):
            log.warning("worker %d", number)
            return number

        @flow
        def etl():
            log.warning("before")
            context = multiprocessing.get_context("fork")
            with context.Pool(2) as pool:
                pool.map(work, range(4))
                pool.close()
                pool.join()
            child = os.fork()
            if child == 0:
                log.warning("killed")
                die()
            os.waitpid(child, 0)
            log.warning("after")

        if __name__ == "__main__":
            etl()
        """,
        EVENTFLOW_GUARDIAN="false",
    )
    assert program.end() == 0, program.output
    sandbox.recover()

    found = logged(sandbox)["etl"]
    workers = [f"worker {number}" for number in range(4)]
    assert sorted(found) == sorted(["before", *workers, "killed", "after"])
    assert found.index("before") < found.index("after")


def test_a_process_that_ends_leaves_its_lines(sandbox: Sandbox) -> None:
    """They are there for whoever reads next, with those of a signal that ended it."""
    program = sandbox.python(
        """
        import logging

        @flow
        def etl():
            logging.getLogger("etl").warning("begun")
            record("ready")
            try:
                threading.Event().wait()
            finally:
                logging.getLogger("etl").warning("cleaned up")

        if __name__ == "__main__":
            etl()
        """
    )
    sandbox.wait_for_record("ready")
    os.kill(program.pid, signal.SIGTERM)
    program.end()

    assert logged(sandbox) == {"etl": ["begun", "cleaned up"]}
    sandbox.assert_clean()
