"""Names of runs that cannot be made are refused at decoration; functions may take parameters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.definitions.run_names import check_run_name
from eventflow.errors import SignatureMismatchError
from eventflow.events import Event, StateTransition

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

both = pytest.mark.parametrize("decorate", [flow, task])


def option(decorate: Any, value: object) -> dict[str, Any]:
    return {f"{decorate.__name__}_run_name": value}


def load(day: str, zone: str = "utc") -> str:
    return day


@both
@pytest.mark.parametrize(
    ("run_name", "error", "words"),
    [
        ("{month}", SignatureMismatchError, r"'\{month\}' .*\['month'\].*\['day', 'zone'\]"),
        ("{month.name}", SignatureMismatchError, "month"),
        ("{day:{width}}", SignatureMismatchError, "width"),
        ("{0}", SignatureMismatchError, "0"),
        ("{}", SignatureMismatchError, "takes"),
        ("{day", ValueError, r"run_name '\{day' is no template: .*doubled"),
        (lambda day: day, SignatureMismatchError, r"The function of .*_run_name .*\['day'\]"),
        (lambda parameters, day: day, SignatureMismatchError, "day"),
        (3, TypeError, "run_name of a .* must be text, .* but got 3"),
        (object(), TypeError, "run_name of a .* must be text, .* but got <object"),
    ],
)
def test_run_names_are_checked_at_decoration(
    decorate: Any, run_name: object, error: type[Exception], words: str
) -> None:
    """The message says what is asked for and what there is; a copy is checked as well."""
    with pytest.raises(error, match=words):
        decorate(**option(decorate, run_name))(load)
    with pytest.raises(error, match=words):
        decorate(load).with_options(**option(decorate, run_name))


def named(parameters: dict[str, Any]) -> str:
    return f"{parameters['day']} in {parameters['zone']}"


class Namer:
    def __call__(self, parameters: dict[str, Any]) -> str:
        return named(parameters)


@both
@pytest.mark.parametrize(
    "function", [named, Namer(), partial(named), lambda *, parameters: named(parameters)]
)
def test_a_function_is_given_the_parameters(
    decorate: Any, function: Callable[..., str], eventflow_events: list[Event]
) -> None:
    """One that takes `parameters` gets their values, defaults included, by their names."""
    assert decorate(**option(decorate, function))(load)("monday") == "monday"

    names = {event.run_name for event in eventflow_events if isinstance(event, StateTransition)}
    assert names == {"monday in utc"}


def test_what_a_template_may_ask_for() -> None:
    """Parameters, their attributes and items, with formats; nothing at all; doubled braces."""
    for template in ("", "plain", "{a}", "{a.b[0]:>{b}} {b!r}", "{{x}}"):
        check_run_name("task_run_name", template, ["a", "b"])
    check_run_name("task_run_name", str, [])  # a builtin without a signature
