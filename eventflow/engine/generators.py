"""Drivers for bodies that are generators, whose items are yielded to the consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from typing import Any

from eventflow.engine.drivers import (
    Activation,
    AsyncActivation,
    aperform,
    leave_to_takeover,
    perform,
)
from eventflow.engine.effects import Call, TakenOver, acall, call, timed
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import lifecycle_of, throw
from eventflow.engine.takeover import join_takeover
from eventflow.interrupts.signals import cause
from eventflow.logs import run_logger
from eventflow.primitives.texts import is_a
from eventflow.runs.lazy_states import LazyState

__all__ = ["adrive_generator", "drive_generator"]


class _GeneratorLifecycle:
    """The lifecycle of a generator's run, advanced between two items."""

    __slots__ = ("_activation", "_lifecycle", "request", "state")

    def __init__(self, invocation: Invocation, activation: Activation | AsyncActivation) -> None:
        self._lifecycle = invocation.lifecycle = lifecycle_of(invocation)
        self._activation = activation
        self.request: Any = None
        self.state: LazyState | None = None

    def advance(self, result: Any = None, error: BaseException | None = None) -> None:
        """Send the outcome of the last request; set the next request, or the final state."""
        try:
            with self._activation:
                if error is None:
                    self.request = self._lifecycle.send(result)
                elif is_a(error, TakenOver):
                    self.state = error.takeover.join(error.error)
                else:
                    self.request = throw(self._lifecycle, error)
        except StopIteration as end:
            self.state = end.value

    def close(self, invocation: Invocation, error: GeneratorExit) -> None:
        """Drive the run to its end without awaiting, since the generator is being closed."""
        leave_to_takeover(invocation, error)
        self.advance(None, error)
        while self.state is None:
            self.advance(*_perform(invocation, self._activation, self.request))


class _Items:
    """One attempt of a generator body: its items one by one, then its result or its error."""

    __slots__ = ("_activation", "_body", "_invocation", "_pull", "error", "item", "result")

    def __init__(self, invocation: Invocation, activation: Activation) -> None:
        self._invocation = invocation
        self._activation = activation
        self._body = invocation.definition.fn(*invocation.args, **invocation.kwargs)
        if invocation.items is not None:
            invocation.items.clear()  # what a failed attempt has yielded
        self._pull: Callable[[], Any] = partial(next, self._body)
        self.item: Any = None
        self.result: Any = None
        self.error: BaseException | None = None

    def next(self) -> bool:
        """Get the next item; return False if there is none, since the body returned or raised."""
        try:
            self.item = self._call(self._pull)
        except StopIteration as end:
            self.result = end.value
        except BaseException as error:  # noqa: BLE001 - the lifecycle decides
            self.error = error
            self._close_suspended()
        else:
            if self._invocation.items is not None:
                self._invocation.items.append(self.item)
            return True
        if self.error is None:
            self._finish(None)

        return False

    def send(self, sent: Any) -> None:
        """Send a value to the body with the next call."""
        self._pull = partial(self._body.send, sent)

    def throw(self, error: BaseException) -> None:
        """Throw an exception into the body with the next call."""
        self._pull = partial(self._body.throw, error)

    def close(self) -> None:
        """Close the body, since its consumer was closed."""
        self._invocation.generator_closed = True
        self._finish(self._body.close)

    def _finish(self, close: Callable[[], object] | None) -> None:
        scope = self._invocation.scope
        try:
            if close is not None:
                self._call(close)
            if scope is not None and not scope.empty:
                self._call(scope.join)
        except BaseException as error:  # noqa: BLE001 - the lifecycle decides
            self.error = error

    def _close_suspended(self) -> None:
        """Close a body that was stopped between two items, and so is still suspended."""
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
    """Execute a run whose body is a generator; yield its items to the consumer.

    A consumer that stops early completes the run. The timeout bounds the time that the body
    takes for one item. The retry of a failed body begins with its first item again.
    """
    invocation = make()
    activation = Activation(invocation)
    lifecycle = _GeneratorLifecycle(invocation, activation)
    lifecycle.advance()
    while lifecycle.state is None:
        if not isinstance(lifecycle.request, Call):
            lifecycle.advance(*_perform(invocation, activation, lifecycle.request))
            continue
        items = _Items(invocation, activation)
        while items.next():
            try:
                sent = yield items.item
            except GeneratorExit:
                items.close()
                break
            except BaseException as error:  # noqa: BLE001 - the body decides
                items.throw(error)
            else:
                items.send(sent)
        lifecycle.advance(items.result, items.error)

    yield from invocation.cached_items

    return invocation.run.state if return_state else lifecycle.state.result_of(invocation.run)


def _perform(
    invocation: Invocation, activation: Activation | AsyncActivation, request: Any
) -> tuple[Any, BaseException | None]:
    try:
        with activation:
            return perform(invocation, request), None
    except BaseException as error:  # noqa: BLE001 - the lifecycle decides
        return None, error


class _AsyncItems:
    """What `_Items` is, for an async generator."""

    __slots__ = ("_activation", "_body", "_invocation", "_pull", "error", "item")

    def __init__(self, invocation: Invocation, activation: AsyncActivation) -> None:
        self._invocation = invocation
        self._activation = activation
        self._body = invocation.definition.fn(*invocation.args, **invocation.kwargs)
        if invocation.items is not None:
            invocation.items.clear()  # what a failed attempt has yielded
        self._pull: Callable[[], Awaitable[Any]] = partial(anext, self._body)
        self.item: Any = None
        self.error: BaseException | None = None

    async def next(self) -> bool:
        """Get the next item; return False if there is none, since the body returned or raised."""
        try:
            if self._invocation.run.cancel_scope.reason is not None:
                raise asyncio.CancelledError  # noqa: TRY301 - as an await would have
            self.item = await self._call(self._pull)
        except StopAsyncIteration:
            await self._finish(None)
        except BaseException as error:
            self.error = cause(error)
            if is_a(error, GeneratorExit):  # the body is closed, and nothing may be awaited
                raise
            await self._close_suspended()
        else:
            if self._invocation.items is not None:
                self._invocation.items.append(self.item)
            return True

        return False

    def send(self, sent: Any) -> None:
        """Send a value to the body with the next call."""
        self._pull = partial(self._body.asend, sent)

    def throw(self, error: BaseException) -> None:
        """Throw an exception into the body with the next call."""
        self._pull = partial(self._body.athrow, error)

    async def close(self) -> None:
        """Close the body, since its consumer was closed."""
        self._invocation.generator_closed = True
        await self._finish(self._body.aclose)

    async def _finish(self, close: Callable[[], Awaitable[object]] | None) -> None:
        scope = self._invocation.scope
        try:
            if close is not None:
                await self._call(close)
            if scope is not None and not scope.empty:
                await self._call(scope.ajoin)
        except BaseException as error:  # noqa: BLE001 - the lifecycle decides
            self.error = cause(error)

    async def _close_suspended(self) -> None:
        """Close a body that was stopped between two items, and so is still suspended."""
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


async def adrive_generator(  # noqa: C901 - `yield from`, which would part it, is for sync code
    make: Callable[[], Invocation],
) -> AsyncGenerator[Any, Any]:
    """Execute a run whose body is an async generator, as `drive_generator` does."""
    invocation = make()
    activation = AsyncActivation(invocation)
    lifecycle = _GeneratorLifecycle(invocation, activation)
    lifecycle.advance()
    while lifecycle.state is None:
        try:
            if isinstance(lifecycle.request, Call):
                items = _AsyncItems(invocation, activation)
                while await items.next():
                    try:
                        items.send((yield items.item))
                    except GeneratorExit:
                        await items.close()
                        break
                    except BaseException as error:  # noqa: BLE001 - the body decides
                        items.throw(error)
                await join_takeover(items.error)
                outcome = (None, items.error)
            else:
                outcome = await _aperform(invocation, activation, lifecycle.request)
        except GeneratorExit as error:  # the awaited coroutine has been closed already
            lifecycle.close(invocation, error)
        else:
            lifecycle.advance(*outcome)
    for item in invocation.cached_items:
        yield item
    lifecycle.state.result_of(invocation.run)


async def _aperform(
    invocation: Invocation, activation: AsyncActivation, request: Any
) -> tuple[Any, BaseException | None]:
    try:
        with activation:
            awaitable = aperform(invocation, request)
            return None if awaitable is None else await awaitable, None
    except BaseException as error:  # noqa: BLE001 - the lifecycle decides
        return None, cause(error)
