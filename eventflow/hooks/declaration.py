"""The declaration of a hook: what to call, in which states, and how often to retry."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import eventflow.eventbus
from eventflow.eventbus.selections import Conditions, States, read_conditions
from eventflow.hooks.configured import ConfiguredHook
from eventflow.primitives.callables import check_takes, is_async, qualified_name
from eventflow.primitives.durations import read_seconds
from eventflow.retries import Delays, RetryPolicy, read_timeout
from eventflow.states import StateType

if TYPE_CHECKING:
    from eventflow.eventbus.filters import Filter
    from eventflow.runs.run import RunType

__all__ = ["KINDS", "Hook", "HookFunction", "Where"]

HookFunction: TypeAlias = Callable[[Any, Any, Any], object]
"""What takes `(definition, run, state)`, sync or async."""

Where: TypeAlias = Literal["owner", "worker"]
"""Where a hook runs: in the process of the run, or in one that `eventflow work` starts."""

KINDS: Final[dict[str, StateType | tuple[StateType, ...] | None]] = {
    "on_running": StateType.RUNNING,
    "on_completion": StateType.COMPLETED,
    "on_failure": StateType.FAILED,
    "on_cancellation": StateType.CANCELLING,
    "on_crashed": StateType.CRASHED,
    "on_end": (
        *(StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED),
        StateType.CRASHED,
    ),
    "on_overdue": None,
}
"""The state types for which each of the named kinds of hook runs; None stands for every state."""


@dataclass(frozen=True, slots=True, init=False, weakref_slot=True)
class Hook:
    """A declared subscription with a stable identity: `id`, else the function's `module:qualname`.

    `state` (a name, a type, or several), `run_type`, `name` (a pattern over the definition's
    name) and `tags` select the transitions; without a state, every one. With `lasting`, in seconds
    or as a timedelta, the hook runs once the state has lasted so long; a run that leaves it before
    owes nothing. With `overdue_seconds` it runs if the run has not ended so long after its first
    Running. `timeout_seconds` bounds one attempt, unless it is 0 or None; `retries` and
    `retry_delay_seconds` say how often a failing hook is tried again, and after how many seconds.
    With `where="worker"` the process of the run neither runs it nor waits for it: `eventflow work`
    does, on any machine with the same journal.

    Raises:
        TypeError: the function is not callable, or not with three positional arguments, or an
            option is of a wrong type.
        ValueError: an option has a wrong value.
    """

    fn: HookFunction
    state: States = None
    run_type: RunType | None = None
    name: str | None = None
    tags: Iterable[str] | None = None
    lasting: float | None = None
    overdue_seconds: float | None = None
    id: str = ""
    timeout_seconds: float | None = None
    retries: int = 0
    retry_delay_seconds: Delays = field(default=None, hash=False)
    where: Where = "owner"
    is_async: bool = field(init=False, repr=False)
    policy: RetryPolicy = field(init=False, repr=False)
    _conditions: Conditions = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        fn: HookFunction,
        *,
        state: States = None,
        run_type: RunType | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        lasting: float | timedelta | None = None,
        overdue_seconds: float | timedelta | None = None,
        id: str | None = None,
        timeout_seconds: float | None = None,
        retries: int = 0,
        retry_delay_seconds: Delays = None,
        where: Where = "owner",
    ) -> None:
        check_takes("hook", fn, ("definition", "run", "state"))
        if id == "" or not isinstance(id, str | None):
            raise TypeError(f"The id of a hook must be a string, not empty, but is {id!r}.")
        if isinstance(fn, ConfiguredHook) and (state, lasting, overdue_seconds) == (None,) * 3:
            state = fn.default_states
        # Copied: an iterator can be read only once.
        states = state
        if isinstance(state, Iterable) and not isinstance(state, str):
            states = tuple(state)
        labels = None if tags is None else frozenset({tags} if isinstance(tags, str) else tags)
        conditions = read_conditions(
            {
                "run_type": run_type,
                "state": states,
                "name": name,
                "tags": labels,
                "lasting": lasting,
            }
        )
        if overdue_seconds is not None:
            if states is not None or lasting is not None:
                raise TypeError(
                    "overdue_seconds counts from a run's first Running to its end, whatever its "
                    f"state: give no state and no lasting, but got {states!r} and {lasting!r}."
                )
            conditions = conditions.overdue(read_seconds("overdue_seconds", overdue_seconds))
        _check_where(where, conditions)
        values = {
            "fn": fn,
            "state": states,
            "run_type": run_type,
            "name": name,
            "tags": labels,
            "lasting": None if conditions.until_end else conditions.lasting,
            "overdue_seconds": conditions.lasting if conditions.until_end else None,
            "id": id or qualified_name(fn),
            "timeout_seconds": read_timeout(timeout_seconds),
            "retries": retries,
            "retry_delay_seconds": retry_delay_seconds,
            "where": where,
            "is_async": is_async(fn),
            "policy": RetryPolicy.of(retries, retry_delay_seconds, None),
            "_conditions": conditions,
        }
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def __reduce__(self) -> tuple[Callable[..., Hook], tuple[HookFunction, dict[str, Any]]]:
        return _rebuild, (self.fn, self.options())

    def options(self) -> dict[str, Any]:
        """Return the options that the hook was declared with."""
        return {name: getattr(self, name) for name in _OPTIONS}

    def filter(self) -> Filter:
        """Return the compiled filter of the hook."""
        return eventflow.eventbus.Filter.of_transitions(self._conditions)

    def on(self, state: States = None, overdue_seconds: float | None = None) -> Hook:
        """Return a copy of the hook for other states, or for a run that is overdue."""
        others = {"state": state, "lasting": None, "overdue_seconds": overdue_seconds}

        return Hook(self.fn, **{**self.options(), **others})


_OPTIONS: Final = (
    *("state", "run_type", "name", "tags", "lasting", "overdue_seconds", "id"),
    *("timeout_seconds", "retries", "retry_delay_seconds", "where"),
)


def _check_where(where: object, conditions: Conditions) -> None:
    if where not in get_args(Where):
        raise ValueError(f"where must be 'owner' or 'worker', but is {where!r}.")
    if where == "worker" and conditions.lasting is not None:
        raise TypeError(
            "A hook of a state that lasts, or of a run that is overdue, is called while the run "
            "goes on, by its own process: leave out where='worker'."
        )


def _rebuild(fn: HookFunction, options: dict[str, Any]) -> Hook:
    """Make a hook from its pickled parts."""
    return Hook(fn, **options)
