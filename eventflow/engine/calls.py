"""Calling a definition: choose the driver, and return the result or the state."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Never, ParamSpec, TypeAlias, TypeVar, overload

import eventflow.engine
from eventflow.definitions.definition import Definition
from eventflow.primitives.headroom import require_headroom

if TYPE_CHECKING:
    from eventflow.engine.invocation import Invocation
    from eventflow.runs.futures import Future
    from eventflow.states.state import State

__all__ = ["CallableDefinition", "WaitFor"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
T = TypeVar("T")

WaitFor: TypeAlias = Iterable[Any] | None
"""Futures and states that must have completed before a run begins."""


class CallableDefinition(Definition[P, R]):
    """A definition that makes a run when it is called."""

    # Never comes first for mypy: what is Any would otherwise be taken for a Coroutine or a Future.
    # Of futures that a body returns the states are the result.
    @overload
    def __call__(
        self: CallableDefinition[P, Never], /, *args: P.args, **kwargs: P.kwargs
    ) -> Any: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, Coroutine[Any, Any, Never]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, Any]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, list[Never]], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[Any]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, Coroutine[Any, Any, list[Never]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, list[Any]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Future[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> State[T]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, Coroutine[Any, Any, Future[T]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, State[T]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, list[Future[T]]], /, *args: P.args, **kwargs: P.kwargs
    ) -> list[State[T]]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, Coroutine[Any, Any, list[Future[T]]]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, list[State[T]]]: ...

    # The names of the last overloads are reserved, and so in no P: the overloads do not overlap.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self: CallableDefinition[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Never],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Coroutine[Any, Any, Never]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[Any]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, list[Never]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[list[Any]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Coroutine[Any, Any, list[Never]]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[list[Any]]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Future[T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[State[T]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Coroutine[Any, Any, Future[T]]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[State[T]]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, list[Future[T]]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[list[State[T]]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Coroutine[Any, Any, list[Future[T]]]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[list[State[T]]]]: ...

    @overload
    def __call__(
        self: CallableDefinition[P, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...

    @overload
    def __call__(
        self,
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> State[R]: ...

    @overload
    def __call__(self, /, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any) -> R: ...

    def __call__(  # type: ignore[misc]
        self,
        /,
        *args: Any,
        return_state: bool = False,
        wait_for: Iterable[Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make a run and execute it.

        With `return_state=True` the final state is returned instead of the result. The run begins
        once everything in `wait_for` (futures, states) has completed. An async run, and a
        generator's, begins when its caller awaits it, or asks for an item; with `return_state` a
        generator returns its state (`state = yield from ...`).

        Raises:
            Exception: what the body raised, if the run failed.
            CancelledRun: the run was cancelled.
            UnfinishedRun: something it waits for did not complete.
            ParameterError: the arguments do not fit.
            RecursionError: it is called so close to the limit that its run could not be ended.
            TypeError: the state of an async generator is asked for, which can return nothing.
        """
        if eventflow.engine.reloading:
            eventflow.engine.refuse(self.name)
        if self.isgenerator or self.isasync:
            make = partial(self._invocation, args, kwargs, wait_for)
            if self.isgenerator:
                return _generate(self, make, return_state=return_state)
            return _acall(make, return_state=return_state)
        invocation = self._invocation(args, kwargs, wait_for)
        final = eventflow.engine.drive(invocation)

        return invocation.run.state if return_state else final.result_of(invocation.run)

    def _invocation(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: WaitFor
    ) -> Invocation:
        require_headroom(self.name)

        return eventflow.engine.Invocation(self, args, kwargs, wait_for)


def _generate(
    definition: Definition[Any, Any], make: Callable[[], Invocation], *, return_state: bool
) -> Any:
    if not definition.isasync:
        return eventflow.engine.drive_generator(make, return_state=return_state)
    if return_state:
        raise TypeError(
            f"{definition.name} is an async generator, which cannot return its state; "
            "iterate over it, and subscribe to its transitions for the state."
        )

    return eventflow.engine.adrive_generator(make)


async def _acall(make: Callable[[], Invocation], *, return_state: bool) -> Any:
    invocation = make()
    final = await eventflow.engine.adrive(invocation)

    return invocation.run.state if return_state else final.result_of(invocation.run)
