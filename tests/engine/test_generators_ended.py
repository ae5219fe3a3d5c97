"""How generators as bodies end before their last item: timeouts, errors, cancellation, closing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from eventflow import bus, flow, task
from eventflow.errors import CancelledRun
from eventflow.events import Event
from tests.engine.transitions import state_names

COMPLETED = ["Pending", "Running", "Completed"]


both = pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])


@both
def test_timeout(decorate: Any, eventflow_events: list[Event]) -> None:
    """A generator whose body takes too long over an item times out; waiting consumers do not."""
    waited = threading.Event()

    @decorate(name="work", timeout_seconds=0.05)
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2
        threading.Event().wait(3600)

    @decorate(name="awork", timeout_seconds=0.05)
    async def aitems() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(3600)

    async def main() -> None:
        async for _ in aitems():
            await asyncio.sleep(0.1)

    generator = items()
    assert next(generator) == 1
    waited.wait(0.1)
    assert next(generator) == 2
    with pytest.raises(TimeoutError):
        next(generator)
    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert state_names(eventflow_events) == ["Pending", "Running", "TimedOut"]
    assert state_names(eventflow_events, "awork") == ["Pending", "Running", "TimedOut"]


@both
def test_early_close_completes(decorate: Any, eventflow_events: list[Event]) -> None:
    """A consumer that wants no more completes the run; the body may clean up."""
    ended: list[str] = []

    @decorate(name="work", retries=3)
    def items() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
        finally:
            ended.append("sync")

    @decorate(name="awork", retries=3)
    async def aitems() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            ended.append("async")

    async def main() -> None:
        generator = aitems()
        assert await anext(generator) == 1
        await generator.aclose()

    for item in items():
        assert item == 1
        break
    asyncio.run(main())
    assert ended == ["sync", "async"]
    assert state_names(eventflow_events) == COMPLETED
    assert state_names(eventflow_events, "awork") == COMPLETED


@both
def test_a_body_that_fails_at_its_close(decorate: Any, eventflow_events: list[Event]) -> None:
    """A body that raises while it is closed fails its run, which is not retried."""

    @decorate(name="work", retries=3)
    def items() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise ValueError("at the close")

    @decorate(name="awork", retries=3)
    async def aitems() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise ValueError("at the close")

    async def main() -> None:
        generator = aitems()
        await anext(generator)
        await generator.aclose()

    generator = items()
    next(generator)
    with pytest.raises(ValueError, match="at the close"):
        generator.close()
    with pytest.raises(ValueError, match="at the close"):
        asyncio.run(main())
    assert state_names(eventflow_events) == ["Pending", "Running", "Failed"]
    assert state_names(eventflow_events, "awork") == ["Pending", "Running", "Failed"]


@both
def test_exceptions_thrown_in(decorate: Any, eventflow_events: list[Event]) -> None:
    """What a consumer throws in is raised where the body stands, which may go on."""

    @decorate(name="work")
    def items() -> Generator[str, None, None]:
        try:
            yield "first"
        except KeyError as error:
            yield f"caught {error}"

    @decorate(name="awork")
    async def aitems() -> AsyncGenerator[str, None]:
        try:
            yield "first"
        except KeyError as error:
            yield f"caught {error}"

    async def main() -> None:
        generator = aitems()
        await anext(generator)
        assert await generator.athrow(KeyError(1)) == "caught 1"
        with pytest.raises(StopAsyncIteration):
            await anext(generator)

    generator = items()
    next(generator)
    assert generator.throw(KeyError(1)) == "caught 1"
    assert list(generator) == []
    asyncio.run(main())
    assert state_names(eventflow_events) == COMPLETED
    assert state_names(eventflow_events, "awork") == COMPLETED


@both
def test_an_exit_from_a_generator(decorate: Any, eventflow_events: list[Event]) -> None:
    """An exit in the body crashes the run and reaches the consumer."""

    @decorate(name="work")
    def items() -> Generator[int, None, None]:
        yield 1
        raise SystemExit(3)

    @decorate(name="awork")
    async def aitems() -> AsyncGenerator[int, None]:
        yield 1
        raise SystemExit(3)

    async def main() -> None:
        async for _ in aitems():
            pass

    with pytest.raises(SystemExit):
        list(items())
    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert state_names(eventflow_events) == ["Pending", "Running", "Crashed"]
    assert state_names(eventflow_events, "awork") == ["Pending", "Running", "Crashed"]


@both
def test_cancelling_a_generator(decorate: Any, eventflow_events: list[Event]) -> None:
    """A generator that is cancelled between two items ends Cancelled at the next."""
    runs: list[Any] = []
    bus.subscribe(lambda event: runs.append(event.run), state="Running")

    @decorate(name="work")
    def items() -> Generator[int, None, None]:
        yield 1
        yield 2

    @decorate(name="awork")
    async def aitems() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def main() -> None:
        async for _ in aitems():
            assert runs[-1].cancel()

    generator = items()
    next(generator)
    assert runs[-1].cancel()
    with pytest.raises(CancelledRun):
        next(generator)
    with pytest.raises(CancelledRun):
        asyncio.run(main())
    assert state_names(eventflow_events) == ["Pending", "Running", "Cancelling", "Cancelled"]
    assert state_names(eventflow_events, "awork") == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]


@both
def test_a_stopped_body_is_closed(
    decorate: Any, eventflow_events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """A body that is stopped between two items is closed; what it raises then is logged."""
    runs: list[Any] = []
    bus.subscribe(lambda event: runs.append(event.run), state="Running")

    @decorate(name="work")
    def items() -> Generator[int, None, None]:
        try:
            yield 1
        finally:
            raise ValueError("sync close")

    @decorate(name="work")
    async def aitems() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            raise ValueError("async close")

    async def main() -> None:
        async for _ in aitems():
            runs[-1].cancel()

    generator = items()
    next(generator)
    runs[-1].cancel()
    with pytest.raises(CancelledRun):
        next(generator)
    with pytest.raises(CancelledRun):
        asyncio.run(main())
    assert caplog.text.count("The body failed while it was closed") == 2
    assert "sync close" in caplog.text
    assert "async close" in caplog.text


@both
def test_a_broken_consumer(decorate: Any, eventflow_events: list[Event]) -> None:
    """An async generator whose consumer is closed while it waits for an item crashes its run."""

    @decorate(name="work")
    async def items() -> AsyncGenerator[int, None]:
        await asyncio.sleep(3600)
        yield 1

    async def consume() -> None:
        async for _ in items():
            pass

    async def main() -> None:
        coroutine = consume()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert state_names(eventflow_events) == ["Pending", "Running", "Crashed"]
