"""Records: made without validation, and with a schema only where one is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from eventflow.events import Event, StateTransition
from eventflow.states.records import TRACEBACK_LIMIT, Deferred, ErrorInfo, record


class Point(BaseModel):
    """Something to make."""

    model_config = ConfigDict(frozen=True)

    x: int
    y: int = 0


FIELDS = {"x", "y"}


def test_a_record_is_what_validation_would_have_made() -> None:
    """It is equal to a validated one, and so are its JSON, its copies and its repr."""
    made, validated = record(Point, {"x": 1, "y": 2}, FIELDS), Point(x=1, y=2)
    assert made == validated
    assert made.model_dump_json() == validated.model_dump_json()
    assert made.model_dump(exclude_unset=True) == {"x": 1, "y": 2}
    assert made.model_copy(update={"y": 3}) == Point(x=1, y=3)
    assert repr(made) == repr(validated)
    assert hash(made) == hash(validated)


def test_a_record_is_frozen() -> None:
    """It cannot be changed, like every frozen model."""
    made = record(Point, {"x": 1, "y": 2}, FIELDS)
    with pytest.raises(ValidationError, match="frozen"):
        made.x = 5  # type: ignore[misc]


def test_copies_do_not_change_what_records_share() -> None:
    """A copy with another field set does not change the shared set of fields."""
    made = record(Point, {"x": 1, "y": 2}, FIELDS)
    made.model_copy(update={"z": 3})
    assert {"x", "y"} == FIELDS


HELLO = """
from eventflow import flow, task

@task
def greet(name):
    return f"Hello, {name}"

@flow
def hello():
    return greet("world")

hello()
"""

BUILT = """
import sys

from eventflow.states.records import Deferred

kinds = [Deferred]
for kind in kinds:
    kinds += kind.__subclasses__()

assert len(kinds) > 10
print(sorted(kind.__name__ for kind in kinds if kind.__pydantic_complete__))
print(sorted({"importlib.metadata", "email"} & sys.modules.keys()))
"""


@pytest.mark.parametrize("program", ["from eventflow import *", HELLO], ids=["import", "hello"])
def test_a_program_that_reads_no_event_builds_no_schema(program: str, tmp_path: Path) -> None:
    """Nor does it import what pydantic imports to build one, to search metadata for plugins."""
    assert output_of(program + BUILT, tmp_path) == "[]\n[]\n"


CONNECTED = """
import atexit, sys

atexit.register(lambda: print(connected))
connected = []
sys.addaudithook(lambda event, _: event == "sqlite3.connect" and connected.append(event))
"""


def test_a_program_opens_its_journal_once(tmp_path: Path) -> None:
    """Closing the file rewrites it, which happens once, at the exit."""
    assert output_of(CONNECTED + HELLO, tmp_path) == "['sqlite3.connect']\n"


def output_of(program: str, home: Path) -> str:
    """Run a program in a fresh interpreter, with a home of its own; return its output."""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"EVENTFLOW_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )

    return ended.stdout


FAILURES = """
from queue import SimpleQueue

from eventflow import bus, flow
from eventflow.events import HookDeadLettered, HookFailed, JournalFailed, ListenerFailed

expected = {HookDeadLettered, HookFailed, JournalFailed, ListenerFailed}
published = SimpleQueue()
for kind in expected:
    bus.subscribe(published.put, event_type=kind)

@bus.subscribe(run_type="flow")
def wrong(event):
    raise OSError("no more files")

def broken(flow, run, state):
    raise OSError("no more files")

@flow(on_failure=[broken])
def etl():
    raise OSError("no more files")

etl(return_state=True)
kinds = set()
while kinds != expected:
    kinds.add(type(published.get(timeout=60)))
"""


def test_events_of_failures_build_no_schema(tmp_path: Path) -> None:
    """Building one opens files, which may be what has failed."""
    (tmp_path / "journal.db").mkdir()
    assert output_of(FAILURES + BUILT, tmp_path) == "[]\n[]\n"


def test_threads_that_need_a_schema_at_the_same_time_all_get_it() -> None:
    """The first instances of a kind may be made by many threads."""
    threads = 8
    begin = Barrier(threads)

    for _ in range(10):

        class Kind(Deferred, frozen=True):
            """A model whose schema is not built yet."""

            x: int
            error: ErrorInfo

        def use(x: int, kind: type[Kind] = Kind) -> object:
            begin.wait()
            made = kind.model_validate({"x": x, "error": {"type": "E", "message": ""}})

            return json.loads(made.model_dump_json())

        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(use, range(threads)))

        error = {"type": "E", "message": "", "traceback": ""}
        assert results == [{"x": x, "error": error} for x in range(threads)]


def test_names_are_resolved_where_a_schema_is_built() -> None:
    """A model that refers to a later definition in a function can be completed there."""

    class Whole(Deferred):
        part: Part

    class Part(BaseModel):
        x: int

    Whole.model_rebuild()
    assert Whole.model_validate({"part": {"x": 1}}).part == Part(x=1)


def test_an_event_of_a_users_own_is_built_where_it_is_defined() -> None:
    """Its errors are raised there; eventflow's own events are built when they are needed."""
    with pytest.raises(PydanticSchemaGenerationError):

        class Wrong(Event):
            thread: ThreadPoolExecutor

    assert StateTransition.model_config["defer_build"]


def test_an_error_is_described_by_plain_data() -> None:
    """Its type, its message and the end of its traceback are kept."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    try:
        raise ValueError("x" * 20_000)
    except ValueError as error:
        info = ErrorInfo.of(error)

    assert info.type == "ValueError"
    assert len(info.traceback) == TRACEBACK_LIMIT
    assert str(ErrorInfo.of(ValueError())) == "ValueError"
    assert str(ErrorInfo.of(ValueError("v"))) == "ValueError: v"
    assert ErrorInfo.of(Odd()).type.endswith("Odd")
    assert ErrorInfo.of(Odd()).message == "<its text is not available: RuntimeError>"


def test_a_validation_error_shows_no_input() -> None:
    """Neither in its message nor in its traceback: a secret may be in it."""

    class Database(BaseModel):
        port: int
        code: SecretStr

    given = {"code": f"hunter{1 + 1}"}
    try:
        try:
            Database.model_validate(given)
        except ValidationError as error:
            raise RuntimeError(str(error)) from error
    except RuntimeError as error:
        described = ErrorInfo.of(error)
    for text in (described.message, described.traceback):
        assert "Field required" in text
        assert "hunter2" not in text
