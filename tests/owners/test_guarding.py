"""What the guardian is told, and what is said of hooks that it cannot be given."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook
from eventflow.hooks.handover import FOR_ALL, HandedOver
from eventflow.hooks.references import refer_to_function
from eventflow.owners.guarding import Guarding
from eventflow.owners.lifeline import BLOB_BYTES
from eventflow.settings import EVENTFLOW_GUARDIAN, temporary_settings


def importable(*_: Any) -> None:
    """Be a hook that another process can import."""


importable_name = refer_to_function(importable)


class Line:
    """A lifeline that keeps what it is given, and starts nothing."""

    def __init__(self) -> None:
        self.starts = 0
        self.given: dict[str, bytes] = {}
        self.left = 0
        self.obstacle: str | None = None
        self.refusal: str | None = None

    def start(self) -> str | None:
        """Count it."""
        self.starts += 1
        return self.obstacle

    def hand_over(self, key: str, blob: bytes) -> str | None:
        """Keep it."""
        if self.refusal is None:
            self.given[key] = blob
        return self.refusal

    def bye(self) -> None:
        """Count it."""
        self.left += 1


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """Put such a line in the place of the real one."""
    made = Line()
    monkeypatch.setattr("eventflow.owners.guarding.Lifeline", lambda *_: made)

    return made


@pytest.fixture
def guarding(line: Line, tmp_path: Path) -> Any:
    """Give a guarding that is wanted."""
    with temporary_settings({EVENTFLOW_GUARDIAN: True}):
        return Guarding(tmp_path, "memory://")


def test_a_guardian_is_there_from_the_first_hooks_on(line: Line, guarding: Guarding) -> None:
    """Not before, and anew if it was killed; hooks are handed over by name where they can be."""
    held: list[str] = []
    assert line.starts == 0
    closure = Hook(lambda *_: held.append("x"), id="closure")
    guarding.guard("etl:flow", [Hook(importable, id="named", retries=2), closure])
    guarding.guard(FOR_ALL, [Hook(importable)])
    assert line.starts == 2  # one that is there is not started again; one that was killed is

    parcels = HandedOver(line.given, {importable_name: importable}.get)
    named, by_value = parcels.hooks("etl:flow", ())
    assert (named.id, named.fn, named.retries) == ("named", importable, 2)
    assert (by_value.id, by_value.fn is closure.fn) == ("closure", False)
    assert parcels.ids(FOR_ALL) == [f"{__name__}:importable"]
    guarding.leave()
    assert line.left == 1


def test_where_none_is_wanted_none_is_started(line: Line, tmp_path: Path) -> None:
    """By setting."""
    with temporary_settings({EVENTFLOW_GUARDIAN: False}):
        Guarding(tmp_path, "memory://").guard("etl:flow", [Hook(importable)])
    assert (line.starts, line.given) == (0, {})


def test_where_there_can_be_none_it_is_said_once(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """With what will be done instead; nothing is handed over."""
    line.obstacle = "no Python"
    for _ in range(2):
        guarding.guard("etl:flow", [Hook(importable)])
    assert (line.starts, line.given) == (1, {})
    assert caplog.text.count("There is no guardian (no Python)") == 1
    assert "eventflow recover" in caplog.text


class Refuses:
    """A hook that cannot be handed to another process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, *_: Any) -> None:
        """Be called."""


def too_large() -> Any:
    data = bytes(BLOB_BYTES)

    return lambda *_: data


@pytest.mark.parametrize(
    ("fn", "why"),
    [(Refuses(), "cannot pickle"), (too_large(), "bytes are too many to hand it over by value")],
)
def test_a_hook_that_cannot_be_handed_over_is_named_once(
    line: Line, guarding: Guarding, fn: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the reasons; the guardian hears its name, and gets the others."""
    hooks = [Hook(fn, id="mine"), Hook(importable, id="other")]
    guarding.guard("etl:flow", hooks)
    guarding.guard("etl:other", hooks)
    assert caplog.text.count("The hook mine cannot be guaranteed") == 1
    assert why in caplog.text
    parcels = HandedOver(line.given, {importable_name: importable}.get)
    assert parcels.ids("etl:flow") == ["mine", "other"]
    assert [one.id for one in parcels.hooks("etl:flow", ())] == ["other"]


def test_a_hook_by_value_is_no_warning(
    guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """It is guaranteed, but for a reboot."""
    caplog.set_level(logging.DEBUG, "eventflow")
    caplog.set_level(logging.DEBUG, "eventflow.guardian")
    guarding.guard("etl:flow", [Hook(lambda *_: None, id="mine")])
    assert "The hook mine is handed over by value: it is a lambda" in caplog.text
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_guardian_that_takes_no_more_is_said(
    line: Line, guarding: Guarding, caplog: pytest.LogCaptureFixture
) -> None:
    """With its reason."""
    line.refusal = "it is full"
    guarding.guard("etl:flow", [Hook(importable)])
    assert "The hooks of etl:flow cannot be handed to the guardian: it is full." in caplog.text


def test_what_is_packed_may_have_hooks_guarded_itself(line: Line, guarding: Guarding) -> None:
    """As a signal handler may that runs a flow in the middle of it."""

    class Nested:
        def __call__(self, *_: Any) -> None: ...

        def __reduce__(self) -> Any:
            guarding.guard("inner", [Hook(importable)])
            return importable, ()

    guarding.guard("outer", [Hook(Nested())])
    assert set(line.given) == {"inner", "outer"}
