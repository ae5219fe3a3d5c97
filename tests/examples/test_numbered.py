"""The numbered examples run as their reader would run them, and print what makes their point."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.sandbox import EXAMPLES, Sandbox


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("01_hello.py", ["Hello, Ada!", "Hello, Grace!", "2 greeted"]),
        (
            "02_retries.py",
            [
                *("attempt 1", "attempt 2", "attempt 3"),
                *("fetch is Completed after 3 attempts", "<html>"),
            ],
        ),
        (
            "03_one_hook_many_transitions.py",
            [
                "divide(1, 0) is AwaitingRetry: Attempt 1 failed; the next begins in 0 s.",
                "divide(1, 0) is Failed: The body raised ZeroDivisionError: division by zero",
                "[0.5, 0.25]",
            ],
        ),
        ("06_own_events.py", ["Collecting invoice 7.", "Thank you for paying invoice 7."]),
        (
            "07_async_fan_out.py",
            ["200 pings of 0.1 s each took less than 10 s in all: True", "first: 0"],
        ),
        ("08_testing.py", ["Pending -> Running -> AwaitingRetry -> Retrying -> Completed"]),
    ],
)
def test_an_example_prints_exactly_this(sandbox: Sandbox, script: str, lines: list[str]) -> None:
    """The example ends with 0, prints these lines, and logs only how its runs began and ended."""
    result = sandbox.run(script)

    assert result.status == 0, result.stderr
    assert result.stdout.splitlines() == lines
    assert result.unexpected() == []


def test_the_listener_prints_every_task_and_then_every_flow_transition(sandbox: Sandbox) -> None:
    """The second subscription sees the flow for as long as its block lasts."""
    result = sandbox.run("04_listener.py")

    assert result.status == 0, result.stderr
    first_words = [" ".join(line.split()[:2]) for line in result.stdout.splitlines()]
    tasks = ["extract Completed", "load Completed"]
    begun = ["eventflow.flow-run.Pending", "eventflow.flow-run.Running"]
    assert first_words == [*tasks, "3", *begun, *tasks, "eventflow.flow-run.Completed"]


def test_the_stream_yields_every_event_in_order(sandbox: Sandbox) -> None:
    """A flow with three tasks is read from Pending to Completed, and nothing is dropped."""
    result = sandbox.run("05_stream.py")

    assert result.status == 0, result.stderr
    begun = ["0 eventflow.task-run.Pending", "1 eventflow.task-run.Running"]
    assert result.stdout.splitlines() == [
        "0 eventflow.flow-run.Pending",
        "1 eventflow.flow-run.Running",
        *([*begun, "2 eventflow.task-run.Completed"] * 3),
        "2 eventflow.flow-run.Completed",
        "3 with 0 events dropped",
    ]


def test_a_hook_of_a_killed_process_runs_in_another(sandbox: Sandbox) -> None:
    """The guardian of the killed process loads the example again, up to its `__main__` guard."""
    result = sandbox.run("09_survives_a_kill.py")

    assert result.status == 0, result.stderr
    assert result.stdout.splitlines()[-1].endswith(" is Crashed, says another process")


def test_what_must_happen_once_happens_once(sandbox: Sandbox) -> None:
    """The first attempt fails after its insert; only the row of the second one is in the table."""
    result = sandbox.run("10_exactly_once.py")

    assert result.status == 0, result.stderr
    assert result.stdout.splitlines() == ["2 attempts, 1 booking"]


def test_a_run_that_takes_too_long_is_told_of(sandbox: Sandbox) -> None:
    """While it goes on: the task first, as its limit is shorter, and the end once."""
    result = sandbox.run("11_still_running.py")

    assert result.status == 0, result.stderr
    assert result.stdout.splitlines() == [
        "extract is still Running",
        "nightly is still Running",
        "nightly is Completed",
    ]


def test_every_example_is_tested() -> None:
    """Each file of examples/ is named by a test of this folder."""
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

    assert [path.name for path in EXAMPLES.glob("*.py") if path.name not in tests] == []


def test_the_numbered_examples_are_short() -> None:
    """Each has fewer than 40 lines, and begins by saying what it shows."""
    texts = {path.name: path.read_text() for path in EXAMPLES.glob("[0-9]*.py")}

    assert len(texts) == 11
    assert [name for name, text in texts.items() if text.count("\n") >= 40] == []
    assert all(text.startswith('"""') for text in texts.values())
