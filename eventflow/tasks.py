"""`@task`, and the definitions that it makes: functions whose calls are task runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any, Concatenate, Never, ParamSpec, Self, TypeVar, overload

from eventflow.definitions.definition import KEEP, HookList, RunName, changed
from eventflow.definitions.mapping import rows
from eventflow.engine.calls import CallableDefinition, WaitFor
from eventflow.engine.invocation import Invocation
from eventflow.engine.submission import submit
from eventflow.hooks.declaration import Hook
from eventflow.retries import Delays
from eventflow.runs.futures import Future, FutureList

__all__ = ["Task", "task"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class Task(CallableDefinition[P, R]):
    """A task: call it, `submit` it or `map` it to make task runs. Made by `@task`."""

    run_type = "task"

    def _invocation(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: WaitFor
    ) -> Invocation:
        return Invocation(self, args, kwargs, wait_for)

    @overload
    def submit(self: Task[P, Never], /, *args: P.args, **kwargs: P.kwargs) -> Future[Any]: ...

    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...

    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R]: ...

    @overload
    def submit(
        self: Task[P, Never], /, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any
    ) -> Future[Any]: ...

    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        wait_for: Iterable[Any] | None,
        **kwargs: Any,
    ) -> Future[T]: ...

    @overload
    def submit(self, /, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any) -> Future[R]: ...

    def submit(self, /, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> Any:
        """Start a task run that executes concurrently; return its future.

        A sync task goes to the flow's task runner. An async task of an async flow runs on that
        flow's own event loop, one of a sync flow on a background loop. Futures among the
        arguments, and in the data that these hold, are replaced by their results. The flow run does
        not end before the task run, nor does the hook that submits it.

        Raises:
            MissingContextError: no flow or hook is running here.
        """
        return submit(self, args, kwargs, wait_for)

    @overload
    def map(
        self: Task[P, Never], /, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> FutureList[Any]: ...

    @overload
    def map(
        self: Task[P, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> FutureList[T]: ...

    @overload
    def map(
        self, /, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any
    ) -> FutureList[R]: ...

    def map(self, /, *args: Any, wait_for: Iterable[Any] | None = None, **kwargs: Any) -> Any:
        """Submit a task run for each set of items, one from each iterable argument.

        Strings and mappings count as one item, and so does what `unmapped(...)` marks.

        Raises:
            MappingMissingIterable: no argument can be iterated over.
            MappingLengthMismatch: the iterables are not equally long.
            MissingContextError: no flow or hook is running here.
        """
        calls = rows(self.name, self.parameters, args, kwargs)

        return FutureList(
            submit(self, positional, keywords, wait_for) for positional, keywords in calls
        )

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: Task[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> Task[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function."""
        return self.bound(instance, owner)

    def with_options(
        self,
        *,
        name: str | None = KEEP,
        version: str | None = KEEP,
        description: str | None = KEEP,
        task_run_name: RunName = KEEP,
        tags: Iterable[str] | None = KEEP,
        retries: int | None = KEEP,
        retry_delay_seconds: Delays = KEEP,
        retry_jitter_factor: float | None = KEEP,
        retry_condition_fn: Callable[..., object] | None = KEEP,
        timeout_seconds: float | None = KEEP,
        cache_key_fn: Callable[..., str | None] | None = KEEP,
        cache_expiration: timedelta | None = KEEP,
        refresh_cache: bool = KEEP,
        log_prints: bool | None = KEEP,
        hooks: Iterable[Hook] | None = KEEP,
        on_running: HookList = KEEP,
        on_completion: HookList = KEEP,
        on_failure: HookList = KEEP,
        on_cancellation: HookList = KEEP,
        on_crashed: HookList = KEEP,
    ) -> Self:
        """Copy the task with some options changed.

        A list of hooks replaces those of its kind on the copy; an empty one clears them.
        """
        return self._with(changed(locals()))


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    name: str | None = ...,
    version: str | None = ...,
    description: str | None = ...,
    task_run_name: RunName = ...,
    tags: Iterable[str] | None = ...,
    retries: int | None = ...,
    retry_delay_seconds: Delays = ...,
    retry_jitter_factor: float | None = ...,
    retry_condition_fn: Callable[..., object] | None = ...,
    timeout_seconds: float | None = ...,
    cache_key_fn: Callable[..., str | None] | None = ...,
    cache_expiration: timedelta | None = ...,
    refresh_cache: bool = ...,
    log_prints: bool | None = ...,
    hooks: Iterable[Hook] | None = ...,
    on_running: HookList = ...,
    on_completion: HookList = ...,
    on_failure: HookList = ...,
    on_cancellation: HookList = ...,
    on_crashed: HookList = ...,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    description: str | None = None,
    task_run_name: RunName = None,
    tags: Iterable[str] | None = None,
    retries: int | None = None,
    retry_delay_seconds: Delays = None,
    retry_jitter_factor: float | None = None,
    retry_condition_fn: Callable[..., object] | None = None,
    timeout_seconds: float | None = None,
    cache_key_fn: Callable[..., str | None] | None = None,
    cache_expiration: timedelta | None = None,
    refresh_cache: bool = False,
    log_prints: bool | None = None,
    hooks: Iterable[Hook] | None = None,
    on_running: HookList = None,
    on_completion: HookList = None,
    on_failure: HookList = None,
    on_cancellation: HookList = None,
    on_crashed: HookList = None,
) -> Any:
    """Make a task of a function, sync or async, also a generator or a method.

    Args:
        fn: the function; or use `@task(...)` with options.
        name: the task's name, by default the function's.
        version: the version of the task, recorded with its runs.
        description: by default the function's docstring.
        task_run_name: a template over the parameters (`"fetch-{url}"`), or a function; by default
            the task's name and the last three digits of the run's id, as in `fetch-4f1`.
        tags: tags of every run, beside those of `tags(...)` blocks around the call.
        retries: how often a failed attempt is tried again. The items of a generator that is given
            as an argument are kept, as they are seen, for the next attempt.
        retry_delay_seconds: seconds before each retry: one number, a list, or a function that
            takes the number of retries and returns either.
        retry_jitter_factor: lengthens each delay by up to this factor, at random.
        retry_condition_fn: takes `(task, run, state)` and returns whether to try again.
        timeout_seconds: how long one attempt may take; then it ends TimedOut. 0 or None: for ever.
        cache_key_fn: takes the run's context and its parameters and returns the key under which
            the result is cached in memory, or None. Of several runs with one key at once, one
            computes the result, and the others wait for it. Results are handed out as they are,
            not copied; tasks with the same keys share them. A generator yields its items again.
        cache_expiration: how long a result is cached; by default for ever.
        refresh_cache: whether the body is called even if there is a cached result, to replace it.
        log_prints: whether `print` in the body goes to the run's logger.
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

    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        return Task(function, options)

    return decorate if fn is None else decorate(fn)
