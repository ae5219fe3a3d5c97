"""The options of flows and tasks: which there are, and what the value of each may be."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar

from eventflow.definitions.hooked import HookList
from eventflow.errors import InvalidNameError
from eventflow.hooks.declaration import Hook
from eventflow.primitives.callables import check_takes, is_async
from eventflow.primitives.durations import read_seconds
from eventflow.primitives.texts import printable
from eventflow.retries import Delays, read_timeout
from eventflow.values.masking import described

if TYPE_CHECKING:
    from eventflow.runs.run import RunType

__all__ = ["Options", "read_option", "refuse_unknown", "shows_options"]

F = TypeVar("F", bound=Callable[..., Any])

UNFIT_FOR_FLOWS: Final = frozenset("/%&<>")
"""What no name of a flow may hold, as in Prefect: it names flows in addresses and on pages."""


class Options(TypedDict, total=False):
    """The options that flows and tasks share."""

    name: str | None
    version: str | None
    description: str | None
    tags: Iterable[str] | None
    retries: int | None
    retry_delay_seconds: Delays
    timeout_seconds: float | None
    overdue_seconds: float | timedelta | None
    log_prints: bool | None
    hooks: Iterable[Hook] | None
    on_running: HookList
    on_completion: HookList
    on_failure: HookList
    on_cancellation: HookList
    on_crashed: HookList
    on_end: HookList
    on_overdue: HookList


def shows_options(known: Collection[str]) -> Callable[[F], F]:
    """Have `help` and `inspect.signature` list the options that a function takes."""

    def show(function: F) -> F:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        options = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None)
            for option in sorted(known)
        ]
        vars(function)["__signature__"] = signature.replace(parameters=[*own, *options])

        return function

    return show


def refuse_unknown(kind: RunType, given: Iterable[str], known: Collection[str]) -> None:
    """Check that there are such options.

    Raises:
        TypeError: there is no such option; the nearest is named.
    """
    for option in given:
        if option not in known:
            options = sorted(known)
            near = difflib.get_close_matches(option, options, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else "."
            raise TypeError(
                f"A {kind} has no option {option!r}{meant} Its options are {', '.join(options)}."
            )


def read_option(kind: RunType, option: str, value: Any) -> Any:
    """Return what a definition keeps of the value of an option, which is not None.

    Raises:
        TypeError: the value is of a wrong type.
        ValueError: the value is a wrong one.
    """
    return _READERS[option](kind, option, value)


def _refused(kind: str, option: str, value: object, allowed: str) -> TypeError:
    hint = " Was it meant to be called?" if callable(value) and allowed.startswith("text") else ""

    return TypeError(
        f"The {option} of a {kind} must be {allowed}, but got {described(value)}.{hint}"
    )


def _read_text(kind: str, option: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _refused(kind, option, value, "text")

    return printable(value)


def _read_name(kind: str, option: str, value: Any) -> str:
    # As the journal has it: no database can store a NUL.
    name = _read_text(kind, option, value).replace("\0", "\\x00")
    if not name.strip():
        raise InvalidNameError(f"The name of a {kind} must not be blank, but got {name!r}.")
    if kind == "flow" and not UNFIT_FOR_FLOWS.isdisjoint(name):
        unfit = " ".join(sorted(UNFIT_FOR_FLOWS))
        raise InvalidNameError(f"The name of a flow must hold none of {unfit}, but got {name!r}.")

    return name


def _read_run_name(kind: str, option: str, value: Any) -> Any:
    if not isinstance(value, str) and not callable(value):
        allowed = "text, with parameters in braces, or a function that returns text"
        raise _refused(kind, option, value, allowed)
    _refuse_async(kind, option, value)

    return value


def _refuse_async(kind: str, option: str, value: Any) -> None:
    """Refuse what would have to be awaited where nothing is: between runs and their bodies."""
    if is_async(value):
        raise _refused(kind, option, value, "a plain function, not an async one")


def _read_tags(kind: str, option: str, value: Any) -> frozenset[str]:
    tags = (value,) if isinstance(value, str) else value
    given = tuple(tags) if isinstance(tags, Iterable) else None
    if given is None or not all(isinstance(tag, str) for tag in given):
        raise _refused(kind, option, value if given is None else given, "texts")

    return frozenset(map(printable, given))


def _read_flag(kind: str, option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refused(kind, option, value, "True or False")

    return value


def _read_timeout(kind: str, option: str, value: Any) -> float | None:  # noqa: ARG001 - as the others
    return read_timeout(value)


def _read_overdue(kind: str, option: str, value: Any) -> float:  # noqa: ARG001 - as the others
    return read_seconds(option, value)


def _read_expiration(kind: str, option: str, value: Any) -> timedelta:
    if not isinstance(value, timedelta):
        raise _refused(kind, option, value, "a timedelta, or None for ever")
    if value < timedelta():
        raise ValueError(f"The {option} of a {kind} must be 0 or more, but got {value!r}.")

    return value


def _read_task_runner(kind: str, option: str, value: Any) -> Any:
    made = value() if isinstance(value, type) and hasattr(value, "submit") else value
    if not callable(getattr(made, "submit", None)):
        allowed = "a task runner, such as ThreadPoolTaskRunner(max_workers=4)"
        raise _refused(kind, option, value, allowed)

    return made


def _read_key_function(kind: str, option: str, value: Any) -> Any:
    check_takes(option, value, ("context", "parameters"))
    _refuse_async(kind, option, value)

    return value


def _read_condition(kind: str, option: str, value: Any) -> Any:  # noqa: ARG001 - as the others
    check_takes(option, value, ("task", "run", "state"))

    return value


_READERS: Final[Mapping[str, Callable[[str, str, Any], Any]]] = {
    "name": _read_name,
    "version": _read_text,
    "description": _read_text,
    "flow_run_name": _read_run_name,
    "task_run_name": _read_run_name,
    "tags": _read_tags,
    "timeout_seconds": _read_timeout,
    "overdue_seconds": _read_overdue,
    "validate_parameters": _read_flag,
    "refresh_cache": _read_flag,
    "log_prints": _read_flag,
    "task_runner": _read_task_runner,
    "retry_condition_fn": _read_condition,
    "cache_key_fn": _read_key_function,
    "cache_expiration": _read_expiration,
}
