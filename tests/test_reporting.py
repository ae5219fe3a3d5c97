"""What is logged by default: the start and the end of flow runs, and runs that failed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eventflow import cancel, flow, runtime, task
from eventflow.states import Cancelled, Completed, Failed

pytestmark = pytest.mark.usefixtures("eventflow_isolated", "restored_logger")

HERE = Path(__file__).name


class Line(NamedTuple):
    """A line about a run: the name of its definition, its level, and its message."""

    name: str
    level: str
    text: str


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Line]]:
    """Return a function that returns the lines about runs, durations and line numbers masked."""
    caplog.set_level("INFO", "eventflow")

    def found() -> list[Line]:
        return [
            Line(
                str(getattr(record, "task_name", None) or getattr(record, "flow_name", "")),
                record.levelname,
                re.sub(r"\d[\d.]* (µs|ms|s\b)", "D", record.getMessage().partition(": ")[2]),
            )
            for record in caplog.records
            if record.name == "eventflow.runs"
        ]

    return found


@task
def fails(number: int = 3) -> None:
    """Fail."""
    raise ValueError(f"bad row {number}")


@task
async def afails() -> None:
    """Fail, on an event loop."""
    raise ValueError("bad row 3")


@task
def calls() -> None:
    """Call a task that fails."""
    fails()


WHERE = f"Failed after D: ValueError: bad row 3 ({HERE}:{fails.fn.__code__.co_firstlineno + 3})"


def in_tests(text: str) -> str:
    """Mask the folder of this file, in which pytest does not run."""
    return text.replace(f"({Path(__file__).parent}{os.sep}", "(").replace("(tests/", "(")


@task
def quiet() -> int:
    """Complete."""
    return 1


@flow
def inner() -> int:
    """Run tasks in every way."""
    return quiet() + quiet.submit().result()


@flow
def plain() -> int:
    """Call a flow."""
    return inner()


@flow
async def coroutine() -> int:
    """Call a flow, on an event loop."""
    return inner()


@flow
def generator() -> Iterator[int]:
    """Yield what a flow returns."""
    yield inner()


@flow
async def agenerator() -> Any:
    """Yield what a flow returns, on an event loop."""
    yield inner()


async def consume() -> None:
    """Take all items of the async generator."""
    async for _ in agenerator():
        pass


def test_a_flow_run_begins_and_ends(lines: Callable[[], list[Line]]) -> None:
    """Sync, async and generators: one line each; the tasks and flows within them have none."""
    plain()
    asyncio.run(coroutine())
    list(generator())
    asyncio.run(consume())
    told = [("INFO", "Started"), ("INFO", "Completed in D")]
    assert lines() == [
        (name, *line) for name in ("plain", "coroutine", "generator", "agenerator") for line in told
    ]


def test_a_task_run_that_failed_for_good(lines: Callable[[], list[Line]]) -> None:
    """Each run above it that failed with it has a line too; the line says why and where."""

    @flow
    def middle() -> None:
        calls()

    @flow
    def outer() -> None:
        middle()

    outer(return_state=True)
    found = [line._replace(text=in_tests(line.text)) for line in lines()]
    assert found == [
        ("outer", "INFO", "Started"),
        *((name, "ERROR", WHERE) for name in ("fails", "calls", "middle", "outer")),
    ]


@pytest.mark.parametrize("kind", ["called", "submitted", "mapped", "async", "alone"])
def test_every_way_to_run_a_task(kind: str, lines: Callable[[], list[Line]]) -> None:
    """A failure has one line, also of a task run that nobody looks at, or that is in no flow."""

    @flow
    def main() -> None:
        if kind == "called":
            fails(return_state=True)
        elif kind == "submitted":
            fails.submit()
        else:
            fails.map([1, 2])

    @flow
    async def amain() -> None:
        await afails(return_state=True)

    if kind == "alone":
        fails(return_state=True)
    else:
        asyncio.run(amain()) if kind == "async" else main()
    failures = [line for line in lines() if line.level == "ERROR"]
    assert {line.name for line in failures} == {"afails" if kind == "async" else "fails"}
    assert len(failures) == (2 if kind == "mapped" else 1)
    assert len(lines()) - len(failures) == (0 if kind == "alone" else 2)


def test_a_run_that_is_retried(lines: Callable[[], list[Line]]) -> None:
    """It has a line when it has failed for good, or when its flow completed after all."""

    @flow(retries=2)
    def third() -> None:
        if runtime.flow_run.run_count < 3:
            fails.with_options(name="twice", retries=1)()

    third()
    assert [line.text.partition(": ")[0] for line in lines()] == [
        "Started",
        "Failed after 2 attempts in D",
        "Failed after 2 attempts in D",
        "Completed in D after 3 attempts",
    ]


@flow
def skipped() -> Any:
    """Complete under another name."""
    return Completed(name="Skipped", message="nothing new")


@flow
def refused() -> Any:
    """Fail without an exception."""
    return Failed(message="no rows")


@flow
def unneeded() -> Any:
    """Be cancelled by the body itself."""
    return Cancelled(message="no need")


@flow(timeout_seconds=0.01)
def late() -> None:
    """Take too long."""
    while True:
        time.sleep(0.001)


@flow
def stopped() -> None:
    """Be cancelled."""
    cancel(runtime.flow_run.id or "")
    while True:
        time.sleep(0.001)


@flow
def typed(number: int) -> int:
    """Take a number."""
    return number


def test_other_ends(lines: Callable[[], list[Line]]) -> None:
    """The name of the state and its message; what did not complete is no error by itself."""
    for run in (skipped, refused, unneeded, late, stopped):
        run(return_state=True)
    typed("one", return_state=True)
    *ends, last = [line for line in lines() if line.text != "Started"]
    assert ends == [
        ("skipped", "INFO", "Skipped in D: nothing new"),
        ("refused", "ERROR", "Failed after D: no rows"),
        ("unneeded", "INFO", "Cancelled after D: no need"),
        ("late", "ERROR", "TimedOut after D: The body did not end within its timeout of D."),
        ("stopped", "INFO", "Cancelled after D: The run was cancelled."),
    ]
    assert last.level == "ERROR"
    assert "typed was called with parameters that do not fit" in last.text


def test_a_run_that_crashed(lines: Callable[[], list[Line]]) -> None:
    """The line says what ended it."""

    @flow
    def exits() -> None:
        sys.exit(7)

    with pytest.raises(SystemExit):
        exits()
    end = in_tests(lines()[-1].text)
    assert end.startswith("Crashed after D: The run was ended by SystemExit: 7 (")
    assert lines()[-1].level == "ERROR"


def test_the_record_has_the_facts(caplog: pytest.LogCaptureFixture) -> None:
    """For handlers of the program: the run's name in the message, the rest as attributes."""
    caplog.set_level("INFO", "eventflow")
    fails(return_state=True)
    (record,) = [record for record in caplog.records if record.name == "eventflow.runs"]
    facts = vars(record)
    assert record.getMessage().startswith(f"{facts['task_run_name']}: Failed after ")
    assert (facts["state"], facts["error_type"]) == ("Failed", "ValueError")
    assert facts["error_message"] == "bad row 3"
    assert facts["error_traceback"].startswith("Traceback (most recent call last):\n")
    assert facts["duration"] > 0


def test_a_handler_that_raises(lines: Callable[[], list[Line]]) -> None:
    """The run ends as it would have."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit(record.getMessage())

    broken = Broken()
    logging.getLogger("eventflow.runs").addHandler(broken)
    try:
        assert fails(return_state=True).message == "The body raised ValueError: bad row 3"
        assert plain() == 2
    finally:
        logging.getLogger("eventflow.runs").removeHandler(broken)


EVERY = ["INFO", "ERROR", "INFO"]

PROGRAM = """
import logging, os
{setup}
from eventflow import flow, task
@task
def fails():
    raise ValueError("bad row 3")
@flow
def main():
    fails(return_state=True)
main()
{more}
"""


def stderr_of(tmp_path: Path, setup: str = "", more: str = "", **settings: str) -> list[str]:
    """Run a flow with a task that fails in a program of its own; return its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM).format(setup=setup, more=more)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "EVENTFLOW_HOME": str(tmp_path), **settings},
    )

    return done.stderr.splitlines()


def test_lines_in_a_pipe(tmp_path: Path) -> None:
    """They are for people there too, and without colours."""
    found = stderr_of(tmp_path)
    shape = r"\d\d:\d\d:\d\d\.\d{3} (INFO |ERROR)   (main/|fails-)[\w-]+ +"
    assert len(found) == 3
    assert all(re.match(shape, line) for line in found)
    texts = [re.sub(shape, "", line) for line in found]
    assert texts[0] == "Started"
    assert re.fullmatch(r"Failed after [\d.]+ \w+: ValueError: bad row 3 \(<string>:7\)", texts[1])
    assert re.fullmatch(r"Completed in [\d.]+ \w+", texts[2])


def test_json_is_asked_for(tmp_path: Path) -> None:
    """Then each line is a flat object, and the failure has its traceback."""
    found = [json.loads(line) for line in stderr_of(tmp_path, EVENTFLOW_LOG_FORMAT="json")]
    assert [line["logger"] for line in found] == ["eventflow.runs"] * 3
    assert found[0]["event"] == "Started"
    assert (found[1]["task_name"], found[1]["error_type"]) == ("fails", "ValueError")
    assert found[1]["error_traceback"].endswith("ValueError: bad row 3\n")
    assert (found[2]["flow_name"], found[2]["state"]) == ("main", "Completed")


@pytest.mark.parametrize(("level", "count"), [("WARNING", 1), ("CRITICAL", 0)])
def test_a_setting_turns_them_down(level: str, count: int, tmp_path: Path) -> None:
    """At WARNING there are failures only."""
    assert len(stderr_of(tmp_path, EVENTFLOW_LOG_LEVEL=level)) == count


@pytest.mark.parametrize(
    ("setup", "settings", "expected"),
    [
        ("logging.basicConfig(format='%(levelname)s %(name)s')", {}, ["ERROR"]),
        (
            "logging.basicConfig(format='%(levelname)s', level='INFO')",
            {},
            ["INFO", "ERROR", "INFO"],
        ),
        ("logging.getLogger('eventflow').setLevel('ERROR')", {}, ["ERROR"]),
        ("logging.getLogger('eventflow.runs').setLevel('CRITICAL')", {}, []),
        (
            "logging.basicConfig(format='%(levelname)s')",
            {"EVENTFLOW_LOG_LEVEL": "INFO"},
            EVERY,
        ),
    ],
)
def test_a_program_that_configures_logging_is_left_alone(
    setup: str, settings: dict[str, str], expected: list[str], tmp_path: Path
) -> None:
    """Its own handlers and levels count; a setting that is given counts as well."""
    found = [word for line in stderr_of(tmp_path, setup, **settings) for word in line.split()]
    assert [word for word in found if word in {"INFO", "ERROR"}] == expected


def test_a_program_that_configures_logging_later(tmp_path: Path) -> None:
    """Also after its first run."""
    more = "logging.basicConfig(format='own %(levelname)s'); main()"
    assert [line for line in stderr_of(tmp_path, more=more) if "own" in line] == ["own ERROR"]
