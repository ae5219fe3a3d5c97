"""The publication of an event: order, causes before effects, and listeners that fail."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

import pytest

from eventflow import Event, EventBus, bus, task
from eventflow.events import ListenerFailed
from eventflow.testing import Isolated


class Fact(Event):
    number: int = 0


@task
def work() -> None: ...


# -- order -----------------------------------------------------------------------------------


def test_listeners_are_called_in_order() -> None:
    """In the order of subscription, a higher priority first."""
    own, called = EventBus(), list[str]()
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 0.5)):
        own.subscribe(lambda event, name=name: called.append(name), priority=priority)
    own.publish(Fact())

    assert called == ["b", "d", "a", "c"]


def test_what_a_listener_publishes_comes_after_its_cause() -> None:
    """All listeners get the event before any gets what a listener published."""
    own, seen = EventBus(), defaultdict[str, list[int]](list)

    def react(event: Fact) -> None:
        seen["first"].append(event.number)
        if event.number < 3:
            own.publish(Fact(number=event.number + 1), follows=event)

    own.subscribe(react, event_type=Fact)
    own.subscribe(lambda event: seen["second"].append(event.number), event_type=Fact)
    own.subscribe(lambda event: seen["third"].append(event.number), event_type=Fact)
    own.publish(Fact(number=0))

    assert seen == {name: [0, 1, 2, 3] for name in ("first", "second", "third")}


def test_the_order_holds_through_an_event_of_one_listener() -> None:
    """An effect of an effect comes after the cause of both."""
    own, seen = EventBus(), list[str]()

    class Middle(Event): ...

    class Last(Event): ...

    own.subscribe(lambda event: own.publish(Middle()), event_type=Fact)
    own.subscribe(lambda event: own.publish(Last()), event_type=Middle)
    own.subscribe(lambda event: seen.append("first of Last"), event_type=Last)
    own.subscribe(lambda event: seen.append("second of Fact"), event_type=Fact)
    own.subscribe(lambda event: seen.append("second of Last"), event_type=Last)
    own.publish(Fact())
    own.publish(Middle())

    assert seen == ["second of Fact", *["first of Last", "second of Last"] * 2]


def test_a_run_within_a_listener_comes_after_its_cause(eventflow_isolated: Isolated) -> None:
    """Also where the listener runs a task of its own."""
    types: list[str] = []

    @task
    def reaction() -> None: ...

    def react(_event: Event) -> None:
        reaction()

    bus.subscribe(react, state="Completed", name="work")
    bus.subscribe(lambda event: types.append(f"{event.definition_name} {event.to_state.name}"))
    work()

    assert types == [
        *(f"work {name}" for name in ("Pending", "Running", "Completed")),
        *(f"reaction {name}" for name in ("Pending", "Running", "Completed")),
    ]


# -- failing listeners -----------------------------------------------------------------------


def test_a_failing_listener_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Its error is logged with the traceback and published; the others get the event."""
    own, seen = EventBus(), list[Event]()

    def broken(event: Fact) -> None:
        raise ValueError("oh")

    own.subscribe(broken, event_type=Fact)
    own.subscribe(seen.append)
    fact = own.publish(Fact())

    failure = seen[1]
    assert seen[0] is fact
    assert isinstance(failure, ListenerFailed)
    assert failure.listener.endswith("broken")
    assert failure.event_type == fact.type
    assert failure.follows == fact.id
    assert (failure.error.type, failure.error.message) == ("ValueError", "oh")
    assert "Traceback" in failure.error.traceback
    record = next(line for line in caplog.records if line.levelno == logging.ERROR)
    assert record.exc_info


def test_a_listener_of_failures_may_fail() -> None:
    """That is logged, and not published again."""
    own, times = EventBus(), list[str]()

    def broken(event: Event) -> None:
        times.append(type(event).__name__)
        raise ValueError

    own.subscribe(broken)
    own.publish(Fact())

    assert times == ["Fact", "ListenerFailed"]


@pytest.mark.parametrize("way", ["publish", "apublish"])
def test_ctrl_c_in_a_listener_waits_for_the_others(way: str) -> None:
    """What is no Exception is raised after all others have got the event."""
    own, seen = EventBus(), list[Event]()

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    async def publish() -> None:
        with pytest.raises(KeyboardInterrupt):
            await own.apublish(Fact())

    own.subscribe(interrupt)
    own.subscribe(seen.append)
    if way == "publish":
        with pytest.raises(KeyboardInterrupt):
            own.publish(Fact())
    else:
        asyncio.run(publish())

    assert len(seen) == 1


def test_a_plain_listener_that_returns_a_coroutine_fails() -> None:
    """It would never be awaited; that is a failure like any other."""
    own, failures = EventBus(), list[ListenerFailed]()

    async def listen(event: Event) -> None: ...

    own.subscribe(lambda event: listen(event), event_type=Fact)  # noqa: PLW0108 - is the case
    own.subscribe(failures.append, event_type=ListenerFailed)
    own.publish(Fact())

    assert "gave a coroutine" in failures[0].error.message
