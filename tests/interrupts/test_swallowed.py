"""An interrupt that Python swallows, because it was raised in a finalizer, is sent again."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.interrupts.swallowed import on_swallowed

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@pytest.fixture(autouse=True)
def hook() -> Iterator[list[Any]]:
    """Return a list of what the hook of the program is given; put the former hook back."""
    before, given = sys.unraisablehook, list[Any]()
    sys.unraisablehook = given.append
    yield given
    sys.unraisablehook = before


class Finalized:
    """An object whose finalizer takes a while."""

    def __del__(self) -> None:
        spin()


def spin() -> None:
    for _ in range(20):
        pass


def let_go_of_an_object() -> None:
    Finalized()


def let_go_of_a_referent() -> None:
    weakref.finalize(Unowned(), spin)


class Unowned:
    """An object of which there is only a weak reference."""


def collect_garbage() -> None:
    gc.collect(0)


def noted(_phase: str, _facts: dict[str, int]) -> None:
    spin()


@pytest.mark.parametrize("place", ["main thread", "worker"])
@pytest.mark.parametrize(
    "step",
    [let_go_of_an_object, let_go_of_a_referent, collect_garbage],
    ids=lambda step: step.__name__,
)
def test_a_timeout_ends_a_body_that_is_nearly_always_in_a_finalizer(
    step: Callable[[], None], place: str, hook: list[Any]
) -> None:
    """However often it is swallowed, it takes effect."""
    gc.callbacks.append(noted)

    def body() -> None:
        while True:
            step()

    try:
        for _ in range(20):
            if place == "worker":
                repeated = task(timeout_seconds=0.002)(body)
                name = flow(lambda: repeated.submit(return_state=True).name)()  # noqa: B023
            else:
                name = flow(timeout_seconds=0.002)(body)(return_state=True).name
            assert name == "TimedOut"
    finally:
        gc.callbacks.remove(noted)
    assert hook == []


class Refused(Exception):
    """An exception that only a test knows."""


def swallow(error: Exception) -> Any:
    """Call the hook as Python does; return what it is given."""
    swallowed: Any = SimpleNamespace(exc_type=type(error), exc_value=error)
    sys.unraisablehook(swallowed)

    return swallowed


def test_what_is_not_handled_goes_to_the_hook_of_the_program(hook: list[Any]) -> None:
    """And to one that has taken its place since, whichever way they call each other."""
    called: list[str] = []

    def handle(error: Refused) -> bool:
        called.append(str(error))

        return str(error) == "handled"

    on_swallowed(Refused, handle)
    other, refused = swallow(ValueError()), swallow(Refused("refused"))
    swallow(Refused("handled"))
    assert (hook, called) == ([other, refused], ["refused", "handled"])

    sys.unraisablehook = partial(sys.unraisablehook)
    on_swallowed(Refused, handle)
    other = swallow(ValueError())
    swallow(Refused("handled"))
    assert (hook[2:], called[2:]) == ([other], ["handled"])
