"""`@flow`, and the definitions that it makes: functions whose calls are flow runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, overload

from eventflow.definitions.definition import KEEP, HookList, RunName, changed
from eventflow.engine.calls import CallableDefinition, WaitFor
from eventflow.engine.invocation import Invocation
from eventflow.hooks.declaration import Hook
from eventflow.interrupts.portals import running_loop
from eventflow.retries import Delays
from eventflow.runners import TaskRunner, TaskScope
from eventflow.runners.threads import default

__all__ = ["Flow", "flow"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Flow(CallableDefinition[P, R]):
    """A flow: call it to make a flow run. Made by `@flow`."""

    run_type = "flow"
    validate_parameters = True
    task_runner: TaskRunner | None = None

    @staticmethod
    def _default_name(function: str) -> str:
        # As in Prefect, so that filters and reports find the flows of a ported program.
        return function.replace("<lambda>", "unknown-lambda").replace("_", "-")

    def _invocation(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: WaitFor
    ) -> Invocation:
        scope = TaskScope(self.task_runner or default, running_loop() if self.is_async else None)

        return Invocation(self, args, kwargs, wait_for, scope)

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: Flow[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> Flow[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function."""
        return self.bound(instance, owner)

    def with_options(
        self,
        *,
        name: str | None = KEEP,
        version: str | None = KEEP,
        description: str | None = KEEP,
        flow_run_name: RunName = KEEP,
        tags: Iterable[str] | None = KEEP,
        retries: int | None = KEEP,
        retry_delay_seconds: Delays = KEEP,
        timeout_seconds: float | None = KEEP,
        validate_parameters: bool = KEEP,
        task_runner: TaskRunner | None = KEEP,
        log_prints: bool | None = KEEP,
        hooks: Iterable[Hook] | None = KEEP,
        on_running: HookList = KEEP,
        on_completion: HookList = KEEP,
        on_failure: HookList = KEEP,
        on_cancellation: HookList = KEEP,
        on_crashed: HookList = KEEP,
    ) -> Self:
        """Copy the flow with some options changed.

        A list of hooks replaces those of its kind on the copy; an empty one clears them.
        """
        return self._with(changed(locals()))


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...


@overload
def flow(
    *,
    name: str | None = ...,
    version: str | None = ...,
    description: str | None = ...,
    flow_run_name: RunName = ...,
    tags: Iterable[str] | None = ...,
    retries: int | None = ...,
    retry_delay_seconds: Delays = ...,
    timeout_seconds: float | None = ...,
    validate_parameters: bool = ...,
    task_runner: TaskRunner | None = ...,
    log_prints: bool | None = ...,
    hooks: Iterable[Hook] | None = ...,
    on_running: HookList = ...,
    on_completion: HookList = ...,
    on_failure: HookList = ...,
    on_cancellation: HookList = ...,
    on_crashed: HookList = ...,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


def flow(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    description: str | None = None,
    flow_run_name: RunName = None,
    tags: Iterable[str] | None = None,
    retries: int | None = None,
    retry_delay_seconds: Delays = None,
    timeout_seconds: float | None = None,
    validate_parameters: bool = True,
    task_runner: TaskRunner | None = None,
    log_prints: bool | None = None,
    hooks: Iterable[Hook] | None = None,
    on_running: HookList = None,
    on_completion: HookList = None,
    on_failure: HookList = None,
    on_cancellation: HookList = None,
    on_crashed: HookList = None,
) -> Any:
    """Make a flow of a function, sync or async, also a generator or a method.

    Args:
        fn: the function; or use `@flow(...)` with options.
        name: the flow's name, by default the function's, with `-` for each `_`.
        version: the version of the flow, recorded with its runs.
        description: by default the function's docstring.
        flow_run_name: a template over the parameters (`"load-{day}"`), or a function.
        tags: tags of every run, beside those of `tags(...)` blocks around the call.
        retries: how often a failed attempt is tried again. The items of a generator that is given
            as an argument are kept, as they are seen, for the next attempt.
        retry_delay_seconds: seconds before each retry: one number, a list, or a function that
            takes the number of retries and returns either.
        timeout_seconds: how long one attempt may take; then it ends TimedOut. 0 or None: for ever.
        validate_parameters: whether arguments are checked and coerced, by pydantic, to the
            annotations.
        task_runner: where submitted sync tasks execute; by default a shared pool of threads.
        log_prints: whether `print` in the body goes to the run's logger; tasks inherit it.
        hooks: hooks for states of your choice.
        on_running: hooks before every attempt.
        on_completion: hooks for COMPLETED.
        on_failure: hooks for FAILED, timeouts included, after the last retry.
        on_cancellation: hooks for CANCELLING.
        on_crashed: hooks for CRASHED.

    Raises:
        TypeError: a list of hooks is not iterable, or holds what cannot be called as a hook.
        ReservedArgumentError: a parameter is named `return_state` or `wait_for`.
        ValueError: a number is negative.
    """
    options = changed(locals())

    def decorate(function: Callable[..., Any]) -> Flow[..., Any]:
        return Flow(function, options)

    return decorate if fn is None else decorate(fn)
