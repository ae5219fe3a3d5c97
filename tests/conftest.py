"""A home of its own for each test, and processes that start together."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from eventflow import settings
from eventflow.eventbus import current_bus
from eventflow.primitives.texts import printable
from eventflow.settings import SETTINGS
from eventflow.wiring import detach
from tests.covering import harden

pytest_plugins = ["tests.journal.fixtures"]

ROOT = Path(settings.__file__).parents[2]


def pytest_configure() -> None:
    """Take notice of Ctrl-C: pytest-xdist's processes do not, and so would none that they start.

    And have coverage, where it runs, bear what is raised from outside.
    """
    harden()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Have no garbage collection go over all tests again: some tests make hundreds of them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have reports that can be sent to another process: some tests log lone surrogates."""
    report = yield
    report.sections = [(name, printable(text)) for name, text in report.sections]

    return report


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a home of its own, which is not made yet, no guardian, and no proxy.

    The journal of the default bus is closed after a test that used it.
    """
    for name in (*SETTINGS, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    monkeypatch.setenv("EVENTFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "false")
    yield tmp_path / "home"
    detach(current_bus())


@pytest.fixture
def restored_logger() -> Iterator[None]:
    """Undo what a test sets on the logger of eventflow: its level would hide lines from others."""
    logger = logging.getLogger("eventflow")
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.fixture
def together() -> Callable[[str, int], list[str]]:
    """Give a function that runs code in several processes at once, and gives what they print."""

    def run(code: str, count: int) -> list[str]:
        # Each process imports first and then waits for a line, so that all start as one.
        code = f"from eventflow.blocks import *\nnumber = int(input())\n{code}"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=os.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        for number, process in enumerate(processes):
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()

        ends = [process.communicate(timeout=60) for process in processes]
        assert [error for _, error in ends] == [""] * count
        return [output for output, _ in ends]

    return run
