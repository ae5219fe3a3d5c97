"""The bus: publishing, subscriptions, waiting for an event, and the bus in force."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any
from uuid import uuid4

import pytest

from eventflow import Event, EventBus, State, bus, flow, hook, runtime, task, use_bus
from eventflow.eventbus.bus import current_bus
from eventflow.events import HookSucceeded, StateTransition, parse
from eventflow.testing import Isolated, capture_events
from tests.eventbus.threads import in_threads


class Fact(Event):
    number: int = 0


class Special(Fact):
    source: str = ""


@task
def work(fail: bool = False) -> None:
    if fail:
        raise ValueError("no")


def test_events_know_what_they_follow() -> None:
    """`follows` is set on the copy that is published and returned; the original stays."""
    own, seen = EventBus(), list[Event]()
    own.subscribe(seen.append)
    cause = own.publish(Fact())
    fact = Fact()
    effect = own.publish(fact, follows=cause)

    assert seen == [cause, effect]
    assert (effect.follows, fact.follows, cause.follows) == (cause.id, None, None)


def test_only_events_can_be_published() -> None:
    """Anything else is refused, in sync and in async code, with what to do."""
    own = EventBus()
    with pytest.raises(TypeError, match="Only events can be published, but got 'x'; subclass"):
        own.publish("x")  # type: ignore[type-var]
    with pytest.raises(TypeError, match="follows must be the event that led to this one"):
        own.publish(Fact(), follows=uuid4())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Only events"):
        asyncio.run(own.apublish(None))  # type: ignore[type-var]


def test_a_class_matches_its_subclasses() -> None:
    """Subscribing to a class selects what is derived from it."""
    own, seen = EventBus(), list[Event]()
    own.subscribe(seen.append, event_type=Fact)
    special = own.publish(Special())
    own.publish(Event())

    assert seen == [special]


def test_no_event_is_built_without_a_subscriber(
    eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a subscriber, or with subscribers to others only, a run builds no event."""
    built: list[object] = []
    monkeypatch.setattr("eventflow.eventbus.publication.transition_event", built.append)
    work()
    bus.subscribe(print, name="other")
    bus.subscribe(print, tags={"other"})
    bus.subscribe(print, run_id=uuid4())
    bus.subscribe(print, event_type=Fact)
    work()

    @flow
    async def aflow() -> None: ...

    asyncio.run(aflow())

    assert built == []


def test_async_code_publishes_to_all_listeners(caplog: pytest.LogCaptureFixture) -> None:
    """To sync and async ones, also if one of them fails."""
    own, seen = EventBus(), list[tuple[str, int]]()

    async def main() -> None:
        done = asyncio.Event()

        async def listen(event: Fact) -> None:
            seen.append(("async", event.number))
            if event.number == 2:
                done.set()

        def broken(event: Fact) -> None:
            raise ValueError("no")

        own.subscribe(broken, event_type=Fact, once=True)
        own.subscribe(listen, event_type=Fact)
        own.subscribe(lambda event: seen.append(("sync", event.number)), event_type=Fact)
        first = await own.apublish(Fact(number=1))
        second = await own.apublish(Fact(number=2), follows=first)
        assert second.follows == first.id
        await own.apublish(Event())
        await done.wait()

    asyncio.run(main())
    assert [number for kind, number in seen if kind == "sync"] == [1, 2]
    assert [number for kind, number in seen if kind == "async"] == [1, 2]
    assert "listener failed" in caplog.text


def test_a_listener_is_held_strongly() -> None:
    """A closure without another reference stays subscribed."""
    own, seen = EventBus(), list[Event]()

    def subscribe() -> None:
        def listen(event: Event) -> None:
            seen.append(event)

        own.subscribe(listen)

    subscribe()
    gc.collect()
    own.publish(Fact())

    assert len(seen) == 1


def test_a_subscription_ends() -> None:
    """By cancel, which may be repeated, or with its block; `subscribe` decorates as well."""
    own, seen = EventBus(), list[str]()
    first = own.subscribe(lambda event: seen.append("one"))

    @own.subscribe(event_type=Fact)
    def two(event: Event) -> None:
        seen.append("two")

    with own.subscribe(lambda event: seen.append("three")) as three:
        own.publish(Fact())
        assert len(own.subscriptions) == 3
    first.cancel()
    first.cancel()
    own.publish(Fact())
    two(Fact())

    assert seen == ["one", "two", "three", "two", "two"]
    assert (first.active, first.delivered, three.active) == (False, 1, False)
    assert repr(own) == "<EventBus with 1 subscriptions>"


def test_a_listener_may_cancel_a_later_one() -> None:
    """That gets nothing any more; a new one gets the next event."""
    own, seen = EventBus(), list[str]()

    def first(event: Event) -> None:
        second.cancel()
        own.subscribe(lambda event: seen.append("new"), once=True)

    own.subscribe(first, once=True)
    second = own.subscribe(lambda event: seen.append("second"))
    own.publish(Fact())
    assert seen == []
    own.publish(Fact())
    assert seen == ["new"]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_once_is_once(kind: str) -> None:
    """However many threads publish at the same time, one event is delivered."""
    own, seen = EventBus(), list[Event]()
    done = threading.Event()

    async def alisten(event: Event) -> None:
        seen.append(event)
        done.set()

    def listen(event: Event) -> None:
        seen.append(event)
        done.set()

    subscription = own.subscribe(alisten if kind == "async" else listen, once=True)
    in_threads(16, lambda _: own.publish(Fact()))

    assert done.wait(10)
    assert len(seen) == 1
    assert own.subscriptions == []
    assert subscription.delivered == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"listener": 3}, TypeError, "A listener must be callable, but got 3"),
        ({"listener": print, "size": 0}, ValueError, "size must be 1 or more"),
        ({"listener": print, "overflow": "no"}, ValueError, "overflow must be one of block"),
        ({"listener": print, "priority": "high"}, TypeError, "priority must be a number"),
        ({"listener": print, "what": 3}, TypeError, "there is no what"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(
    arguments: Any, error: type[Exception], message: str
) -> None:
    """Each with a clear message; nothing is subscribed."""
    own = EventBus()
    with pytest.raises(error, match=message):
        own.subscribe(**arguments)

    assert own.subscriptions == []


def test_a_decorator_refuses_what_cannot_be_called() -> None:
    """At the decoration."""
    with pytest.raises(TypeError, match="A listener must be callable, but got None"):
        EventBus().subscribe()(None)  # type: ignore[type-var]


def test_a_bus_is_in_force_for_a_block() -> None:
    """Blocks nest; `eventflow.bus` stands for the one in force, wherever it was imported."""
    outer, inner, seen = EventBus(), EventBus(), list[str]()
    outer.subscribe(lambda event: seen.append("outer"))
    inner.subscribe(lambda event: seen.append("inner"))
    with use_bus(outer):
        with use_bus(inner) as own:
            assert current_bus() is own is inner
            bus.publish(Fact())
            with use_bus(bus) as same:
                assert same is inner
                bus.publish(Fact())
        work()

    assert seen == ["inner", "inner", "outer", "outer", "outer"]
    with pytest.raises(TypeError, match="use_bus takes an EventBus, but got 3"), use_bus(3):  # type: ignore[arg-type]
        pass


def test_each_subscription_is_explained(eventflow_isolated: Isolated) -> None:
    """Declared hooks, global hooks and listeners are explained, in the order of delivery."""

    @task(on_completion=[print])
    def explained() -> None: ...

    bus.subscribe(print, name="explained", priority=1)
    bus.subscribe(print, state="Failed")
    hook(run_type="flow")(print)
    with capture_events() as events:
        explained()
    answers = [(each.matched, each.reason) for each in bus.explain(events[-1])]

    assert answers == [
        (False, "event_type is HookSucceeded, not StateTransition"),
        (False, "event_type is HookSucceeded, not StateTransition"),
        (False, "event_type is HookSucceeded, not StateTransition"),
    ]
    answers = [(each.matched, each.reason) for each in bus.explain(events[2])]
    assert answers == [
        (True, "matches StateTransition, name='explained'"),
        (False, "state is Completed (COMPLETED), not Failed"),
        (True, "matches StateTransition, state=COMPLETED"),
        (False, "run_type is 'task', not 'flow'"),
    ]


def test_a_transition_can_be_published_on_another_bus(eventflow_isolated: Isolated) -> None:
    """As a bridge does: listeners and global hooks there get it."""
    other, seen = EventBus(), list[str]()
    other.subscribe(lambda event: seen.append("listener"), tags=[], state="Completed")
    other.subscribe(lambda event: seen.append("never"), tags=["x"])
    with use_bus(other):
        hook(state="Completed")(lambda definition, run, state: seen.append("hook"))
    with capture_events() as events:
        work()
    transition = events[-1]
    assert isinstance(transition, StateTransition)
    other.publish(transition)
    asyncio.run(other.apublish(transition))

    assert seen == ["listener", "hook"] * 2


@pytest.mark.parametrize("how", ["publish", "apublish", "follows"])
def test_a_transition_that_is_published_again_is_the_one_it_was(
    eventflow_isolated: Isolated, how: str
) -> None:
    """Its hooks get its state, not the present one, and the outcomes are on that bus."""
    other, seen, ids = EventBus(), list[Any](), set[Any]()

    def note(definition: object, run: object, state: State[Any]) -> None:
        seen.append((state.name, state.data))
        ids.add(runtime.hook.delivery_id)

    @task(on_running=[note])
    def answer() -> int:
        return 42

    with use_bus(other):
        hook(name="answer")(note)
        hook(name="answer")(note)
    with capture_events() as events:
        answer()
    transitions = [event for event in events if isinstance(event, StateTransition)]
    assert (seen, len(ids)) == ([("Running", None)], 1)
    del seen[:]
    outcomes: list[HookSucceeded] = []
    other.subscribe(outcomes.append, event_type=HookSucceeded)
    own = len(events)
    for event in transitions:
        if how == "publish":
            other.publish(event)
        elif how == "apublish":
            asyncio.run(other.apublish(event))
        else:
            other.publish(event, follows=transitions[0])

    expected = [("Pending", None), ("Running", None), ("Completed", 42)]
    assert seen == [each for each in expected for _ in range(2)]
    assert [each.follows for each in outcomes] == [e.id for e in transitions for _ in range(2)]
    assert [each.state_name for each in outcomes] == [name for name, _ in seen]
    assert len(ids) == 7
    assert len(events) == own


def test_a_transition_of_another_process_runs_no_hook(eventflow_isolated: Isolated) -> None:
    """It has no run that a hook could be given; listeners get it."""
    other, seen = EventBus(), list[Any]()
    with use_bus(other):
        hook()(lambda definition, run, state: seen.append(state))
    other.subscribe(seen.append)
    with capture_events() as events:
        work()
    read = parse(events[0].model_dump_json())
    other.publish(read)
    asyncio.run(other.apublish(read))

    assert seen == [read, read]
