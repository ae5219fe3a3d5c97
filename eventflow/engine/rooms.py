"""The engine's room: in it one run is in force, and nothing interrupts the thread or the task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Token

from eventflow.context import RunContext, current_run
from eventflow.engine.invocation import Job
from eventflow.interrupts.scopes import Gate, gate, live
from eventflow.interrupts.signals import guard

__all__ = ["AsyncRoom", "Room"]


class Room:
    """The room of runs that a thread executes."""

    __slots__ = ("_before", "_gate", "_job", "_put_back", "_token")

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        job, run = self._job, self._job.run
        here = self._gate = gate()
        self._before = here.inside
        here.enter_engine()
        self._put_back = guard() if run.parent_run_id is None else None
        self._token: Token[RunContext | None] = current_run.set(job.context)
        live[run.number] = run.control

    def __exit__(self, *raised: object) -> None:
        run = self._job.run
        if run.control.closed:
            live.pop(run.number, None)
        _reset(self._token)
        try:
            if self._put_back is not None:
                self._put_back()
        finally:
            self._gate.leave_engine(self._before)


class AsyncRoom:
    """The room of runs that a task of an event loop executes."""

    __slots__ = ("_gate", "_job", "_put_back", "_task", "_token")

    def __init__(self, job: Job) -> None:
        self._job = job

    def __enter__(self) -> None:
        run = self._job.run
        self._put_back: Callable[[], None] | None = None
        self._gate: Gate | None = None
        self._task = asyncio.current_task()
        if self._task is not None and run.control.begin_task(self._task):
            self._gate = gate()
            self._gate.take_in(self._task)
            self._put_back = guard()
        self._token: Token[RunContext | None] = current_run.set(self._job.context)
        live[run.number] = run.control

    def __exit__(self, *raised: object) -> None:
        control = self._job.run.control
        control.end_task()
        if control.closed:
            live.pop(self._job.run.number, None)
        _reset(self._token)
        try:
            if self._put_back is not None:
                self._put_back()
        finally:
            if self._gate is not None and self._task is not None:
                self._gate.let_go(self._task)


def _reset(token: Token[RunContext | None]) -> None:
    try:  # noqa: SIM105 - at the end of every run, where suppress() is slow
        current_run.reset(token)
    except ValueError:  # a coroutine closed by the garbage collector ends in another context
        pass
