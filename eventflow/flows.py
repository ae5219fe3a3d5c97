"""`@flow`, and the definitions that it makes: functions whose calls are flow runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, overload

import eventflow.wiring  # noqa: F401 - composes a bus before its first run
from eventflow.definitions.options import Options, refuse_unknown, shows_options
from eventflow.definitions.run_names import RunName
from eventflow.definitions.versions import file_version
from eventflow.engine.calls import CallableDefinition
from eventflow.runners.threads import default

if TYPE_CHECKING:
    from eventflow.runs.task_scope import TaskRunner

__all__ = ["Flow", "flow"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R", covariant=True)
S = TypeVar("S")
T = TypeVar("T")


class FlowOptions(Options, total=False):
    """The options of a flow."""

    flow_run_name: RunName
    validate_parameters: bool | None
    task_runner: TaskRunner | type[TaskRunner] | None


class Flow(CallableDefinition[P, R]):
    """A flow: call it to make a flow run. Made by `@flow`, or by `Flow(fn, ...)` with its options.

    Options can be read back: `etl.retries`. None can be set: `with_options` makes a copy.
    """

    run_type = "flow"
    option_names = FlowOptions.__optional_keys__
    should_validate_parameters = True
    task_runner: TaskRunner = default

    @shows_options(FlowOptions.__optional_keys__)
    def __init__(self, fn: Callable[P, R], **options: Unpack[FlowOptions]) -> None:
        super().__init__(fn, options)

    @staticmethod
    def _default_name(function: str) -> str:
        # As in Prefect, so that filters and reports find the flows of a ported program.
        return function.replace("<lambda>", "unknown-lambda").replace("_", "-")

    @functools.cached_property
    def file_version(self) -> str | None:
        """A short hash of the file of its function, as it is when first asked; None without one."""
        return file_version(self.fn)

    @property
    def version(self) -> str | None:
        """The version that was declared, else the hash of its file, which no run asks for."""
        return self.declared_version or self.file_version

    @property
    def flow_run_name(self) -> RunName:
        """The template of its runs' names, or the function that makes them."""
        return self.run_name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...

    @overload
    def __get__(
        self: Flow[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> Flow[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function."""
        return self.bound(instance, owner)

    @shows_options(FlowOptions.__optional_keys__)
    def with_options(self, **options: Unpack[FlowOptions]) -> Self:
        """Copy the flow with some options changed; None stands for the default.

        A list of hooks replaces those of its kind on the copy; an empty one clears them.

        Raises:
            TypeError: there is no such option, or its value is of a wrong type.
            ValueError: the value of an option is a wrong one.
        """
        return self._with(options)


@overload
def flow(fn: Callable[P, R], /, **options: Unpack[FlowOptions]) -> Flow[P, R]: ...


@overload
def flow(**options: Unpack[FlowOptions]) -> Callable[[Callable[P, R]], Flow[P, R]]: ...


@shows_options(FlowOptions.__optional_keys__)
def flow(fn: Callable[..., Any] | None = None, /, **options: Unpack[FlowOptions]) -> Any:
    """Make a flow of a function, sync or async, also a generator or a method.

    Args:
        fn: the function; or use `@flow(...)` with options.
        name: the flow's name, by default the function's, with `-` for each `_`.
        version: the version of the flow, recorded with its runs; by default it reads as a short
            hash of the function's file, which is not recorded.
        description: by default the function's docstring.
        flow_run_name: a template over the parameters (`"load-{day}"`), or a function, which may
            take `parameters`; by default two words.
        tags: tags of every run, beside those of `tags(...)` blocks around the call.
        retries: how often a failed attempt is tried again. The items of a generator that is given
            as an argument are kept, as they are seen, for the next attempt.
        retry_delay_seconds: seconds before each retry: one number, a list, or a function that
            takes the number of retries and returns either.
        timeout_seconds: how long one attempt may take; then it ends TimedOut. 0 or None: for ever.
        overdue_seconds: how long a run may take, retries and waits included, before its
            `on_overdue` hooks are called; without any, nothing happens.
        validate_parameters: whether arguments are checked and coerced, by pydantic, to the
            annotations.
        task_runner: where submitted sync tasks execute; by default a shared pool of threads. A
            class is called without arguments.
        log_prints: whether `print` in the body goes to the run's logger; tasks inherit it.
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
    refuse_unknown("flow", options, Flow.option_names)

    def decorate(function: Callable[..., Any]) -> Flow[..., Any]:
        return Flow(function, **options)

    return decorate if fn is None else decorate(fn)
