"""A hook as it is declared: what to call, on which transitions, and how persistently."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from eventflow.filters import Filter, Selection, States
from eventflow.retries import Delays, RetryPolicy
from eventflow.runs import RunType
from eventflow.states import StateType
from eventflow.subscriptions import is_async, qualified_name

__all__ = ["KINDS", "Hook", "HookFunction"]

HookFunction: TypeAlias = Callable[[Any, Any, Any], object]
"""What takes `(definition, run, state)`, sync or async."""

KINDS: Final = {
    "on_running": StateType.RUNNING,
    "on_completion": StateType.COMPLETED,
    "on_failure": StateType.FAILED,
    "on_cancellation": StateType.CANCELLING,
    "on_crashed": StateType.CRASHED,
}
"""The state type for which each of the named kinds of hook runs."""


@dataclass(frozen=True, slots=True, init=False)
class Hook:
    """A declared subscription with a stable identity: `id`, else the function's `module:qualname`.

    `timeout_seconds` bounds one attempt; `retries` and `retry_delay_seconds` say how often a
    failing hook is tried again, and after how many seconds.

    Raises:
        TypeError: the function is not callable.
        ValueError: a number is negative.
    """

    fn: HookFunction
    state: States = None
    run_type: RunType | None = None
    name: str | None = None
    tags: Iterable[str] | None = None
    id: str = ""
    timeout_seconds: float | None = None
    retries: int = 0
    retry_delay_seconds: Delays = None
    is_async: bool = field(init=False)
    policy: RetryPolicy = field(init=False, repr=False)

    def __init__(  # noqa: PLR0913 - one keyword for each thing that can be declared
        self,
        fn: HookFunction,
        *,
        state: States = None,
        run_type: RunType | None = None,
        name: str | None = None,
        tags: Iterable[str] | None = None,
        id: str | None = None,  # noqa: A002 - the word for it
        timeout_seconds: float | None = None,
        retries: int = 0,
        retry_delay_seconds: Delays = None,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"A hook must be callable, but got {fn!r}.")
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds must be more than 0, but is {timeout_seconds}.")
        given = {
            "fn": fn,
            "state": state,
            "run_type": run_type,
            "name": name,
            "tags": tags,
            "id": id or qualified_name(fn),
            "timeout_seconds": timeout_seconds,
            "retries": retries,
            "retry_delay_seconds": retry_delay_seconds,
            "is_async": is_async(fn),
            "policy": RetryPolicy.of(retries, retry_delay_seconds, None),
        }
        for attribute, value in given.items():
            object.__setattr__(self, attribute, value)

    def filter(self) -> Filter:
        """Compile what the hook selects."""
        selection: Selection = {
            "run_type": self.run_type,
            "state": self.state,
            "name": self.name,
            "tags": self.tags,
        }
        if self.run_type is None and self.state is None:
            selection["state"] = tuple(StateType)

        return Filter.of(selection)

    def on(self, state: StateType) -> Hook:
        """Give the same hook for another state."""
        return Hook(
            self.fn,
            state=state,
            run_type=self.run_type,
            name=self.name,
            tags=self.tags,
            id=self.id,
            timeout_seconds=self.timeout_seconds,
            retries=self.retries,
            retry_delay_seconds=self.retry_delay_seconds,
        )
