"""Drivers for bodies that are generators: what they yield goes to the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

from eventflow.engine.drivers import (
    Activation,
    AsyncActivation,
    aperform,
    begin,
    perform,
    raise_if_taken_over,
)
from eventflow.engine.effects import Call, TakenOver, acall, call, timed
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import throw
from eventflow.engine.takeover import settled
from eventflow.interrupts.signals import cause
from eventflow.logs import run_logger
from eventflow.runs.lazy_states import LazyState

__all__ = ["adrive_generator", "drive_generator"]


class _GeneratorLifecycle:
    """The life of a generator's run, carried on in the engine's activation between two items."""

    __slots__ = ("_activation", "_lifecycle", "state", "step")

    def __init__(self, invocation: Invocation, activation: Activation | AsyncActivation) -> None:
        self._lifecycle = begin(invocation)
        self._activation = activation
        self.step: Any = None
        self.state: LazyState | None = None

    def tell(self, told: Any = None, error: BaseException | None = None) -> None:
        """Tell what came of the last step; there is another one, or a state to end with."""
        try:
            with self._activation:
                if error is None:
                    self.step = self._lifecycle.send(told)
                elif isinstance(error, TakenOver):
                    self.state = error.takeover.settle(error.error)
                else:
                    self.step = throw(self._lifecycle, error)
        except StopIteration as end:
            self.state = end.value

    def break_off(self, invocation: Invocation, error: GeneratorExit) -> None:
        """Carry on to the end without awaiting anything: the generator itself is being closed."""
        raise_if_taken_over(invocation, error)
        self.tell(None, error)
        while self.state is None:
            self.tell(*_outcome(invocation, self._activation, self.step))


class _Items:
    """One attempt of a generator body: its items one by one, and what it ends with."""

    __slots__ = ("_activation", "_body", "_invocation", "_pull", "error", "item", "result")

    def __init__(self, invocation: Invocation, activation: Activation) -> None:
        self._invocation = invocation
        self._activation = activation
        self._body = invocation.definition.fn(*invocation.args, **invocation.kwargs)
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
        self._invocation.closed_early = True
        self._finish(self._body.close)

    def _finish(self, close: Callable[[], object] | None) -> None:
        scope = self._invocation.scope
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
            with self._activation:
                self._body.close()
        except Exception as error:  # noqa: BLE001 - the run ends for another reason
            run_logger(self._invocation.run).error(
                "The body failed while it was closed", exc_info=error
            )

    def _call(self, function: Callable[[], Any]) -> Any:
        with self._activation, timed(self._invocation, self._invocation.definition.timeout_seconds):
            return call(self._invocation, function)


def drive_generator(
    make: Callable[[], Invocation], *, return_state: bool
) -> Generator[Any, Any, Any]:
    """Execute a run whose body is a generator: what it yields goes to the consumer.

    A consumer that stops early completes the run. The timeout counts the time spent in the
    body, between two items; the retry of a body that failed begins with its first item again.
    """
    invocation = make()
    activation = Activation(invocation)
    lifecycle = _GeneratorLifecycle(invocation, activation)
    lifecycle.tell()
    while lifecycle.state is None:
        if not isinstance(lifecycle.step, Call):
            lifecycle.tell(*_outcome(invocation, activation, lifecycle.step))
            continue
        items = _Items(invocation, activation)
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
        lifecycle.tell(items.result, items.error)

    return invocation.run.state if return_state else lifecycle.state.result()


def _outcome(
    invocation: Invocation, activation: Activation | AsyncActivation, step: Any
) -> tuple[Any, BaseException | None]:
    try:
        with activation:
            return perform(invocation, step), None
    except BaseException as error:  # noqa: BLE001 - the life decides
        return None, error


class _AsyncItems:
    """What `_Items` is, for an async generator."""

    __slots__ = ("_activation", "_body", "_invocation", "_pull", "error", "item")

    def __init__(self, invocation: Invocation, activation: AsyncActivation) -> None:
        self._invocation = invocation
        self._activation = activation
        self._body = invocation.definition.fn(*invocation.args, **invocation.kwargs)
        self._pull: Callable[[], Awaitable[Any]] = partial(anext, self._body)
        self.item: Any = None
        self.error: BaseException | None = None

    async def next(self) -> bool:
        """Get the next item; False when there is none, for the body returned or raised."""
        try:
            if self._invocation.run.cancel_scope.reason is not None:
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
        self._invocation.closed_early = True
        await self._finish(self._body.aclose)

    async def _finish(self, close: Callable[[], Awaitable[object]] | None) -> None:
        scope = self._invocation.scope
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
            with self._activation:
                await self._body.aclose()
        except Exception as error:  # noqa: BLE001 - the run ends for another reason
            run_logger(self._invocation.run).error(
                "The body failed while it was closed", exc_info=error
            )

    async def _call(self, function: Callable[[], Awaitable[Any]]) -> Any:
        with self._activation, timed(self._invocation, self._invocation.definition.timeout_seconds):
            return await acall(self._invocation, function())


async def adrive_generator(make: Callable[[], Invocation]) -> AsyncGenerator[Any, Any]:
    """Execute a run whose body is an async generator, as `drive_generator` does."""
    invocation = make()
    activation = AsyncActivation(invocation)
    lifecycle = _GeneratorLifecycle(invocation, activation)
    lifecycle.tell()
    while lifecycle.state is None:
        try:
            if isinstance(lifecycle.step, Call):
                items = _AsyncItems(invocation, activation)
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
                outcome = await _aoutcome(invocation, activation, lifecycle.step)
        except GeneratorExit as error:  # what was awaited has been closed already
            lifecycle.break_off(invocation, error)
        else:
            lifecycle.tell(*outcome)
    lifecycle.state.result()


async def _aoutcome(
    invocation: Invocation, activation: AsyncActivation, step: Any
) -> tuple[Any, BaseException | None]:
    try:
        with activation:
            left = aperform(invocation, step)
            return None if left is None else await left, None
    except BaseException as error:  # noqa: BLE001 - the life decides
        return None, cause(error)
