"""Carrying out the lifecycle of a run, from sync code and from async code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Token
from typing import Any, cast

from eventflow.context import ActiveRun, current_run
from eventflow.engine.effects import TakenOver, shielded
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import lifecycle_of, run_to_end, throw
from eventflow.engine.takeover import take_over
from eventflow.errors import EventLoopError
from eventflow.interrupts.masks import InterruptMask, this_thread
from eventflow.interrupts.scopes import active_runs, on_grace_expired
from eventflow.interrupts.signals import cause, guard
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Transition

__all__ = [
    "Activation",
    "AsyncActivation",
    "adrive",
    "aperform",
    "drive",
    "leave_to_takeover",
    "perform",
]


on_grace_expired(take_over)


class Activation:
    """The block in which a thread executes a run: it is the current run, interrupts are masked."""

    __slots__ = ("_invocation", "_mask", "_previous_phase", "_restore_signals", "_token")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def __enter__(self) -> None:
        invocation, run = self._invocation, self._invocation.run
        mask = self._mask = this_thread.mask
        self._previous_phase = mask.phase
        mask.enter_engine()
        self._restore_signals = guard() if run.parent_run_id is None else None
        self._token: Token[ActiveRun | None] = current_run.set(invocation.context)
        active_runs[run.number] = run

    def __exit__(self, *raised: object) -> None:
        run = self._invocation.run
        if run.cancel_scope.closed:
            active_runs.pop(run.number, None)
        _reset(self._token)
        try:
            if self._restore_signals is not None:
                self._restore_signals()
        finally:
            self._mask.unmask(self._previous_phase)


class AsyncActivation:
    """The block in which a task of an event loop executes a run."""

    __slots__ = ("_invocation", "_mask", "_restore_signals", "_task", "_token")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def __enter__(self) -> None:
        run = self._invocation.run
        self._restore_signals: Callable[[], None] | None = None
        self._mask: InterruptMask | None = None
        try:
            self._task = asyncio.current_task()
        except RuntimeError:
            raise EventLoopError(f"A run of {run.definition_name}") from None
        if self._task is not None and run.cancel_scope.begin_task(self._task):
            self._mask = this_thread.mask
            self._mask.enter_task(self._task)
            self._restore_signals = guard()
        self._token: Token[ActiveRun | None] = current_run.set(self._invocation.context)
        active_runs[run.number] = run

    def __exit__(self, *raised: object) -> None:
        cancel_scope = self._invocation.run.cancel_scope
        cancel_scope.end_task()
        if cancel_scope.closed:
            active_runs.pop(self._invocation.run.number, None)
        _reset(self._token)
        try:
            if self._restore_signals is not None:
                self._restore_signals()
        finally:
            if self._mask is not None and self._task is not None:
                self._mask.leave_task(self._task)


def _reset(token: Token[ActiveRun | None]) -> None:
    try:  # noqa: SIM105 - suppress() is slow, and this is at the end of every run
        current_run.reset(token)
    except ValueError:  # a coroutine closed by the garbage collector ends in another context
        pass


def drive(invocation: Invocation) -> LazyState:
    """Execute a run from sync code; return its final state.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with Activation(invocation):
        # Kept where a takeover finds it.
        lifecycle = invocation.lifecycle = lifecycle_of(invocation)
        return run_to_end(invocation, lifecycle, next(lifecycle))


def perform(invocation: Invocation, request: Any) -> Any:
    """Carry one request out from sync code; return its result."""
    if type(request) is Transition:
        return invocation.bus.publish_transition(request)

    return request.run(invocation)


async def adrive(invocation: Invocation) -> LazyState:
    """Execute a run from async code; return its final state.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with AsyncActivation(invocation):
        lifecycle = invocation.lifecycle = lifecycle_of(invocation)
        request: Any = next(lifecycle)
        try:
            while True:
                try:
                    awaitable = aperform(invocation, request)
                    result = None if awaitable is None else await awaitable
                except GeneratorExit as error:
                    # This coroutine is being closed and must not await anything.
                    leave_to_takeover(invocation, error)
                    return run_to_end(invocation, lifecycle, throw(lifecycle, error))
                except TakenOver as taken_over:
                    return cast("LazyState", await taken_over.takeover.ajoin(taken_over.error))
                except BaseException as error:  # noqa: BLE001 - the lifecycle decides
                    request = throw(lifecycle, cause(error))
                else:
                    request = lifecycle.send(result)
        except StopIteration as end:
            return cast("LazyState", end.value)


def leave_to_takeover(invocation: Invocation, error: GeneratorExit) -> None:
    """Raise the error again if the run was taken over: that thread drives it to its end."""
    if invocation.run.cancel_scope.takeover is not None:
        invocation.run.cancel_scope.takeover.note_body_end(error)
        raise error


def aperform(invocation: Invocation, request: Any) -> Awaitable[Any] | None:
    """Carry a request out as far as possible without awaiting; return the rest to be awaited."""
    if type(request) is not Transition:
        return cast("Awaitable[Any]", request.arun(invocation))
    awaitable = invocation.bus.begin_transition(request)

    return None if awaitable is None else shielded(awaitable)
