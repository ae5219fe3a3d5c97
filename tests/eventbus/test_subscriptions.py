"""Subscriptions: their counts and their text."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, Mock

from eventflow import Event, EventBus, flow, task
from eventflow.eventbus import subscriptions
from eventflow.eventbus.filters import Filter
from eventflow.eventbus.receivers import InlineReceiver
from eventflow.eventbus.subscriptions import Subscription
from eventflow.primitives.callables import is_async, qualified_name


class AsyncCaller:
    async def __call__(self, event: Event) -> None: ...


async def afunction(event: Event) -> None: ...


def test_what_is_async_is_seen_through_wrappers() -> None:
    """Partials, objects, mocks and definitions; what cannot be called is not."""

    @flow
    async def aflow() -> None: ...

    @task
    def plain() -> None: ...

    wanted: list[Any] = [afunction, partial(afunction), AsyncCaller(), AsyncMock(), aflow]
    assert all(map(is_async, wanted))
    assert not any(map(is_async, [print, plain, Mock(), partial(print), 3, None]))


def test_a_subscription_counts_deliveries() -> None:
    """Deliveries from many threads are all counted; the text has listener and filter."""
    own = EventBus()
    subscription = own.subscribe(print, state="Failed")
    assert repr(subscription) == "Subscription(builtins:print, StateTransition, state=Failed)"
    assert (subscription.pending, subscription.dropped) == (0, 0)

    counted = own.subscribe(bool, event_type=Event)
    barrier = threading.Barrier(8)

    def publish() -> None:
        barrier.wait()
        for _ in range(100):
            own.publish(Event())

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [counted.delivered for _ in range(3)] == [800] * 3


def test_a_subscription_can_be_called() -> None:
    """It delivers the event to the listener."""
    own, seen = EventBus(), list[Event]()
    event = Event()
    own.subscribe(seen.append)(event)

    assert seen == [event]


def test_a_subscription_without_a_bus_can_end() -> None:
    """Those that a definition declares are on no bus."""
    subscription = Subscription(print, InlineReceiver(print), Filter.of({}), serial=0)
    subscription.cancel()

    assert not subscription.accepts(Event())


def test_names_of_callables() -> None:
    """Module and qualified name, or those of the type."""
    assert qualified_name(partial(partial(afunction))) == f"{__name__}:afunction"
    assert qualified_name(AsyncCaller()) == f"{__name__}:AsyncCaller"
    assert qualified_name(len) == "builtins:len"


def test_a_signal_handler_may_cancel_whatever_it_interrupts() -> None:
    """It comes in the midst of a count or a cancellation in its own thread, and does not wait."""
    own = EventBus()
    subscription = own.subscribe(lambda event: None, once=True)
    ended = threading.Event()

    def interrupted() -> None:
        with subscriptions._lock:
            own.publish(Event())
            subscription.cancel()
            assert subscription.delivered == 1
        ended.set()

    threading.Thread(target=interrupted, daemon=True).start()
    assert ended.wait(60)
