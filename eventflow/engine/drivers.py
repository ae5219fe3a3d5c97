"""Drivers: carry the lifecycle of a run out, from sync code and from async code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Token
from typing import Any, cast

from eventflow.context import RunContext, current_run
from eventflow.engine.effects import TakenOver, shielded
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import Lifecycle, carry_on, lifecycle_of, throw
from eventflow.engine.takeover import take_over
from eventflow.interrupts.scopes import InterruptMask, live, on_overdue, thread_mask
from eventflow.interrupts.signals import cause, guard
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Transition

__all__ = [
    "Activation",
    "AsyncActivation",
    "adrive",
    "aperform",
    "begin",
    "drive",
    "perform",
    "raise_if_taken_over",
]


on_overdue(take_over)


class Activation:
    """The block within which a thread executes a run: the run is in force, the engine at work."""

    __slots__ = ("_before", "_invocation", "_mask", "_put_back", "_token")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def __enter__(self) -> None:
        invocation, run = self._invocation, self._invocation.run
        here = self._mask = thread_mask()
        self._before = here.phase
        here.enter_engine()
        self._put_back = guard() if run.parent_run_id is None else None
        self._token: Token[RunContext | None] = current_run.set(invocation.context)
        live[run.number] = run.cancel_scope

    def __exit__(self, *raised: object) -> None:
        run = self._invocation.run
        if run.cancel_scope.closed:
            live.pop(run.number, None)
        _reset(self._token)
        try:
            if self._put_back is not None:
                self._put_back()
        finally:
            self._mask.leave_engine(self._before)


class AsyncActivation:
    """The block within which a task of an event loop executes a run."""

    __slots__ = ("_invocation", "_mask", "_put_back", "_task", "_token")

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation

    def __enter__(self) -> None:
        run = self._invocation.run
        self._put_back: Callable[[], None] | None = None
        self._mask: InterruptMask | None = None
        self._task = asyncio.current_task()
        if self._task is not None and run.cancel_scope.begin_task(self._task):
            self._mask = thread_mask()
            self._mask.enter_task(self._task)
            self._put_back = guard()
        self._token: Token[RunContext | None] = current_run.set(self._invocation.context)
        live[run.number] = run.cancel_scope

    def __exit__(self, *raised: object) -> None:
        cancel_scope = self._invocation.run.cancel_scope
        cancel_scope.end_task()
        if cancel_scope.closed:
            live.pop(self._invocation.run.number, None)
        _reset(self._token)
        try:
            if self._put_back is not None:
                self._put_back()
        finally:
            if self._mask is not None and self._task is not None:
                self._mask.leave_task(self._task)


def _reset(token: Token[RunContext | None]) -> None:
    try:  # noqa: SIM105 - at the end of every run, where suppress() is slow
        current_run.reset(token)
    except ValueError:  # a coroutine closed by the garbage collector ends in another context
        pass


def drive(invocation: Invocation) -> LazyState:
    """Execute a run from sync code; gives the state in which it ended.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with Activation(invocation):
        lifecycle = begin(invocation)
        return carry_on(invocation, lifecycle, next(lifecycle))


def begin(invocation: Invocation) -> Lifecycle:
    """Make the lifecycle of a run, which may be taken over from its driver."""
    lifecycle = invocation.lifecycle = lifecycle_of(invocation)

    return lifecycle


def perform(invocation: Invocation, step: Any) -> Any:
    """Carry one step out from sync code; return what comes of it."""
    if type(step) is Transition:
        return invocation.bus.publish_transition(step)

    return step.run(invocation)


async def adrive(invocation: Invocation) -> LazyState:
    """Execute a run from async code; gives the state in which it ended.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with AsyncActivation(invocation):
        lifecycle = begin(invocation)
        step: Any = next(lifecycle)
        try:
            while True:
                try:
                    left = aperform(invocation, step)
                    told = None if left is None else await left
                except GeneratorExit as error:
                    # This coroutine is being closed and must not await any more.
                    raise_if_taken_over(invocation, error)
                    return carry_on(invocation, lifecycle, throw(lifecycle, error))
                except TakenOver as taken_over:
                    return cast("LazyState", await taken_over.takeover.asettle(taken_over.error))
                except BaseException as error:  # noqa: BLE001 - the life decides
                    step = throw(lifecycle, cause(error))
                else:
                    step = lifecycle.send(told)
        except StopIteration as end:
            return cast("LazyState", end.value)


def raise_if_taken_over(invocation: Invocation, error: GeneratorExit) -> None:
    """Raise the error again if another thread drives the run: that one carries it on."""
    if invocation.run.cancel_scope.takeover is not None:
        invocation.run.cancel_scope.takeover.end_body(error)
        raise error


def aperform(invocation: Invocation, step: Any) -> Awaitable[Any] | None:
    """Do a step as far as that goes without awaiting; gives what is left to be awaited."""
    if type(step) is not Transition:
        return cast("Awaitable[Any]", step.arun(invocation))
    left = invocation.bus.begin_transition(step)

    return None if left is None else shielded(left)
