"""A run that another process has, the parent or another owner, runs no hook here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.hooks.delivery import is_given_up
from eventflow.runs.run import Run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


class _Left(BaseException):
    """What a child raises out of the body."""


def _return() -> None:
    """Return out of the body."""


def _fail() -> None:
    raise ValueError("in the child")


def _exit() -> None:
    sys.exit(3)


def _leave() -> None:
    raise _Left


@pytest.mark.parametrize("durability", ["process", "off"])
@pytest.mark.parametrize("decorate", [flow, task])
@pytest.mark.parametrize("end", [_return, _fail, _exit, _leave])
def test_child_runs_no_hook_of_its_parents_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    durability: str,
    decorate: Any,
    end: Callable[[], None],
) -> None:
    monkeypatch.setenv("EVENTFLOW_DURABILITY", durability)
    called = tmp_path / "called"

    def note(_definition: object, _run: object, state: Any) -> None:
        with called.open("a") as file:
            file.write(f"{state.name} {os.getpid()}\n")

    @decorate(on_completion=[note], on_failure=[note], on_crashed=[note])
    def work() -> int:
        child = os.fork()
        if child == 0:
            end()

        return child

    parent, child = os.getpid(), 0
    try:
        child = work()
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.waitpid(child, 0)

    assert called.read_text() == f"Completed {parent}\n"


def test_child_runs_the_hooks_of_its_own_runs(tmp_path: Path) -> None:
    called = tmp_path / "called"

    @task(on_completion=[lambda *_: called.touch()])
    def own() -> None:
        """Nothing to do."""

    @flow
    def work() -> int:
        child = os.fork()
        if child == 0:
            try:
                own()
            finally:
                os._exit(0)

        return child

    os.waitpid(work(), 0)

    assert called.exists()


class _Ledger:
    def __init__(self, *given_up: Run) -> None:
        self._given_up = given_up

    has_workers = True

    def has_given_up(self, run: Run) -> bool:
        return run in self._given_up


@pytest.fixture
def runs() -> list[Run]:
    found: list[Run] = []

    @flow(on_running=[lambda _flow, run, _state: found.append(run)])
    def work() -> None:
        """Nothing to do."""

    work()
    work()
    return found


def test_only_the_runs_that_another_owner_has_are_given_up(runs: list[Run]) -> None:
    first, second = runs
    ledger: Any = _Ledger(first)

    assert is_given_up(first, ledger)
    assert not is_given_up(second, ledger)
    assert not is_given_up(first, None)
