"""Hooks are handed to a guardian, and those that cannot be are named in the log."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from eventflow import Hook
from eventflow.hooks.handover import FOR_ALL, HandedOver
from eventflow.hooks.references import function_reference
from eventflow.owners.guarding import Guarding
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.note import ENTRY_BYTES
from eventflow.settings import EVENTFLOW_GUARDIAN, temporary_settings


def importable(*_: Any) -> None:
    """A hook that another process can import."""


importable_name = function_reference(importable)


class Line(Lifeline):
    """A lifeline that keeps what is handed over, and starts nothing."""

    def __init__(self) -> None:
        self.starts = 0
        self.handed_over: dict[str, bytes] = {}
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
        return Guarding(line)


def test_a_guardian_is_started_for_the_first_hooks(line: Line, guarding: Guarding) -> None:
    """Not before, and again if it was killed; hooks are handed over by name if possible."""
    calls: list[str] = []
    assert line.starts == 0
    closure = Hook(lambda *_: calls.append("x"), id="closure")
    guarding.guard("etl:flow", [Hook(importable, id="named", retries=2), closure])
    guarding.guard(FOR_ALL, [Hook(importable)])
    assert line.starts == 2  # it is the lifeline that starts none beside another

    handed_over = HandedOver(line.handed_over, {importable_name: importable}.get)
    named, by_value = handed_over.hooks("etl:flow", ())
    assert (named.id, named.fn, named.retries) == ("named", importable, 2)
    assert (by_value.id, by_value.fn is closure.fn) == ("closure", False)
    assert handed_over.ids(FOR_ALL) == [f"{__name__}:importable"]
    guarding.dismiss()
    assert line.dismissals == 1


def test_a_guardian_is_kept_from_the_first_hooks_on(line: Line, guarding: Guarding) -> None:
    """Not before them, and not after the end of its owner."""
    guarding.keep()
    assert line.starts == 0

    guarding.guard("etl:flow", [Hook(importable)])
    guarding.keep()
    assert line.starts == 2

    guarding.dismiss()
    guarding.keep()
    assert line.starts == 2


def test_a_guardian_that_cannot_be_replaced_is_tried_again(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """The system may have had too many processes for a while; it is said once."""
    guarding.guard("etl:flow", [Hook(importable)])
    line.obstacle = "too many processes"
    for _ in range(3):
        guarding.keep()
    assert line.starts == 4
    assert caplog.text.count("There is no guardian (too many processes)") == 1


def test_a_setting_turns_the_guardian_off(line: Line) -> None:
    """None is started, and nothing is handed over."""
    with temporary_settings({EVENTFLOW_GUARDIAN: False}):
        Guarding(line).guard("etl:flow", [Hook(importable)])
    assert (line.starts, line.handed_over) == (0, {})


def test_a_guardian_that_cannot_be_started_is_reported_once(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """With the alternative; nothing is handed over."""
    line.obstacle = "no Python"
    for _ in range(2):
        guarding.guard("etl:flow", [Hook(importable)])
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
    """With the reasons; the guardian gets its name, and the other hooks."""
    hooks = [Hook(fn, id="mine"), Hook(importable, id="other")]
    guarding.guard("etl:flow", hooks)
    guarding.guard("etl:other", hooks)
    assert caplog.text.count("The hook mine cannot be guaranteed") == 1
    assert why in caplog.text
    handed_over = HandedOver(line.handed_over, {importable_name: importable}.get)
    assert handed_over.ids("etl:flow") == ["mine", "other"]
    assert [hook.id for hook in handed_over.hooks("etl:flow", ())] == ["other"]


def test_a_hook_by_value_is_no_warning(
    guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """It is guaranteed, except over a reboot."""
    caplog.set_level(logging.DEBUG, "eventflow")
    caplog.set_level(logging.DEBUG, "eventflow.guardian")
    guarding.guard("etl:flow", [Hook(lambda *_: None, id="mine")])
    assert "The hook mine is handed over by value: it is a lambda" in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_guardian_that_takes_no_more_is_reported(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason."""
    line.refusal = "it is full"
    guarding.guard("etl:flow", [Hook(importable)])
    assert "The hooks of etl:flow cannot be handed to the guardian: it is full." in caplog.text


def test_hooks_may_be_guarded_while_others_are(line: Line, guarding: Guarding) -> None:
    """Pickling an object may run a flow, and so may a signal handler meanwhile."""

    class Nested:
        def __call__(self, *_: Any) -> None: ...

        def __reduce__(self) -> Any:
            guarding.guard("inner", [Hook(importable)])
            return importable, ()

    guarding.guard("outer", [Hook(Nested())])
    assert set(line.handed_over) == {"inner", "outer"}
