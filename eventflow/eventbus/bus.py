"""The bus: publish, subscribe, stream, wait for, explain; and the bus in force."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeVar, Unpack, overload

from anyio import to_thread

from eventflow.eventbus.deadlines import set_deadlines, set_for_present_runs
from eventflow.eventbus.filters import Filter
from eventflow.eventbus.mailbox import Overflow, check_policy
from eventflow.eventbus.publication import Publication, following, log_failure, transition_of
from eventflow.eventbus.receivers import receiver_for
from eventflow.eventbus.routing import NO_ROUTE, Explanation, Route, Router
from eventflow.eventbus.selections import Selection
from eventflow.eventbus.subscriptions import Listener, Receiver, Subscription, TransitionRecorder
from eventflow.eventbus.waiting import EventStream, stream, wait_for
from eventflow.eventbus.watchers import composers
from eventflow.events import Event, ListenerFailed, is_users
from eventflow.runs.run import Transition

__all__ = ["EventBus", "bus", "bus_of_runs", "current_bus", "use_bus"]

E = TypeVar("E", bound=Event)
L = TypeVar("L", bound=Listener)


class EventBus:
    """Publishes events to subscriptions, within this process. Safe from any thread and loop.

    Listeners receive an event in the order of their subscription, a higher `priority` first.
    A sync listener is called inline. An async listener has a queue of its own: it sees events
    in the order they were published, and delays no publisher until the queue is full. The failure
    of a listener is logged and published as `ListenerFailed`, and stops no other listener. What a
    listener publishes itself is delivered to all after the event that it was given.
    """

    def __init__(self) -> None:
        self._router = Router()
        self._serials = itertools.count(1)
        self.recorder: TransitionRecorder | None = None  # set before the first run: `bus_of_runs`
        self.composed = False
        self.tracer: Subscription | None = None  # set by `tracing`

    # -- subscribing ------------------------------------------------------------------------

    @overload
    def subscribe(
        self,
        listener: Listener,
        *,
        priority: float = ...,
        once: bool = ...,
        size: int = ...,
        overflow: Overflow = ...,
        **selection: Unpack[Selection],
    ) -> Subscription: ...

    @overload
    def subscribe(
        self,
        listener: None = None,
        *,
        priority: float = ...,
        once: bool = ...,
        size: int = ...,
        overflow: Overflow = ...,
        **selection: Unpack[Selection],
    ) -> Callable[[L], L]: ...

    def subscribe(
        self,
        listener: Listener | None = None,
        *,
        priority: float = 0,
        once: bool = False,
        size: int = 1_000,
        overflow: Overflow = "block",
        **selection: Unpack[Selection],
    ) -> Subscription | Callable[[L], L]:
        """Have a listener called with every event that is selected; also a decorator.

        With run keywords (run_type, state, …) transitions are selected, without any every
        event is. The bus holds the listener strongly, until the subscription is cancelled.
        `size` and `overflow` are for async listeners: how many events may wait, and what
        happens then; `subscription.dropped` counts what was dropped.

        An async listener runs on the event loop that is running at the subscription. Once that
        is closed, it runs on the one from which the next event is published. Without any it runs
        on a background loop. The end of a loop, and of the process, gives it a few seconds to
        finish what was published before.

        Raises:
            TypeError: the listener cannot take one event, or a keyword is unknown or wrong.
            ValueError: the size, the overflow policy, the run_type or the run_id is wrong.
        """
        chosen = Filter.of(selection)
        check_policy(size, overflow)
        if not isinstance(priority, int | float):
            raise TypeError(f"priority must be a number, but is {priority!r}.")

        def add(listener: object) -> Subscription:
            receiver = receiver_for(listener, self._alistener_failed, size, overflow)
            return self.attach(listener, receiver, chosen, priority=priority, once=once)

        def decorate(listener: L) -> L:
            add(listener)
            return listener

        return decorate if listener is None else add(listener)

    def attach(
        self,
        listener: object,
        receiver: Receiver,
        chosen: Filter,
        *,
        hook: Any = None,
        priority: float = 0,
        once: bool = False,
    ) -> Subscription:
        """Subscribe with a given receiver; `hook` is the `Hook` that it runs, if any."""
        subscription = Subscription(
            listener,
            receiver,
            chosen,
            serial=next(self._serials),
            hook=hook,
            priority=priority,
            once=once,
            on_cancel=self._router.remove,
        )
        self._router.add(subscription)
        if chosen.lasting is not None:
            set_for_present_runs(subscription, bus=self)

        return subscription

    # -- publishing -------------------------------------------------------------------------

    def publish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an event from sync code; return it, with `follows` filled in.

        Sync listeners have run when this returns; async ones have it in their queue. Where the
        overflow policy of a full queue is "block", this blocks, but never a running event loop.

        Raises:
            TypeError: it is no event.
            BaseException: whatever other than an Exception a listener raised, once all others
                have run.
        """
        route = self._router.of_event(event)
        if follows is not None:
            event = following(event, follows)
        if (recorder := self.recorder) is not None and is_users(event):
            recorder.record_event(event)
        if route is NO_ROUTE:
            return event
        subject = self._again(event) if route.hooks else event
        publication = Publication(subject, self.listener_failed, event)
        publication.call_listeners(route.listeners)
        if route.hooks:
            publication.run_hooks(route.hooks_for(subject))
        publication.raise_deferred()

        return event

    async def apublish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an event from async code; waits where the policy of a full queue is "block".

        Raises:
            TypeError: it is no event.
            BaseException: as `publish`.
        """
        route = self._router.of_event(event)
        if follows is not None:
            event = following(event, follows)
        if (recorder := self.recorder) is not None and is_users(event):
            recorder.record_event(event)
        if route is NO_ROUTE:
            return event
        subject = self._again(event) if route.hooks else event
        publication = Publication(subject, self.listener_failed, event)
        incomplete = publication.start(route.listeners)
        hooks = route.hooks_for(subject)
        if incomplete or hooks:
            await publication.complete(hooks)
        else:
            publication.raise_deferred()

        return event

    def _again(self, event: Event) -> Event | Transition:
        """Return what hooks are given: the transition that is published again."""
        if (fact := transition_of(event)) is not None:
            fact.bus = self

        return event if fact is None else fact

    def listens_for(self, kind: type[Event]) -> bool:
        """Return whether events of a class have subscribers, so that none is built in vain."""
        return self._router.of_kind(kind) is not NO_ROUTE

    def publish_transition(self, fact: Transition) -> None:
        """Publish a transition from sync code; its event is built for the first listener.

        Raises:
            BaseException: whatever other than an Exception a listener or hook raised, once all
                others have run.
        """
        route = self._router.of_transition(fact)
        recorder = self.recorder
        if recorder is None and route is NO_ROUTE:
            return
        owed = route.hooks if route.certain else route.hooks_for(fact)
        if owed:
            fact.bus = self
        if recorder is not None and recorder.record(fact, owed, observed=bool(route.listeners)):
            recorder.wait()
        if route.timed is not None:
            set_deadlines(fact, route.timed)
        if route.listeners or owed:
            self._deliver(fact, route, owed)

    def _deliver(self, fact: Transition, route: Route, owed: tuple[Subscription, ...]) -> None:
        publication = Publication(fact, self.listener_failed)
        if route.listeners:
            publication.call_listeners(route.listeners)
        if owed:
            publication.run_hooks(owed)
        publication.raise_deferred()

    def begin_transition(self, fact: Transition) -> Awaitable[None] | None:
        """Publish a transition from async code, as far as that goes without awaiting.

        Returns what has to be awaited to complete it, if anything: a caller need not make a task
        where there is nothing to wait for. Raises as `publish_transition`.
        """
        route = self._router.of_transition(fact)
        recorder = self.recorder
        owed = route.hooks if route.certain else route.hooks_for(fact)
        if owed:
            fact.bus = self
        if recorder is not None and recorder.record(fact, owed, observed=bool(route.listeners)):
            return self._wait_and_publish(recorder, fact, route, owed)

        return self._begin(fact, route, owed)

    async def _wait_and_publish(
        self,
        recorder: TransitionRecorder,
        fact: Transition,
        route: Route,
        owed: tuple[Subscription, ...],
    ) -> None:
        await to_thread.run_sync(recorder.wait)
        if (completion := self._begin(fact, route, owed)) is not None:
            await completion

    def _begin(
        self, fact: Transition, route: Route, owed: tuple[Subscription, ...]
    ) -> Awaitable[None] | None:
        if route.timed is not None:
            set_deadlines(fact, route.timed)
        if not route.listeners and not owed:
            return None
        publication = Publication(fact, self.listener_failed)
        if (route.listeners and publication.start(route.listeners)) or owed:
            return publication.complete(owed)
        publication.raise_deferred()

        return None

    def listener_failed(self, listener: object, event: Event, error: BaseException) -> None:
        """Log and publish what a listener raised."""
        failure = log_failure(listener, event, error, wanted=self.listens_for(ListenerFailed))
        if failure is not None:
            self.publish(failure)

    async def _alistener_failed(self, listener: object, event: Event, error: BaseException) -> None:
        failure = log_failure(listener, event, error, wanted=self.listens_for(ListenerFailed))
        if failure is not None:
            await self.apublish(failure)

    # -- waiting ----------------------------------------------------------------------------

    def stream(
        self,
        *,
        size: int = 10_000,
        overflow: Overflow = "drop_oldest",
        **selection: Unpack[Selection],
    ) -> AbstractAsyncContextManager[EventStream]:
        """Read the selected events, in the order they were published, with `async for`.

        It starts with the block. At most `size` events wait to be read; beyond that the oldest
        are dropped and counted in `events.dropped`, unless `overflow` says otherwise. ("block"
        makes publishers wait: then the reader itself must not be the only publisher.)

        Raises:
            TypeError: a keyword is unknown or of a wrong type.
            ValueError: the size, the overflow policy, the run_type or the run_id is wrong.
        """
        chosen = Filter.of(selection)
        check_policy(size, overflow)

        return stream(self.attach, chosen, size, overflow)

    def wait_for(
        self, *, timeout: float | None = None, **selection: Unpack[Selection]
    ) -> Coroutine[Any, Any, Any]:
        """Wait for the next event that is selected; return it when awaited.

        It is the first one after this call, whenever the result is awaited. The `timeout`, in
        seconds, begins when it is.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            RuntimeError: its subscription was cancelled.
            TypeError: a keyword is unknown or of a wrong type.
            ValueError: the run_type, the run_id or the timeout is wrong.
        """
        return wait_for(partial(self.attach, once=True), Filter.of(selection), timeout)

    # -- inspecting -------------------------------------------------------------------------

    @property
    def subscriptions(self) -> list[Subscription]:
        """Every subscription, in the order of delivery."""
        return self._router.subscriptions()

    @property
    def hook_count(self) -> int:
        """How many hooks are subscribed on the bus itself, and not declared on a definition."""
        return self._router.hook_count

    def explain(self, event: Event) -> list[Explanation]:
        """Return why each subscription, and each hook of the run itself, matches or does not."""
        return self._router.explain(event)

    def __repr__(self) -> str:
        return f"<EventBus with {len(self.subscriptions)} subscriptions>"


_default: Final = EventBus()
_in_force: Final[ContextVar[EventBus]] = ContextVar("eventflow_bus", default=_default)


def current_bus() -> EventBus:
    """Return the bus in force: that of the innermost `use_bus` block, else the process's."""
    return _in_force.get()


def bus_of_runs() -> EventBus:
    """Return the bus in force, composed before its first run."""
    bus = _in_force.get()
    if not bus.composed:
        for compose in composers:
            compose(bus)

    return bus


@contextlib.contextmanager
def use_bus(chosen: EventBus) -> Iterator[EventBus]:
    """Put a bus in force for a block: runs publish there, and `eventflow.bus` stands for it.

    Raises:
        TypeError: it is no `EventBus`.
    """
    if not isinstance(chosen, EventBus):
        raise TypeError(f"use_bus takes an EventBus, but got {chosen!r}.")
    # `eventflow.bus` put in force itself would look itself up for ever.
    own = current_bus() if isinstance(chosen, _BusInForce) else chosen
    token = _in_force.set(own)
    try:
        yield own
    finally:
        _in_force.reset(token)


class _BusInForce(EventBus):
    """Stands for whatever bus is in force when it is used."""

    def __init__(self) -> None:
        """Set no attributes: every one is read from the bus in force."""

    def __getattribute__(self, name: str) -> Any:
        # Naughty, but a name imported once must not outlive the block it was meant for.
        return getattr(current_bus(), name)


bus: Final[EventBus] = _BusInForce()
"""The bus in force."""
