"""The names of runs: made from a template over the parameters, or by a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from string import Formatter
from typing import Any, Final, TypeAlias

from eventflow.errors import SignatureMismatchError
from eventflow.values.masking import formatted

__all__ = ["RunName", "check_run_name", "made_run_name"]

RunName: TypeAlias = "str | Callable[..., str] | None"
"""A template over the parameters, as for `str.format`, or a function that returns the name.

The function takes nothing, or `parameters`, which is a dictionary.
"""

_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_GIVEN: Final = "parameters"


def check_run_name(option: str, run_name: str | Callable[..., str], known: Collection[str]) -> None:
    """Check that a name can be made for a function with these parameters.

    Raises:
        SignatureMismatchError: it asks for another parameter.
        ValueError: the template is none.
    """
    if callable(run_name):
        asked = _required(run_name) - {_GIVEN}
        if asked:
            raise SignatureMismatchError(f"The function of {option}", asked, [_GIVEN])
        return
    try:
        asked = set(_fields(run_name))
    except ValueError as error:
        raise ValueError(
            f"The {option} {run_name!r} is no template: {error}. A parameter stands in braces, as "
            "in 'load-{day}'; a brace itself is doubled."
        ) from None
    if asked - set(known):
        raise SignatureMismatchError(f"The {option} {run_name!r}", asked, known)


def _fields(template: str) -> Iterator[str]:
    """Return the names that a template asks for, `0` and empty ones included."""
    for _, field, specification, _ in Formatter().parse(template):
        if field is not None:
            # As `str.format` reads it: the name, then attributes and items.
            yield field.partition(".")[0].partition("[")[0]
            yield from _fields(specification or "")


def _required(function: Callable[..., str]) -> set[str]:
    """Return the parameters that a function must be given, as far as its signature tells."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # many builtins have none
        return set()

    return {
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in _VARIADIC
    }


def made_run_name(run_name: str | Callable[..., str], values: Mapping[str, Any]) -> object:
    """Return the name for these values of the parameters.

    Raises:
        Exception: the template does not fit the values, or the function raised.
    """
    if not callable(run_name):
        return formatted(run_name, values)
    try:
        takes_parameters = _GIVEN in inspect.signature(run_name).parameters
    except (TypeError, ValueError):
        takes_parameters = False

    return run_name(**{_GIVEN: dict(values)}) if takes_parameters else run_name()
