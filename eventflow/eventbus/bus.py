"""The bus: publish, subscribe, stream, wait for, explain; and which bus is in force."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, Unpack, cast, overload

from anyio import to_thread

from eventflow.eventbus.filters import Filter, Selection
from eventflow.eventbus.mailbox import EventStream, Mailbox, Overflow, check_policy
from eventflow.eventbus.publication import Publication, failure_of
from eventflow.eventbus.receivers import InlineReceiver, MailboxReceiver, QueuedReceiver
from eventflow.eventbus.routing import NOWHERE, Explanation, Route, Router
from eventflow.eventbus.subscriptions import (
    Listener,
    Phase,
    Receiver,
    Subscription,
    TransitionRecorder,
)
from eventflow.events import Event, ListenerFailed
from eventflow.primitives.callables import is_async
from eventflow.runs.run import Transition

__all__ = [
    "EventBus",
    "EventStream",
    "Explanation",
    "bus",
    "bus_of_runs",
    "compose_with",
    "current_bus",
    "use_bus",
]

E = TypeVar("E", bound=Event)
L = TypeVar("L", bound=Listener)


class EventBus:
    """Publishes events to subscriptions, within this process. Safe from any thread and loop.

    Listeners receive an event in the order of their subscription, a higher `priority` first.
    A sync listener is called inline. An async listener has a queue of its own: it sees events
    in the order they were published, and delays nobody until the queue is full. A listener
    that raises is logged and published as `ListenerFailed`, and stops nobody else. What a
    listener publishes itself is heard by all after the event that it was given.
    """

    def __init__(self) -> None:
        self._router = Router()
        self._serials = itertools.count(1)
        # What the settings ask for is attached before the first run: see `bus_of_runs`.
        self.recorder: TransitionRecorder | None = None
        self.composed = False

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

        An async listener runs on the event loop that is running at the subscription, and ends
        with it; without one it runs on a background loop, until the process ends. Either way it
        has a few seconds to catch up with what was published before.

        Raises:
            TypeError: the listener is not callable, or a keyword is unknown or of a wrong type.
            ValueError: the size, the overflow policy, the run_type or the run_id is wrong.
        """
        chosen = Filter.of(selection)
        check_policy(size, overflow)
        if not isinstance(priority, int | float):
            raise TypeError(f"priority must be a number, but is {priority!r}.")

        def add(listener: Any) -> Subscription:
            if not callable(listener):
                raise TypeError(f"A listener must be callable, but got {listener!r}.")
            if not is_async(listener):
                receiver: Receiver = InlineReceiver(listener)
                return self.attach(listener, receiver, chosen, priority=priority, once=once)
            reader = cast("Callable[[Any], Awaitable[object]]", listener)
            queued = QueuedReceiver(reader, self._alistener_failed, size, overflow)
            subscription = self.attach(listener, queued, chosen, priority=priority, once=once)
            queued.when_over = subscription.cancel
            return subscription

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
        phase: Phase = Phase.LISTENER,
        priority: float = 0,
        once: bool = False,
    ) -> Subscription:
        """Subscribe with a receiver of one's own; hooks come in here."""
        subscription = Subscription(
            listener,
            receiver,
            chosen,
            serial=next(self._serials),
            phase=phase,
            priority=priority,
            once=once,
            on_cancel=self._router.remove,
        )
        self._router.add(subscription)

        return subscription

    # -- publishing -------------------------------------------------------------------------

    def publish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an event from sync code; gives it back, with `follows` filled in.

        Sync listeners have run when this returns; async ones have it in their queue. Where a
        full queue asks its publishers to wait, this blocks, but never a running event loop.

        Raises:
            TypeError: it is no event.
            BaseException: whatever other than an Exception a listener raised, once all others
                have run.
        """
        route = self._router.of_event(event)
        if follows is not None:
            event = _following(event, follows)
        if route is NOWHERE:
            return event
        publication = Publication(event, self._listener_failed, event)
        publication.listeners(route.listeners)
        if route.hooks:
            publication.hooks(route.owed(event))
        publication.end()

        return event

    async def apublish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an event from async code, which waits where a full queue asks for it.

        Raises:
            TypeError: it is no event.
            BaseException: as `publish`.
        """
        route = self._router.of_event(event)
        if follows is not None:
            event = _following(event, follows)
        if route is NOWHERE:
            return event
        publication = Publication(event, self._listener_failed, event)
        left = publication.begin(route.listeners)
        owed = route.owed(event)
        if left or owed:
            await publication.finish(owed)
        else:
            publication.end()

        return event

    def listens_for(self, kind: type[Event]) -> bool:
        """Say whether anyone subscribed to such events: who asks need not build one for nobody."""
        return self._router.of_kind(kind) is not NOWHERE

    def publish_transition(self, fact: Transition) -> None:
        """Publish that a run entered a state, from sync code; builds no event for nobody.

        Raises:
            BaseException: whatever other than an Exception a listener or hook raised, once all
                others have run.
        """
        route = self._router.of_transition(fact)
        recorder = self.recorder
        if recorder is None and route is NOWHERE:
            return
        owed = route.owed(fact)
        if recorder is not None and recorder.record(fact, owed, observed=bool(route.listeners)):
            recorder.wait()
        if route is NOWHERE:
            return
        publication = Publication(fact, self._listener_failed)
        if route.listeners:
            publication.listeners(route.listeners)
        if owed:
            publication.hooks(owed)
        publication.end()

    def begin_transition(self, fact: Transition) -> Awaitable[None] | None:
        """Publish a transition from async code, as far as that goes without awaiting.

        Gives what is left to be awaited, if anything: a caller that gives it a task of its own
        pays for that only where something has to be waited for. Raises as `publish_transition`.
        """
        route = self._router.of_transition(fact)
        recorder = self.recorder
        owed = route.owed(fact)
        if recorder is not None and recorder.record(fact, owed, observed=bool(route.listeners)):
            return self._wait_and_publish(recorder, fact, route, owed)

        return self._begin(fact, route, owed)

    async def _wait_and_publish(
        self,
        recorder: TransitionRecorder,
        fact: Transition,
        route: Route,
        owed: Sequence[Subscription],
    ) -> None:
        await to_thread.run_sync(recorder.wait)
        left = self._begin(fact, route, owed)
        if left is not None:
            await left

    def _begin(
        self, fact: Transition, route: Route, owed: Sequence[Subscription]
    ) -> Awaitable[None] | None:
        if route is NOWHERE:
            return None
        publication = Publication(fact, self._listener_failed)
        left = publication.begin(route.listeners)
        if left or owed:
            return publication.finish(owed)
        publication.end()

        return None

    def _listener_failed(self, listener: object, event: Event, error: BaseException) -> None:
        failure = failure_of(listener, event, error, wanted=self.listens_for(ListenerFailed))
        if failure is not None:
            self.publish(failure)

    async def _alistener_failed(self, listener: object, event: Event, error: BaseException) -> None:
        failure = failure_of(listener, event, error, wanted=self.listens_for(ListenerFailed))
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

        It begins with the block. At most `size` events wait to be read; beyond that the oldest
        are dropped and counted in `events.dropped`, unless `overflow` says otherwise. ("block"
        makes publishers wait: then something else than the reader must publish.)

        Raises:
            TypeError: a keyword is unknown or of a wrong type.
            ValueError: the size, the overflow policy, the run_type or the run_id is wrong.
        """
        chosen = Filter.of(selection)
        check_policy(size, overflow)

        return self._stream(chosen, size, overflow)

    @contextlib.asynccontextmanager
    async def _stream(
        self, chosen: Filter, size: int, overflow: Overflow
    ) -> AsyncIterator[EventStream]:
        mailbox = Mailbox(asyncio.get_running_loop(), size, overflow)
        with self.attach("stream", MailboxReceiver(mailbox), chosen):
            yield EventStream(mailbox)

    def wait_for(
        self, *, timeout: float | None = None, **selection: Unpack[Selection]
    ) -> Coroutine[Any, Any, Any]:
        """Wait for the next event that is selected and give it.

        `timeout` is in seconds; without it, this waits for ever.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            TypeError: a keyword is unknown or of a wrong type.
            ValueError: the run_type or the run_id is wrong.
        """
        return self._wait_for(Filter.of(selection), timeout)

    async def _wait_for(self, chosen: Filter, timeout: float | None) -> Any:
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "drop_newest")
        with self.attach("wait_for", MailboxReceiver(mailbox), chosen, once=True):
            try:
                async with asyncio.timeout(timeout):
                    return await mailbox.get()
            except TimeoutError:
                raise TimeoutError(f"No event came within {timeout:g} s for: {chosen}.") from None

    # -- looking ----------------------------------------------------------------------------

    @property
    def subscriptions(self) -> list[Subscription]:
        """Every subscription, in the order of delivery."""
        return self._router.everyone()

    @property
    def hook_count(self) -> int:
        """How many hooks are subscribed for whatever run matches."""
        return self._router.hooks

    def explain(self, event: Event) -> list[Explanation]:
        """Say of every subscription why it does or does not match the event.

        The hooks that are declared on the run's own flow or task are among them.
        """
        return self._router.explain(event)

    def __repr__(self) -> str:
        return f"<EventBus with {len(self.subscriptions)} subscriptions>"


def _following(event: E, follows: Event) -> E:
    if not isinstance(follows, Event):
        raise TypeError(f"follows must be the event that led to this one, but is {follows!r}.")

    return event.model_copy(update={"follows": follows.id})


_default: Final = EventBus()
_in_force: Final[ContextVar[EventBus | None]] = ContextVar("eventflow_bus", default=None)


def current_bus() -> EventBus:
    """Give the bus in force: the one of the innermost `use_bus` block, else the process's."""
    return _in_force.get() or _default


_composers: Final[list[Callable[[EventBus], None]]] = []


def compose_with(compose: Callable[[EventBus], None]) -> None:
    """Call a function with each bus before the first run that publishes on it.

    It attaches what the settings ask for, and then sets the bus's `composed`.
    """
    _composers.append(compose)


def bus_of_runs() -> EventBus:
    """Return the bus in force, composed before its first run."""
    bus = current_bus()
    if not bus.composed:
        for compose in _composers:
            compose(bus)

    return bus


@contextlib.contextmanager
def use_bus(chosen: EventBus) -> Iterator[EventBus]:
    """Put a bus in force for a block: runs publish there, and `eventflow.bus` speaks for it.

    Raises:
        TypeError: it is no `EventBus`.
    """
    if not isinstance(chosen, EventBus):
        raise TypeError(f"use_bus takes an EventBus, but got {chosen!r}.")
    # `eventflow.bus` itself would stand for itself for ever.
    own = current_bus() if isinstance(chosen, _BusInForce) else chosen
    token = _in_force.set(own)
    try:
        yield own
    finally:
        _in_force.reset(token)


class _BusInForce(EventBus):
    """Stands for whatever bus is in force when it is used."""

    def __init__(self) -> None:
        """Hold nothing: every attribute is that of the bus in force."""

    def __getattribute__(self, name: str) -> Any:
        # Naughty, but a name imported once must not outlive the block it was meant for.
        return getattr(current_bus(), name)


bus: Final[EventBus] = _BusInForce()
"""The bus in force."""
