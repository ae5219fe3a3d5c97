"""`@task`, and the definitions that it makes: functions whose calls are task runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

import eventflow.engine
import eventflow.wiring
from eventflow.definitions.cache_keys import task_input_hash
from eventflow.definitions.options import Options, refuse_unknown, shows_options
from eventflow.definitions.run_names import RunName
from eventflow.engine.calls import CallableDefinition
from eventflow.retries import exponential_backoff

if TYPE_CHECKING:
    from eventflow.runs.futures import Future, FutureList
    from eventflow.states.state import State

__all__ = ["Task", "exponential_backoff", "task", "task_input_hash"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class TaskOptions(Options, total=False):
    """The options of a task."""

    task_run_name: RunName
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[..., object] | None
    cache_key_fn: Callable[..., str | None] | None
    cache_expiration: timedelta | None
    refresh_cache: bool | None


class Task(CallableDefinition[P, R]):
    """A task: call it, `submit` it or `map` it to make task runs.

    Made by `@task`, or by `Task(fn, ...)` with its options. Options can be read back:
    `load.retries`. None can be set: `with_options` makes a copy.
    """

    run_type = "task"
    option_names = TaskOptions.__optional_keys__

    @shows_options(TaskOptions.__optional_keys__)
    def __init__(self, fn: Callable[P, R], **options: Unpack[TaskOptions]) -> None:
        super().__init__(fn, options)

    @property
    def task_run_name(self) -> RunName:
        """The template of its runs' names, or the function that makes them."""
        return self.run_name

    @property
    def retry_jitter_factor(self) -> float | None:
        """By how much of itself a delay may be lengthened at random."""
        factor: float | None = self._retrying["retry_jitter_factor"]

        return factor

    # The names of the last overloads are reserved, and so in no P: the overloads do not overlap.
    @overload
    def submit(  # type: ignore[overload-overlap]
        self: Task[P, Never], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[Any]: ...

    @overload
    def submit(  # type: ignore[overload-overlap]
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

    @overload
    def submit(
        self: Task[P, Never],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[Any]: ...

    @overload
    def submit(
        self: Task[P, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[T]: ...

    @overload
    def submit(
        self,
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[R]: ...

    def submit(  # type: ignore[misc]
        self,
        /,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Start a task run that executes concurrently; return its future.

        A sync task goes to the flow's task runner. An async task of an async flow runs on that
        flow's own event loop, one of a sync flow on a background loop. Futures among the
        arguments, and in the data that these hold, are replaced by their results. The flow run does
        not end before the task run, nor does the hook that submits it.

        With `return_state=True` this blocks until the task run has ended, and returns its state.
        The event loop of an async flow stands still meanwhile; an async task runs on another.

        Raises:
            MissingContextError: no flow or hook is running here.
            DeadlockError: its state is asked for, and an upstream needs this thread's event loop.
        """
        if return_state:
            return eventflow.engine.submit_and_wait(self, [(args, kwargs)], wait_for)[0]

        return eventflow.engine.submit(self, args, kwargs, wait_for)

    # Those with a state come first: any argument fits the others.
    @overload
    def map(  # pyright: ignore[reportOverlappingOverload]
        self: Task[P, Never],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> list[State[Any]]: ...

    @overload
    def map(
        self: Task[P, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> list[State[T]]: ...

    @overload
    def map(  # pyright: ignore[reportOverlappingOverload]
        self,
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> list[State[R]]: ...

    @overload
    def map(
        self: Task[P, Never],
        /,
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
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
        self,
        /,
        *args: Any,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> FutureList[R]: ...

    def map(
        self,
        /,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Submit a task run for each set of items, one from each iterable argument.

        Strings, mappings and files count as one item, and so does what `unmapped(...)`,
        `quote(...)` or `opaque(...)` marks. An argument that is a future or a state itself is
        waited for, and its result is mapped over. With `return_state=True` this blocks until all
        task runs have ended, and returns their states, as `submit` does.

        Raises:
            MappingMissingIterable: no argument can be iterated over.
            MappingLengthMismatch: the iterables are not equally long.
            MissingContextError: no flow or hook is running here.
            DeadlockError: what is waited for needs this thread's event loop.
            Exception: what is to be mapped over failed, and `allow_failure` does not mark it.
        """
        calls = eventflow.engine.rows(self.name, self.parameters, args, kwargs)
        if return_state:
            return eventflow.engine.submit_and_wait(self, calls, wait_for)

        return eventflow.engine.FutureList(
            eventflow.engine.submit(self, positional, keywords, wait_for)
            for positional, keywords in calls
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

    @shows_options(TaskOptions.__optional_keys__)
    def with_options(self, **options: Unpack[TaskOptions]) -> Self:
        """Copy the task with some options changed; None stands for the default.

        A list of hooks replaces those of its kind on the copy; an empty one clears them.

        Raises:
            TypeError: there is no such option, or its value is of a wrong type.
            ValueError: the value of an option is a wrong one.
        """
        return self._with(options)


@overload
def task(fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...


@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[P, R]], Task[P, R]]: ...


@shows_options(TaskOptions.__optional_keys__)
def task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function, sync or async, also a generator or a method.

    Args:
        fn: the function; or use `@task(...)` with options.
        name: the task's name, by default the function's.
        version: the version of the task, recorded with its runs.
        description: by default the function's docstring.
        task_run_name: a template over the parameters (`"fetch-{url}"`), or a function, which may
            take `parameters`; by default the task's name and the last three digits of the run's
            id, as in `fetch-4f1`.
        tags: tags of every run, beside those of `tags(...)` blocks around the call.
        retries: how often a failed attempt is tried again. The items of a generator that is given
            as an argument are kept, as they are seen, for the next attempt.
        retry_delay_seconds: seconds before each retry: one number, a list, or a function that
            takes the number of retries and returns either.
        retry_jitter_factor: lengthens each delay by up to this factor, at random.
        retry_condition_fn: takes `(task, run, state)` and returns whether to try again.
        timeout_seconds: how long one attempt may take; then it ends TimedOut. 0 or None: for ever.
        overdue_seconds: how long a run may take, retries and waits included, before its
            `on_overdue` hooks are called; without any, nothing happens.
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
        on_end: hooks for the end of a run: COMPLETED, FAILED, CANCELLED, CRASHED.
        on_overdue: hooks for a run that has not ended `overdue_seconds` after its first Running.

    Raises:
        TypeError: there is no such option, its value is of a wrong type, or holds what cannot be
            called as it will be.
        ValueError: the value of an option is a wrong one, such as a negative number.
        SignatureMismatchError: the name of runs asks for a parameter that there is not.
        ReservedArgumentError: a parameter is named `return_state` or `wait_for`.
    """
    refuse_unknown("task", options, Task.option_names)

    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        return Task(function, **options)

    return decorate if fn is None else decorate(fn)
