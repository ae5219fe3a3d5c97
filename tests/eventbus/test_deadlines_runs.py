"""States that last in every kind of run: called, submitted, mapped, tried again, cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import flow, hook, task
from eventflow.context import get_run_context
from eventflow.eventbus import deadlines
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.states import AnyState
from tests.eventbus.clocks import Clock, Heard, a_flow, a_task, call, every_kind

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

is_async = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def a_definition(
    decorate: Any, is_async: bool, body: Callable[[int], object], **options: Any
) -> Any:
    """Make a flow or a task of a body, which takes a number."""

    def work(number: int) -> object:
        return body(number)

    async def awork(number: int) -> object:
        return await asyncio.to_thread(body, number)

    return decorate(name="it", **options)(awork if is_async else work)


@is_async
@pytest.mark.parametrize("decorate", [flow, task])
def test_called(decorate: Any, is_async: bool, clock: Clock, heard: Heard) -> None:
    """By a program, and by a flow of either kind."""
    work = a_definition(decorate, is_async, lambda _: clock.advance(5))
    work.on("Running", lasting=5)(heard.hook)

    @flow
    def around() -> None:
        work(1)

    @flow
    async def aaround() -> None:
        if (made := work(1)) is not None:
            await made

    if is_async:
        asyncio.run(work(1))
    else:
        work(1)
        around()
    asyncio.run(aaround())
    clock.advance(1_000)

    assert heard.all == [("it", "Running", "Running")] * (2 if is_async else 3)


class Held:
    """A body that goes on when it is released; a negative number is not held."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.begun = threading.Semaphore(0)
        self.released = threading.Event()

    def body(self, number: int) -> int:
        """Return when it may."""
        if number >= 0:
            self.begun.release()
            assert self.released.wait(30)

        return number

    def last(self, count: int) -> None:
        """Have so many of them last for five seconds, and release them."""
        for _ in range(count):
            assert self.begun.acquire(timeout=30)
        self.clock.advance(5)
        self.released.set()


@is_async
@pytest.mark.parametrize("numbers", [[1], [1, 2, 3]], ids=["submitted", "mapped"])
@pytest.mark.parametrize("in_async_flow", [False, True], ids=["by sync", "by async"])
def test_in_other_threads(
    is_async: bool, numbers: list[int], in_async_flow: bool, clock: Clock, heard: Heard
) -> None:
    """Each has its own time, and one that has left in time owes nothing."""
    held = Held(clock)
    work = a_definition(task, is_async, held.body, on_overdue=[heard.hook], overdue_seconds=5)
    work.on("Running", lasting=5)(heard.hook)

    def submit() -> Any:
        work.submit(-1).wait()
        futures = work.map(numbers) if len(numbers) > 1 else work.submit(*numbers)
        held.last(len(numbers))
        return futures.result()

    @flow
    async def aaround() -> Any:
        return await asyncio.to_thread(submit)

    result = asyncio.run(aaround()) if in_async_flow else flow(submit)()
    clock.advance(1_000)

    assert result == (numbers if len(numbers) > 1 else numbers[0])
    assert heard.all == [("it", "Running", "Running")] * 2 * len(numbers)


@is_async
@pytest.mark.parametrize("decorate", [flow, task])
def test_retries(decorate: Any, is_async: bool, clock: Clock, heard: Heard) -> None:
    """Each attempt is a state of its own; a run is overdue once, whatever it is doing then."""
    seconds = [6, 4, 6]

    def body(number: int) -> None:
        clock.advance(seconds.pop(0))
        if seconds:
            raise ValueError(number)

    def overdue(definition: Any, run: Any, state: AnyState) -> None:
        heard.all.append(("overdue", run.run_count, state.name))

    work = a_definition(
        decorate, is_async, body, retries=2, on_overdue=[overdue], overdue_seconds=10
    )
    for name in ("Running", "Retrying"):
        work.on(name, lasting=5)(heard.hook)
    if is_async:
        asyncio.run(work(1))
    else:
        work(1)
    clock.advance(1_000)

    assert heard.all == [
        ("it", "Running", "Running"),
        ("overdue", 2, "Retrying"),
        ("it", "Retrying", "Retrying"),
    ]


@every_kind
@pytest.mark.parametrize("seconds", [4.999, 5, 5.001])
@pytest.mark.parametrize("late", [False, True], ids=["in time", "late timer"])
def test_cancelled_before_at_and_after(
    make: Any, seconds: float, late: bool, clock: Clock, heard: Heard
) -> None:
    """A run that is cancelled in time owes nothing; then Cancelling has a time of its own."""

    def body() -> None:
        clock.now += seconds
        if not late:
            deadlines.timer.run()
        context: Any = get_run_context()
        assert context.run.cancel()
        # Where the cancellation is raised.
        threading.Event().wait(0.001)

    def cancelling(definition: Any, run: Any, state: AnyState) -> None:
        clock.advance(7)

    work = make(body, on_overdue=[heard.hook], overdue_seconds=5, on_cancellation=[cancelling])
    work.on("Running", lasting=5)(heard.hook)
    work.on("Cancelling", lasting=7)(heard.hook)
    work.on("Cancelling", lasting=8)(heard.hook)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - the kind of run decides which
        call(work)
    clock.advance(1_000)

    lasted = seconds >= 5
    told = [state for _, _, state in heard.all]
    assert told.count("Cancelling") == (1 if lasted else 2)
    assert told.count("Running") == (2 if lasted else 0)


def test_cancelled_while_it_is_told_of(clock: Clock, heard: Heard) -> None:
    """The hook that has begun goes on: with the state that had lasted."""
    begun, cancelled = threading.Event(), threading.Event()

    def slow(definition: Any, run: Any, state: AnyState) -> None:
        begun.set()
        assert cancelled.wait(30)
        heard.hook(definition, run, state)

    def body() -> None:
        clock.now += 5
        deadlines.timer.run()
        assert begun.wait(30)
        context: Any = get_run_context()
        context.run.cancel()
        threading.Event().wait(0.001)

    work = a_task(body, on_end=[lambda *_: cancelled.set()])
    work.on("Running", lasting=5)(slow)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - as above
        work()
    deadlines.workers.finish()

    assert heard.all == [("it", "Cancelled", "Running")]


def test_a_run_that_waits_for_a_thread(clock: Clock, heard: Heard) -> None:
    """Pending may last, too: of what was submitted and has no thread yet."""
    begun, release = threading.Event(), threading.Event()

    @task
    def work(number: int) -> None:
        begun.set()
        assert release.wait(30)

    hook(run_type="task", state="Pending", lasting=60)(heard.hook)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def around() -> None:
        futures = [work.submit(number) for number in range(2)]
        assert begun.wait(30)
        clock.advance(60)
        release.set()
        for future in futures:
            future.result()

    around()
    assert heard.all == [("work", "Pending", "Pending")]


def test_flows_within_flows(clock: Clock, heard: Heard) -> None:
    """Each has its own time; the ones around it go on counting."""
    inner = a_flow(lambda: clock.advance(3), on_overdue=[heard.hook], overdue_seconds=2)

    @flow(on_overdue=[heard.hook], overdue_seconds=5)
    def outer() -> None:
        inner()
        inner()

    outer()
    assert sorted(name for name, _, _ in heard.all) == ["it", "it", "outer"]
