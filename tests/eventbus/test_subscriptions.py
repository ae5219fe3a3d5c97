"""Subscriptions: their counts and their text."""

from __future__ import annotations

import threading

from eventflow import Event, EventBus
from eventflow.eventbus import subscriptions
from eventflow.eventbus.filters import Filter
from eventflow.eventbus.receivers import InlineReceiver
from eventflow.eventbus.subscriptions import Subscription


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
