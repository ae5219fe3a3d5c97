"""Hooks are handed to a guardian, and those that cannot be are named in the log."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook
from eventflow.hooks.handover import unpack
from eventflow.interrupts.signals import watchers
from eventflow.owners.guarding import EXIT, Guarding, read_endings
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.note import ENTRY_BYTES
from eventflow.settings import EVENTFLOW_GUARDIAN, temporary_settings


def importable(*_: Any) -> None:
    """A hook that another process can import."""


class Line(Lifeline):
    """A lifeline that keeps what is handed over, and starts nothing."""

    def __init__(self) -> None:
        self.starts = 0
        self.handed_over: dict[str, bytes] = {}
        self.taken_back: list[str] = []
        self.dismissals = 0
        self.obstacle: str | None = None
        self.refusal: str | None = None

    def start(self) -> str | None:
        """Count it."""
        self.starts += 1
        return self.obstacle

    def hand_over(self, key: str, data: bytes) -> str | None:
        """Keep it."""
        if self.refusal is None:
            self.handed_over[key] = data
        return self.refusal

    def let_go(self, key: str) -> None:
        """Note it."""
        self.taken_back.append(key)

    def dismiss(self) -> None:
        """Count it."""
        self.dismissals += 1


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def guarding(line: Line) -> Guarding:
    """Return a guarding that the settings allow."""
    with temporary_settings({EVENTFLOW_GUARDIAN: True}):
        return Guarding(line, Path())


def test_a_guardian_is_started_when_it_is_asked_for(line: Line, guarding: Guarding) -> None:
    """Not before, and again if it was killed; hooks are handed to it by value, under their key."""
    calls: list[str] = []
    assert line.starts == 0
    closure = Hook(lambda *_: calls.append("x"), id="closure", retries=2)
    guarding.guard()
    guarding.hand_over("1", closure, "is a lambda")
    guarding.guard()
    assert line.starts == 2  # it is the lifeline that starts none beside another

    by_value = unpack(line.handed_over["1"])
    assert (by_value.id, by_value.retries, by_value.fn is closure.fn) == ("closure", 2, False)
    guarding.let_go("1")
    guarding.dismiss()
    assert (line.taken_back, line.dismissals) == (["1"], 1)


def test_a_guardian_is_kept_from_the_first_hooks_on(line: Line, guarding: Guarding) -> None:
    """Not before them, and not after the end of its owner."""
    guarding.replace_if_killed()
    assert line.starts == 0

    guarding.guard()
    guarding.replace_if_killed()
    assert line.starts == 2

    guarding.dismiss()
    guarding.replace_if_killed()
    assert line.starts == 2


def test_a_guardian_that_cannot_be_replaced_is_tried_again(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """The system may have had too many processes for a while; it is said once."""
    guarding.guard()
    line.obstacle = "too many processes"
    for _ in range(3):
        guarding.replace_if_killed()
    assert line.starts == 4
    assert caplog.text.count("There is no guardian (too many processes)") == 1


def test_what_this_process_knows_of_its_end_is_noted(line: Line, tmp_path: Path) -> None:
    """In the folder of the owner, where its recovery finds it; not by a child, nor afterwards."""
    guarding = Guarding(line, tmp_path)
    guarding.signal_received(signal.SIGTERM)
    pid = os.fork()
    if pid == 0:
        guarding.note_exit()
        os._exit(0)
    os.waitpid(pid, 0)
    assert [what for what, _ in read_endings(tmp_path)] == ["SIGTERM"]
    guarding.note_exit()
    assert [what for what, _ in read_endings(tmp_path)] == ["SIGTERM", EXIT]
    assert guarding in watchers
    guarding.dismiss()
    assert guarding not in watchers


def test_a_setting_turns_the_guardian_off(line: Line) -> None:
    """None is started, and nothing is handed over."""
    with temporary_settings({EVENTFLOW_GUARDIAN: False}):
        guarding = Guarding(line, Path())
    guarding.guard()
    guarding.hand_over("1", Hook(importable), "is a lambda")
    assert (line.starts, line.handed_over) == (0, {})


def test_a_guardian_that_cannot_be_started_is_reported_once(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """With the alternative; nothing is handed over."""
    line.obstacle = "no Python"
    for _ in range(2):
        guarding.guard()
        guarding.hand_over("1", Hook(importable), "is a lambda")
    assert (line.starts, line.handed_over) == (1, {})
    assert caplog.text.count("There is no guardian (no Python)") == 1
    assert "eventflow recover" in caplog.text


class Refuses:
    """A hook that cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, *_: Any) -> None:
        """Do nothing."""


def too_large() -> Any:
    data = bytes(ENTRY_BYTES)

    return lambda *_: data


@pytest.mark.parametrize(
    ("fn", "why"),
    [(Refuses(), "cannot pickle"), (too_large(), "bytes are too many to hand it over by value")],
)
def test_a_hook_that_cannot_be_handed_over_is_named_once(
    line: Line, guarding: Guarding, fn: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With both reasons; the others are handed over all the same."""
    guarding.hand_over("1", Hook(fn, id="mine"), "is an object")
    guarding.hand_over("2", Hook(fn, id="mine"), "is an object")
    guarding.hand_over("3", Hook(importable, id="other"), "is a lambda")
    assert caplog.text.count("The hook mine cannot be guaranteed: it is an object, and") == 1
    assert why in caplog.text
    assert set(line.handed_over) == {"3"}


def test_a_hook_by_value_is_no_warning(
    guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """It is guaranteed, except over a reboot."""
    caplog.set_level(logging.DEBUG, "eventflow")
    caplog.set_level(logging.DEBUG, "eventflow.guardian")
    guarding.hand_over("1", Hook(lambda *_: None, id="mine"), "is a lambda")
    assert "The hook mine is handed over by value: it is a lambda" in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_guardian_that_takes_no_more_is_reported(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason."""
    line.refusal = "it is full"
    guarding.hand_over("1", Hook(importable, id="mine"), "is a lambda")
    assert "The hook mine cannot be guaranteed: it is a lambda, and it is full." in caplog.text


def test_hooks_may_be_guarded_while_others_are(line: Line, guarding: Guarding) -> None:
    """Pickling an object may run a flow, and so may a signal handler meanwhile."""

    class Nested:
        def __call__(self, *_: Any) -> None: ...

        def __reduce__(self) -> Any:
            guarding.guard()
            guarding.hand_over("inner", Hook(importable), "is a lambda")
            return importable, ()

    guarding.hand_over("outer", Hook(Nested()), "is an object")
    assert set(line.handed_over) == {"inner", "outer"}
