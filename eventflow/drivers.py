"""Carrying out the life of a run: from sync code, from async code, and for generator bodies."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import Token
from functools import partial
from typing import Any

from eventflow import signals
from eventflow.context import RunContext, current_run
from eventflow.control import Inside, gate, live
from eventflow.engine import Life, life
from eventflow.errors import TerminationSignal
from eventflow.jobs import Job
from eventflow.runs import Transition
from eventflow.states import AnyState
from eventflow.steps import Call, shielded, timed

__all__ = ["adrive", "adrive_generator", "drive", "drive_generator"]


class _Room:
    """The engine's room: while inside, this run is the one in force and nothing interrupts."""

    __slots__ = ("_before", "_job", "_put_back", "_token")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._put_back: Callable[[], None] | None = None

    def __enter__(self) -> None:
        here = gate()
        self._before = here.inside
        here.enter_engine()
        if self._before is Inside.NOTHING and self._job.run.parent_run_id is None:
            self._put_back = signals.guard()
        self._token: Token[RunContext | None] = current_run.set(self._job.context)
        live[self._job.run.id] = self._job.run.control

    def __exit__(self, *raised: object) -> None:
        live.pop(self._job.run.id, None)
        # A coroutine that is closed by the garbage collector ends in another context.
        with contextlib.suppress(ValueError):
            current_run.reset(self._token)
        if self._put_back is not None:
            self._put_back()
        gate().leave_engine(self._before)


def drive(job: Job) -> AnyState:
    """Execute a run from sync code; gives the state in which it ended.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with _Room(job):
        course = life(job)
        return _carry_on(job, course, next(course))


def _carry_on(job: Job, course: Life, step: Any) -> AnyState:
    try:
        while True:
            try:
                told = _do(job, step)
            except BaseException as error:  # noqa: BLE001 - the life decides
                step = course.throw(error)
            else:
                step = course.send(told)
    except StopIteration as end:
        state: AnyState = end.value
        return state


def _do(job: Job, step: Any) -> Any:
    if type(step) is Transition:
        return job.bus.publish_transition(step)

    return step.run(job)


async def adrive(job: Job) -> AnyState:
    """Execute a run from async code; gives the state in which it ended.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with _AsyncRoom(job):
        course = life(job)
        step: Any = next(course)
        try:
            while True:
                try:
                    told = await _ado(job, step)
                except GeneratorExit as error:
                    # This coroutine is being closed and must not await any more.
                    return _carry_on(job, course, course.throw(error))
                except BaseException as error:  # noqa: BLE001 - the life decides
                    step = course.throw(_cause(error))
                else:
                    step = course.send(told)
        except StopIteration as end:
            state: AnyState = end.value
            return state


async def _ado(job: Job, step: Any) -> Any:
    if type(step) is Transition:
        left = job.bus.begin_transition(step)
        return None if left is None else await shielded(left)

    return await step.arun(job)


def _cause(error: BaseException) -> BaseException:
    """See through a cancellation that stands for SIGTERM."""
    if isinstance(error, asyncio.CancelledError) and signals.terminated(asyncio.current_task()):
        return TerminationSignal()

    return error


class _AsyncRoom:
    """What `_Room` is, for runs that are executed by a task of an event loop."""

    __slots__ = ("_job", "_put_back", "_stop_watching", "_token")

    def __init__(self, job: Job) -> None:
        self._job = job
        self._put_back: Callable[[], None] | None = None
        self._stop_watching: Callable[[], None] | None = None

    def __enter__(self) -> None:
        run = self._job.run
        task = asyncio.current_task()
        if task is not None:
            run.control.begin_task(task)
            if run.parent_run_id is None:
                self._put_back = signals.guard()
                self._stop_watching = signals.watch_task(task)
        self._token: Token[RunContext | None] = current_run.set(self._job.context)
        live[run.id] = run.control

    def __exit__(self, *raised: object) -> None:
        live.pop(self._job.run.id, None)
        self._job.run.control.end_task()
        with contextlib.suppress(ValueError):
            current_run.reset(self._token)
        if self._stop_watching is not None:
            self._stop_watching()
        if self._put_back is not None:
            self._put_back()


def drive_generator(make: Callable[[], Job]) -> Generator[Any, Any, Any]:
    """Execute a run whose body is a generator: what it yields goes to the consumer.

    A consumer that stops early completes the run. The timeout counts the time spent in the
    body, between two items; the retry of a body that failed begins with its first item again.
    """
    job = make()
    room = _Room(job)
    course = life(job)
    with room:
        step: Any = next(course)
    while True:
        try:
            if isinstance(step, Call):
                told = yield from _items(job, room)
            else:
                with room:
                    told = _do(job, step)
        except BaseException as error:  # noqa: BLE001 - the life decides
            advance: Callable[[], Any] = partial(course.throw, error)
        else:
            advance = partial(course.send, told)
        try:
            with room:
                step = advance()
        except StopIteration as end:
            state: AnyState = end.value
            return state.result()


def _items(job: Job, room: _Room) -> Generator[Any, Any, Any]:
    body = job.definition.fn(*job.args, **job.kwargs)
    step: Callable[[], Any] = partial(next, body)
    while True:
        try:
            with room, timed(job, job.definition.timeout_seconds):
                item = job.run.control.call(step)
        except StopIteration as end:
            return end.value
        try:
            sent = yield item
        except GeneratorExit:
            job.closed_early = True
            with room:
                job.run.control.call(body.close)
            return None
        except BaseException as error:  # noqa: BLE001 - the body's own affair
            step = partial(body.throw, error)
        else:
            step = partial(body.send, sent)


async def adrive_generator(make: Callable[[], Job]) -> AsyncGenerator[Any, Any]:
    """Execute a run whose body is an async generator, as `drive_generator` does."""
    job = make()
    room = _AsyncRoom(job)
    course = life(job)
    with room:
        step: Any = next(course)
    while True:
        try:
            if isinstance(step, Call):
                told = None
                body = job.definition.fn(*job.args, **job.kwargs)
                pull = body.__anext__
                while True:
                    try:
                        with room, timed(job, job.definition.timeout_seconds):
                            item = await pull()
                    except StopAsyncIteration:
                        break
                    try:
                        sent = yield item
                    except GeneratorExit:
                        job.closed_early = True
                        with room:
                            await body.aclose()
                        break
                    except BaseException as error:  # noqa: BLE001 - the body's own affair
                        pull = partial(body.athrow, error)
                    else:
                        pull = partial(body.asend, sent)
            else:
                with room:
                    told = await _ado(job, step)
        except BaseException as error:  # noqa: BLE001 - the life decides
            advance: Callable[[], Any] = partial(course.throw, _cause(error))
        else:
            advance = partial(course.send, told)
        try:
            with room:
                step = advance()
        except StopIteration as end:
            end.value.result()
            return
