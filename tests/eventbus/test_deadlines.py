"""Deadlines: what is told of a state that lasts, on a clock that the test moves."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from eventflow import EventBus, State, StateType, bus, flow, hook, task, use_bus
from eventflow.eventbus import deadlines
from eventflow.eventbus.deadlines import THREADS
from eventflow.events import Event, HookFailed, ListenerFailed, StateLasted
from eventflow.states import AnyState
from eventflow.testing import capture_events
from tests.eventbus.clocks import Clock, Heard, a_task, call, every_kind

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@every_kind
def test_a_state_that_lasts_is_told_of_once(make: Any, clock: Clock, heard: Heard) -> None:
    """To hooks of every declaration and to listeners, once the time is over and not before."""

    def body() -> None:
        clock.advance(59)
        assert heard.all == []
        clock.advance(1)
        assert sorted(map(str, heard.all)) == sorted(map(str, [("it", "Running", "Running")] * 2))
        clock.advance(1000)
        assert len(heard.all) == 3

    definition = make(body)
    definition.on("Running", lasting=60)(heard.hook)
    hook(state=StateType.RUNNING, lasting=timedelta(minutes=1))(heard.hook)
    with bus.subscribe(heard.listen, state="Running", lasting=61, run_type=definition.run_type):
        call(definition)
        clock.advance(1000)

    *_, event = heard.all
    assert len(heard.all) == 3
    assert isinstance(event, StateLasted)
    assert (event.state.name, event.lasting, event.run_type) == ("Running", 61, definition.run_type)
    assert event.since == event.state.timestamp
    assert event.follows == event.state.id
    assert event.run is not None
    assert StateLasted.model_validate_json(event.model_dump_json()) == event


@every_kind
def test_a_state_that_is_left_in_time_owes_nothing(make: Any, clock: Clock, heard: Heard) -> None:
    """Also if its time would be over a moment later, and whatever the run enters next."""

    def body() -> None:
        clock.advance(59.9)
        raise ValueError("left")

    definition = make(body, on_overdue=[heard.hook], overdue_seconds=60)
    definition.on("Running", lasting=60)(heard.hook)
    bus.subscribe(heard.listen, state="Running", lasting=60)
    with pytest.raises(ValueError, match="left"):
        call(definition)
    clock.advance(1000)

    assert heard.all == []


def test_a_timer_that_is_late_tells_of_a_state_that_was_left(clock: Clock, heard: Heard) -> None:
    """It lasted long enough, though nobody had told of that yet."""

    def body() -> None:
        clock.now += 60

    definition = a_task(body, on_overdue=[heard.hook], overdue_seconds=50)
    definition.on("Running", lasting=60)(heard.hook)
    definition()
    deadlines.workers.finish()
    clock.advance(0)

    assert [state for _, _, state in heard.all] == ["Running", "Running"]


def test_overdue_counts_from_the_first_running_to_the_end(clock: Clock, heard: Heard) -> None:
    """Attempts and waits included; the hook is given the state that the run is in then."""
    attempts = 0

    def body() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            clock.advance(25)
            raise ValueError

    @task(retries=2, overdue_seconds=40, on_overdue=[heard.hook])
    def work() -> None:
        body()

    @work.on_overdue(after=timedelta(seconds=49))
    def later(definition: Any, run: Any, state: AnyState) -> None:
        heard.all.append(("later", run.run_count, state.name))

    work.on("Running", lasting=26)(heard.hook)
    work()
    clock.advance(1000)

    assert heard.all == [("work", "Retrying", "Retrying"), ("later", 2, "Retrying")]


def test_each_entering_counts_anew(clock: Clock, heard: Heard) -> None:
    """A state of an attempt is told of, and that of the next one again."""

    @task(retries=1)
    def work() -> None:
        clock.advance(10)
        raise ValueError("left")

    work.on(StateType.RUNNING, lasting=10)(heard.hook)
    with pytest.raises(ValueError, match="left"):
        work()

    assert [state for _, _, state in heard.all] == ["Running", "Retrying"]


def test_what_waits_for_a_retry(clock: Clock, heard: Heard) -> None:
    """A state between two attempts may last as well."""
    waiting = threading.Event()

    @task(retries=1, retry_delay_seconds=0.05)
    def work() -> None:
        if not waiting.is_set():
            waiting.set()
            raise ValueError

    @hook(state="AwaitingRetry")
    def wait(*_: Any) -> None:
        clock.advance(5)

    work.on("AwaitingRetry", lasting=5)(heard.hook)
    work()

    assert heard.all == [("work", "AwaitingRetry", "AwaitingRetry")]


def test_submitted_and_mapped_runs(clock: Clock, heard: Heard) -> None:
    """Each run has deadlines of its own: also those that wait for a thread."""
    running, release = threading.Semaphore(0), threading.Event()

    @task
    def work(number: int) -> int:
        running.release()
        release.wait(30)
        return number

    work.on("Running", lasting=3)(heard.hook)

    @flow
    def around() -> list[int]:
        futures = work.map([1, 2])
        single = work.submit(3)
        for _ in range(3):
            assert running.acquire(timeout=30)
        clock.advance(3)
        release.set()

        return [*futures.result(), single.result()]

    assert around() == [1, 2, 3]
    assert heard.all == [("work", "Running", "Running")] * 3


def test_a_cancelled_run_leaves_its_state(clock: Clock, heard: Heard) -> None:
    """Cancelling has a deadline of its own: it may last, too."""

    @task
    def work() -> None:
        raise AssertionError

    @flow
    def around() -> Any:
        return State(type=StateType.CANCELLED)

    @hook(state="Cancelling", run_type="flow")
    def while_cancelling(*_: Any) -> None:
        clock.advance(60)

    hook(run_type="flow", state="Cancelling", lasting=timedelta(minutes=1))(heard.hook)
    around.on("Running", lasting=60)(heard.hook)
    around(return_state=True)

    assert heard.all == [("around", "Cancelling", "Cancelling")]


def test_a_subscription_to_a_state_that_lasts_already(clock: Clock, heard: Heard) -> None:
    """Its time counts from the entering, of runs on the bus or of the definition."""
    others: list[Event] = []

    @flow
    def around() -> None:
        with use_bus(EventBus()):
            bus.subscribe(others.append, state="Running", lasting=5)
        bus.subscribe(heard.listen, state="Running", lasting=5, once=True)
        bus.subscribe(others.append, state="Pending", lasting=5)
        around.on("Running", lasting=6)(heard.hook)
        around.on_overdue(after=7)(heard.hook)
        other.on("Running", lasting=5)(heard.hook)
        clock.advance(8)

    @flow
    def other() -> None: ...

    around()

    assert others == []
    assert isinstance(heard.all[0], StateLasted)
    assert heard.all[1:] == [("around", "Running", "Running")] * 2


def test_waiting_for_a_state_that_lasts(clock: Clock) -> None:
    """`wait_for` and `stream` take it as every subscription does."""

    @flow
    async def around() -> tuple[StateLasted, list[StateLasted]]:
        async with bus.stream(run_type="flow", state="Running", lasting=9) as events:
            waiting = asyncio.ensure_future(bus.wait_for(state="Running", lasting=10, timeout=30))
            await asyncio.sleep(0)
            await asyncio.to_thread(clock.advance, 10)
            return await waiting, [await anext(events)]

    event, read = asyncio.run(around())
    assert [event.lasting, *(each.lasting for each in read)] == [10, 9]


def test_the_selection_is_that_of_every_filter(clock: Clock, heard: Heard) -> None:
    """By name, tags, run type and run; one that was cancelled meanwhile is not told."""

    def body() -> None:
        cancelled.cancel()
        clock.advance(5)

    definition = a_task(body, tags={"prod"})
    cancelled = bus.subscribe(heard.listen, state="Running", lasting=5)
    for selection in ({"name": "x*"}, {"tags": {"dev"}}, {"run_type": "flow"}):
        bus.subscribe(heard.listen, state="Running", lasting=5, **selection)
    for selection in ({"name": "i*"}, {"tags": "prod"}, {"run_type": "task"}):
        hook(state="Running", lasting=5, **selection)(heard.hook)  # type: ignore[arg-type]
    definition()

    assert heard.all == [("it", "Running", "Running")] * 3


def test_listeners_of_every_event_are_told_too(clock: Clock) -> None:
    """Once for each time that subscriptions ask for, however many of them do."""

    @task
    def work() -> None:
        for seconds in (5, 5, 6):
            hook(state="Running", lasting=seconds, id=str(seconds))(lambda *_: None)
        clock.advance(10)

    with capture_events() as events:
        work.on("Running", lasting=5)(lambda *_: None)
        work.on("Running", lasting=5)(lambda *_: None)
        work()

    lasted = [event.lasting for event in events if isinstance(event, StateLasted)]
    assert sorted(lasted) == [5, 5, 5, 6]


def test_a_hook_and_a_listener_that_fail(clock: Clock, heard: Heard) -> None:
    """They are reported as any, and stop no other."""

    def fail(*_: Any) -> None:
        raise ValueError("wrong")

    definition = a_task(lambda: clock.advance(5))
    for listener in (fail, heard.listen):
        bus.subscribe(listener, state="Running", lasting=5)
    for each in (fail, heard.hook):
        definition.on("Running", lasting=5)(each)
    with capture_events() as events:
        definition()

    assert len(heard.all) == 2
    assert {type(event) for event in events} >= {HookFailed, ListenerFailed}


def test_a_hook_that_hangs_holds_up_no_other(clock: Clock, heard: Heard) -> None:
    """Each of a few threads tells of one deadline at a time."""
    release = threading.Event()
    hanging = threading.Semaphore(0)

    @task
    def work(hangs: bool) -> None:
        if hangs:
            clock.now += 5
            deadlines.timer.run()
        else:
            clock.now += 5
            deadlines.timer.run()
            assert told.wait(30)

    told = threading.Event()

    @work.on("Running", lasting=5)
    def slow(definition: Any, run: Any, state: AnyState) -> None:
        if run.parameters["hangs"]:
            hanging.release()
            release.wait(30)
        else:
            told.set()

    for _ in range(THREADS - 1):
        work(True)
        assert hanging.acquire(timeout=30)
    work(False)
    release.set()
