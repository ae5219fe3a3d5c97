"""A folder with flows, and the command line, both in this process and in one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from eventflow import settings
from eventflow.cli.app import app
from eventflow.journal import open_journal
from eventflow.owners.folders import LockedFolder, owners_folder
from eventflow.settings import EVENTFLOW_JOURNAL_URL, SETTINGS
from tests.cli.sample_journal import OWNER, Sample, fill
from tests.journal.rows import an_owner

ROOT = Path(settings.__file__).parents[2]

Invoke: TypeAlias = Callable[..., Result]
Spawn: TypeAlias = Callable[..., "subprocess.Popen[str]"]

FLOWS = '''
"""Flows to be run by tests."""
from __future__ import annotations
import asyncio, sys, threading
from datetime import date
from eventflow import flow, get_run_logger, task
from eventflow.states import Cancelled
from pydantic import BaseModel

class Model(BaseModel):
    a: int

def print_state(flow, run, state):
    print("hook", state.name, flush=True)

@task
def double(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return 2 * x

@flow
def etl(day: date, limit: int = 10, tables: list[str] | None = None, dry_run: bool = False):
    """Load a day."""
    return (day, limit, tables, dry_run)

@flow
def maps(n: int):
    get_run_logger().info("mapping", n=n)
    futures = double.map(range(n))
    futures.wait()
    return futures.result()

@flow
def several(n: int):
    return double.map(range(n))

@flow
def model(m: Model, several: list[Model] = []):
    return (m, several)

@flow(validate_parameters=False)
def unchecked(n: int):
    return n

@flow
def rest(a, /, *b: int, c: int | None = 1, **d: float):
    return (a, b, c, d)

@flow
def anything(x):
    return x

@flow
def cancelled():
    return Cancelled(message="no need")

@flow(on_crashed=[print_state])
def exits():
    sys.exit(7)

@flow(on_crashed=[print_state])
def waits():
    print("ready", flush=True)
    threading.Event().wait()

@flow(on_crashed=[print_state])
async def awaits():
    print("ready", flush=True)
    await asyncio.Event().wait()

@flow
async def sleeps():
    await asyncio.sleep(0)
    return "slept"

@flow
def generates(n: int = 3):
    yield from range(n)

@flow
async def agenerates(n: int = 3):
    for number in range(n):
        yield number
    raise ValueError("at the end")

@flow
def outer():
    return sleeps and maps(2)

class Unshown:
    def __repr__(self):
        raise RuntimeError("no repr")

@flow
def unshown():
    return Unshown()

@flow
def argv():
    return (sys.argv, sys.path[0], __name__, sys.modules[__name__].__file__)

def plain():
    pass
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run each test in a folder with `flows.py`, a home of its own, and its own imports."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVENTFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    (tmp_path / "flows.py").write_text(FLOWS)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def invoke(eventflow_isolated: object) -> Invoke:
    """Return a function that runs the command line in this process, on a bus of its own."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments, prog_name="eventflow", catch_exceptions=False)

    return run


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Yield a function that starts the command line as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "eventflow.cli", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(command, text=True, env=environment, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture
def sample(eventflow_isolated: object) -> Iterator[Sample]:
    """Fill the journal of the home that `invoke` uses; `eventflow_isolated` puts it in force."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    yield fill(journal)
    journal.close()


@pytest.fixture
def killed_owner(sample: Sample) -> Sample:
    """Have a process begin the folder of the owner, and kill it: only its lock shows its death."""
    folder = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert folder is not None
    child = os.fork()
    if child == 0:
        try:
            LockedFolder.create(folder, an_owner(OWNER))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)

    return sample
