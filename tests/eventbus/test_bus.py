"""The bus: who gets which event, in which order, from which thread, and what goes wrong."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import defaultdict
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from eventflow import Event, EventBus, bus, flow, hook, task, use_bus
from eventflow.eventbus.bus import current_bus
from eventflow.events import StateTransition
from eventflow.runs.run import TaskRun
from eventflow.states import Completed, Pending, Running
from eventflow.testing import Isolated, capture_events


class Fact(Event):
    number: int = 0


class Special(Fact):
    source: str = ""


@task
def work(fail: bool = False) -> None:
    if fail:
        raise ValueError("no")


# -- publishing ------------------------------------------------------------------------------


def test_events_know_what_they_follow() -> None:
    """`follows` is filled in on what is published and given back; the original stays."""
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


def test_no_event_is_built_for_nobody(
    eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a subscriber, or with one for others, a run makes no event."""
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


def test_apublish_tells_all(caplog: pytest.LogCaptureFixture) -> None:
    """From async code too: sync and async listeners, and failures."""
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


# -- subscriptions ---------------------------------------------------------------------------


def test_a_listener_is_held_strongly() -> None:
    """A closure that nobody else knows goes on listening."""
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
    one = own.subscribe(lambda event: seen.append("one"))

    @own.subscribe(event_type=Fact)
    def two(event: Event) -> None:
        seen.append("two")

    with own.subscribe(lambda event: seen.append("three")) as three:
        own.publish(Fact())
        assert len(own.subscriptions) == 3
    one.cancel()
    one.cancel()
    own.publish(Fact())
    two(Fact())

    assert seen == ["one", "two", "three", "two", "two"]
    assert (one.active, one.delivered, three.active) == (False, 1, False)
    assert repr(own) == "<EventBus with 1 subscriptions>"


def test_who_is_cancelled_by_an_earlier_listener_gets_nothing() -> None:
    """A cancel counts from that moment; who is new hears from the next event on."""
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
    ("arguments", "error", "said"),
    [
        ({"listener": 3}, TypeError, "A listener must be callable, but got 3"),
        ({"listener": print, "size": 0}, ValueError, "size must be 1 or more"),
        ({"listener": print, "overflow": "no"}, ValueError, "overflow must be one of block"),
        ({"listener": print, "priority": "high"}, TypeError, "priority must be a number"),
        ({"listener": print, "what": 3}, TypeError, "there is no what"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(
    arguments: Any, error: type[Exception], said: str
) -> None:
    """Each with a clear message; nothing is subscribed."""
    own = EventBus()
    with pytest.raises(error, match=said):
        own.subscribe(**arguments)

    assert own.subscriptions == []


def test_a_decorator_refuses_what_cannot_be_called() -> None:
    """The check comes where the listener does."""
    with pytest.raises(TypeError, match="A listener must be callable, but got None"):
        EventBus().subscribe()(None)  # type: ignore[type-var]


# -- buses -----------------------------------------------------------------------------------


def test_a_bus_is_in_force_for_a_block() -> None:
    """Blocks nest; `eventflow.bus` speaks for the one in force, wherever it was imported."""
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


def test_why_each_subscription_matches_or_not(eventflow_isolated: Isolated) -> None:
    """Declared hooks, global hooks and listeners are explained, in the order of delivery."""

    @task(on_completion=[print])
    def explained() -> None: ...

    bus.subscribe(print, name="explained", priority=1)
    bus.subscribe(print, state="Failed")
    hook(run_type="flow")(print)
    with capture_events() as events:
        explained()
    answers = [(one.matched, one.reason) for one in bus.explain(events[-1])]

    assert answers == [
        (False, "event_type is HookSucceeded, not StateTransition"),
        (False, "event_type is HookSucceeded, not StateTransition"),
        (False, "event_type is HookSucceeded, not StateTransition"),
    ]
    answers = [(one.matched, one.reason) for one in bus.explain(events[2])]
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


# -- many at once ----------------------------------------------------------------------------


def in_threads(count: int, do: Any) -> None:
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def begin(number: int) -> None:
        barrier.wait()
        try:
            do(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@task
def it() -> None: ...


def live_a_run(own: EventBus) -> list[Any]:
    run = TaskRun(it, "it", dict, frozenset({"a"}), None)
    facts = []
    for state in (Pending(), Running(), Completed()):
        fact = run.enter(state)
        own.publish_transition(fact)
        facts.append((run.id, fact.sequence))

    return facts


async def alive_a_run(own: EventBus) -> None:
    run = TaskRun(it, "it", dict, frozenset({"a"}), None)
    for state in (Pending(), Running(), Completed()):
        left = own.begin_transition(run.enter(state))
        if left is not None:
            await left
        await asyncio.sleep(0)


class Heard:
    """Three listeners, each of another kind, and what each of them got."""

    def __init__(self, own: EventBus, expected: int) -> None:
        self.expected = expected
        self.complete = threading.Event()
        self.inline: list[StateTransition] = []
        self.filtered: list[StateTransition] = []
        self.queued: list[StateTransition] = []
        own.subscribe(self.inline.append)
        own.subscribe(self.filtered.append, tags={"a"}, name="it")
        own.subscribe(self.listen, size=100)

    async def listen(self, event: StateTransition) -> None:
        self.queued.append(event)
        if len(self.queued) == self.expected:
            self.complete.set()

    def check(self) -> None:
        for seen in (self.inline, self.filtered, self.queued):
            assert len(seen) == self.expected
            runs = defaultdict[Any, list[int]](list)
            for event in seen:
                runs[event.run_id].append(event.sequence)
            assert all(sequence == [0, 1, 2] for sequence in runs.values())


async def alive_many_runs(own: EventBus, count: int) -> None:
    begin = asyncio.Event()

    async def one() -> None:
        await begin.wait()
        await alive_a_run(own)

    every = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(0)
    begin.set()
    await asyncio.gather(*every)


def test_nothing_is_lost_while_subscriptions_come_and_go() -> None:
    """100 threads and 1,000 tasks publish at once: all arrive once, each run in its order."""
    own = EventBus()
    heard = Heard(own, (100 * 3 + 1_000) * 3)
    stop = threading.Event()

    def come_and_go() -> None:
        selections: list[Any] = [{}, {"state": "Running"}, {"run_id": uuid4()}, {"tags": {"a"}}]
        while not stop.is_set():
            for selection in selections:
                own.subscribe(bool, **selection).cancel()

    def publish(number: int) -> None:
        if number == 0:
            asyncio.run(alive_many_runs(own, 1_000))
        else:
            for _ in range(3):
                live_a_run(own)

    restless = threading.Thread(target=come_and_go)
    restless.start()
    in_threads(101, publish)
    stop.set()
    restless.join()
    assert heard.complete.wait(30)

    heard.check()
    assert len(own.subscriptions) == 3


def test_an_async_listener_that_hangs_does_not_stall_the_loop(eventflow_isolated: Isolated) -> None:
    """While it waits, runs go on and the loop turns: never a stall of 50 ms because of it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        forever, hanging = asyncio.Event(), asyncio.Event()
        stalls: list[float] = []

        async def listen(event: Event) -> None:
            hanging.set()
            await forever.wait()

        @task
        async def step() -> None: ...

        @flow
        async def busy() -> None:
            for _ in range(20):
                await step()

        async def watch() -> None:
            while True:
                before = loop.time()
                await asyncio.sleep(0)
                stalls.append(loop.time() - before)

        bus.subscribe(listen)
        watching = asyncio.create_task(watch())
        await busy()
        await hanging.wait()
        watching.cancel()
        forever.set()
        assert max(stalls) < 0.05

    asyncio.run(main())


def test_a_subscription_to_a_single_run_leaves_the_routes() -> None:
    """They come and go with the runs; nothing compiled is thrown away for them."""
    own = EventBus()
    own.subscribe(print, name="other")
    live_a_run(own)
    compiled: list[object] = []
    router = own._router
    router._compile = partial(_record, compiled, router._compile)  # type: ignore[method-assign]
    with own.subscribe(print, run_id=uuid4()), own.subscribe(print, tags={"x"}):
        live_a_run(own)
    assert compiled == []
    with own.subscribe(print, state="Shipped"):
        live_a_run(own)

    assert len(compiled) == 3


def _record(into: list[object], real: Any, *arguments: Any) -> Any:
    into.append(arguments)

    return real(*arguments)


# -- the account of a bus ----------------------------------------------------------------------


class Ledger:
    """An account that notes down what it is told, and may ask to be waited for."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.did: list[Any] = []

    def record(self, fact: Any, owed: Any, *, observed: bool) -> bool:
        """Note a transition, for whom it is, and whether somebody hears of it."""
        self.did.append((fact.to_state.name, [one.listener.__name__ for one in owed], observed))
        return self.waits

    def wait(self) -> None:
        """Note the waiting."""
        self.did.append("wait")
        self.waited_in = threading.current_thread()

    waited_in: threading.Thread | None = None


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_account_comes_before_everyone(
    way: str, waits: bool, eventflow_isolated: Isolated
) -> None:
    """It hears of each transition, with the hooks that are owed it, before listeners and hooks."""
    own = eventflow_isolated.bus
    own.recorder = ledger = Ledger(waits=waits)
    own.composed = True
    bus.subscribe(lambda event: ledger.did.append("listener"), state="Completed")

    def first(*_: Any) -> None:
        ledger.did.append("first")

    async def second(*_: Any) -> None:
        ledger.did.append("second")

    hook(state="Completed")(first)
    hook(state="Completed")(second)

    @task
    async def awork() -> None: ...

    if way == "sync":
        work()
    else:
        asyncio.run(awork())
    wait = ["wait"] if waits else []
    assert ledger.did == [
        *(("Pending", [], False), *wait, ("Running", [], False), *wait),
        *(("Completed", ["first", "second"], True), *wait, "listener", "first", "second"),
    ]
    if waits:
        # A loop must not be blocked.
        here = threading.current_thread()
        assert (ledger.waited_in is here) == (way == "sync")
    own.recorder = None


def test_an_account_hears_of_no_other_events(eventflow_isolated: Isolated) -> None:
    """What a user publishes, and a transition that is published again, is not recorded."""
    seen: list[Event] = []
    bus.subscribe(seen.append, state="Completed")
    work()
    own = eventflow_isolated.bus
    kept, own.recorder = own.recorder, Ledger(waits=True)
    bus.publish(Fact())
    bus.publish(seen[0])
    assert own.recorder.did == []
    own.recorder = kept
