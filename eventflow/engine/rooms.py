"""Activations: the blocks within which a run is in force and its thread runs the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Token

from eventflow.context import RunContext, current_run
from eventflow.engine.invocation import Invocation
from eventflow.interrupts.scopes import InterruptMask, live, thread_mask
from eventflow.interrupts.signals import guard

__all__ = ["Activation", "AsyncActivation"]


class Activation:
    """The activation of runs that a thread executes."""

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
    """The activation of runs that a task of an event loop executes."""

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
