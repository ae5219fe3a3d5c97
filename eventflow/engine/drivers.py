"""Carrying out the life of a run: from sync code, from async code, and for generator bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, cast

from eventflow.engine.effects import Call, Relieved, acall, call, shielded, timed
from eventflow.engine.invocation import Job
from eventflow.engine.lifecycle import Life, carry_on, life, throw
from eventflow.engine.rooms import AsyncRoom, Room
from eventflow.engine.takeover import relieve, settled
from eventflow.interrupts.signals import cause
from eventflow.logs import run_logger
from eventflow.runs.lazy_states import Entered
from eventflow.runs.run import Transition

__all__ = ["adrive", "adrive_generator", "drive", "drive_generator"]


def drive(job: Job) -> Entered:
    """Execute a run from sync code; gives the state in which it ended.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with Room(job):
        course = _begun(job)
        return carry_on(job, course, next(course))


def _begun(job: Job) -> Life:
    """Give the life of a run, which may be taken over from whoever drives it."""
    course = job.course = life(job)
    job.relieved_by = relieve

    return course


def _do(job: Job, step: Any) -> Any:
    if type(step) is Transition:
        return job.bus.publish_transition(step)

    return step.run(job)


async def adrive(job: Job) -> Entered:
    """Execute a run from async code; gives the state in which it ended.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through.
    """
    with AsyncRoom(job):
        course = _begun(job)
        step: Any = next(course)
        try:
            while True:
                try:
                    left = _ado(job, step)
                    told = None if left is None else await left
                except GeneratorExit as error:
                    # This coroutine is being closed and must not await any more.
                    _raise_if_relieved(job, error)
                    return carry_on(job, course, throw(course, error))
                except Relieved as relieved:
                    return cast("Entered", await relieved.relief.asettle(relieved.error))
                except BaseException as error:  # noqa: BLE001 - the life decides
                    step = throw(course, cause(error))
                else:
                    step = course.send(told)
        except StopIteration as end:
            return cast("Entered", end.value)


def _raise_if_relieved(job: Job, error: GeneratorExit) -> None:
    if job.run.control.relief is not None:
        job.run.control.relief.end_body(error)
        raise error


def _ado(job: Job, step: Any) -> Awaitable[Any] | None:
    """Do a step as far as that goes without awaiting; gives what is left to be awaited."""
    if type(step) is not Transition:
        return cast("Awaitable[Any]", step.arun(job))
    left = job.bus.begin_transition(step)

    return None if left is None else shielded(left)


class _Course:
    """The life of a generator's run, carried on in the engine's room between two items."""

    __slots__ = ("_life", "_room", "state", "step")

    def __init__(self, job: Job, room: Room | AsyncRoom) -> None:
        self._life = _begun(job)
        self._room = room
        self.step: Any = None
        self.state: Entered | None = None

    def tell(self, told: Any = None, error: BaseException | None = None) -> None:
        """Tell what came of the last step; there is another one, or a state to end with."""
        try:
            with self._room:
                if error is None:
                    self.step = self._life.send(told)
                elif isinstance(error, Relieved):
                    self.state = error.relief.settle(error.error)
                else:
                    self.step = throw(self._life, error)
        except StopIteration as end:
            self.state = end.value

    def break_off(self, job: Job, error: GeneratorExit) -> None:
        """Carry on to the end without awaiting anything: the generator itself is being closed."""
        _raise_if_relieved(job, error)
        self.tell(None, error)
        while self.state is None:
            self.tell(*_outcome(job, self._room, self.step))


class _Items:
    """One attempt of a generator body: its items one by one, and what it ends with."""

    __slots__ = ("_body", "_job", "_pull", "_room", "error", "item", "result")

    def __init__(self, job: Job, room: Room) -> None:
        self._job = job
        self._room = room
        self._body = job.definition.fn(*job.args, **job.kwargs)
        self._pull: Callable[[], Any] = partial(next, self._body)
        self.item: Any = None
        self.result: Any = None
        self.error: BaseException | None = None

    def next(self) -> bool:
        """Get the next item; False when there is none, for the body returned or raised."""
        try:
            self.item = self._call(self._pull)
        except StopIteration as end:
            self.result = end.value
        except BaseException as error:  # noqa: BLE001 - the life decides
            self.error = error
            self._leave()
        else:
            return True
        if self.error is None:
            self._finish(None)

        return False

    def send(self, sent: Any) -> None:
        """Answer the last item."""
        self._pull = partial(self._body.send, sent)

    def throw(self, error: BaseException) -> None:
        """Raise an exception where the body stands."""
        self._pull = partial(self._body.throw, error)

    def close(self) -> None:
        """End the body, whose consumer wants no more."""
        self._job.closed_early = True
        self._finish(self._body.close)

    def _finish(self, close: Callable[[], object] | None) -> None:
        scope = self._job.scope
        try:
            if close is not None:
                self._call(close)
            if scope is not None and not scope.empty:
                self._call(scope.join)
        except BaseException as error:  # noqa: BLE001 - the life decides
            self.error = error

    def _leave(self) -> None:
        """Close a body that was stopped between two items, and so stands where it stood."""
        try:
            with self._room:
                self._body.close()
        except Exception as error:  # noqa: BLE001 - the run ends for another reason
            run_logger(self._job.run).error("The body failed while it was closed", exc_info=error)

    def _call(self, function: Callable[[], Any]) -> Any:
        with self._room, timed(self._job, self._job.definition.timeout_seconds):
            return call(self._job, function)


def drive_generator(make: Callable[[], Job], *, return_state: bool) -> Generator[Any, Any, Any]:
    """Execute a run whose body is a generator: what it yields goes to the consumer.

    A consumer that stops early completes the run. The timeout counts the time spent in the
    body, between two items; the retry of a body that failed begins with its first item again.
    """
    job = make()
    room = Room(job)
    course = _Course(job, room)
    course.tell()
    while course.state is None:
        if not isinstance(course.step, Call):
            course.tell(*_outcome(job, room, course.step))
            continue
        items = _Items(job, room)
        while items.next():
            try:
                sent = yield items.item
            except GeneratorExit:
                items.close()
                break
            except BaseException as error:  # noqa: BLE001 - the body's own affair
                items.throw(error)
            else:
                items.send(sent)
        course.tell(items.result, items.error)

    return job.run.state if return_state else course.state.result()


def _outcome(job: Job, room: Room | AsyncRoom, step: Any) -> tuple[Any, BaseException | None]:
    try:
        with room:
            return _do(job, step), None
    except BaseException as error:  # noqa: BLE001 - the life decides
        return None, error


class _AsyncItems:
    """What `_Items` is, for an async generator."""

    __slots__ = ("_body", "_job", "_pull", "_room", "error", "item")

    def __init__(self, job: Job, room: AsyncRoom) -> None:
        self._job = job
        self._room = room
        self._body = job.definition.fn(*job.args, **job.kwargs)
        self._pull: Callable[[], Awaitable[Any]] = partial(anext, self._body)
        self.item: Any = None
        self.error: BaseException | None = None

    async def next(self) -> bool:
        """Get the next item; False when there is none, for the body returned or raised."""
        try:
            if self._job.run.control.reason is not None:
                raise asyncio.CancelledError  # noqa: TRY301 - as if it had been awaited
            self.item = await self._call(self._pull)
        except StopAsyncIteration:
            await self._finish(None)
        except BaseException as error:
            self.error = cause(error)
            if isinstance(error, GeneratorExit):  # the body is closed, and nothing may be awaited
                raise
            await self._leave()
        else:
            return True

        return False

    def send(self, sent: Any) -> None:
        """Answer the last item."""
        self._pull = partial(self._body.asend, sent)

    def throw(self, error: BaseException) -> None:
        """Raise an exception where the body stands."""
        self._pull = partial(self._body.athrow, error)

    async def close(self) -> None:
        """End the body, whose consumer wants no more."""
        self._job.closed_early = True
        await self._finish(self._body.aclose)

    async def _finish(self, close: Callable[[], Awaitable[object]] | None) -> None:
        scope = self._job.scope
        try:
            if close is not None:
                await self._call(close)
            if scope is not None and not scope.empty:
                await self._call(scope.ajoin)
        except BaseException as error:  # noqa: BLE001 - the life decides
            self.error = cause(error)

    async def _leave(self) -> None:
        """Close a body that was stopped between two items, and so stands where it stood."""
        try:
            with self._room:
                await self._body.aclose()
        except Exception as error:  # noqa: BLE001 - the run ends for another reason
            run_logger(self._job.run).error("The body failed while it was closed", exc_info=error)

    async def _call(self, function: Callable[[], Awaitable[Any]]) -> Any:
        with self._room, timed(self._job, self._job.definition.timeout_seconds):
            return await acall(self._job, function())


async def adrive_generator(make: Callable[[], Job]) -> AsyncGenerator[Any, Any]:
    """Execute a run whose body is an async generator, as `drive_generator` does."""
    job = make()
    room = AsyncRoom(job)
    course = _Course(job, room)
    course.tell()
    while course.state is None:
        try:
            if isinstance(course.step, Call):
                items = _AsyncItems(job, room)
                while await items.next():
                    try:
                        items.send((yield items.item))
                    except GeneratorExit:
                        await items.close()
                        break
                    except BaseException as error:  # noqa: BLE001 - the body's own affair
                        items.throw(error)
                await settled(items.error)
                outcome = (None, items.error)
            else:
                outcome = await _aoutcome(job, room, course.step)
        except GeneratorExit as error:  # what was awaited has been closed already
            course.break_off(job, error)
        else:
            course.tell(*outcome)
    course.state.result()


async def _aoutcome(job: Job, room: AsyncRoom, step: Any) -> tuple[Any, BaseException | None]:
    try:
        with room:
            left = _ado(job, step)
            return None if left is None else await left, None
    except BaseException as error:  # noqa: BLE001 - the life decides
        return None, cause(error)
