"""The bus: publish, subscribe, stream, wait for, explain; and which bus is in force."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

import blinker

from eventflow.events import (
    Event,
    FlowRunTransition,
    ListenerFailed,
    StateTransition,
    TaskRunTransition,
    transition_event,
)
from eventflow.filters import Filter, Selection, class_topics, transition_topics
from eventflow.logs import get_logger
from eventflow.mailbox import Mailbox, Overflow, check_policy
from eventflow.runs import Transition
from eventflow.states import ErrorInfo
from eventflow.subscriptions import (
    Inline,
    Listener,
    Phase,
    Queued,
    Receiver,
    Subscription,
    is_async,
    qualified_name,
)

__all__ = ["EventBus", "EventStream", "Explanation", "bus", "current_bus", "use_bus"]

E = TypeVar("E", bound=Event)
L = TypeVar("L", bound=Listener)

Route = tuple[Subscription, ...]

_logger: Final = get_logger("bus")


class Explanation(NamedTuple):
    """Why one subscription did or did not match an event."""

    subscription: Subscription
    matched: bool
    reason: str


class EventStream:
    """The events of one `stream`, for `async for`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def dropped(self) -> int:
        """How many events were dropped because they were not read in time."""
        return self._mailbox.dropped

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        event = await self._mailbox.get()
        if event is None:
            raise StopAsyncIteration

        return event


class _ToMailbox:
    """Receives for a stream."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    @property
    def dropped(self) -> int:
        return self._mailbox.dropped

    def receive(self, event: Event) -> None:
        if self._mailbox.put(event):
            self._mailbox.wait_for_room()

    def areceive(self, event: Event) -> Awaitable[None] | None:
        return self._mailbox.await_room() if self._mailbox.put(event) else None

    def close(self) -> None:
        self._mailbox.end()


class EventBus:
    """Publishes events to subscriptions, within this process. Safe from any thread and loop.

    Listeners receive an event in the order of their subscription, a higher `priority` first.
    A sync listener is called inline. An async listener has a queue of its own: it sees events
    in the order they were published, and delays nobody until the queue is full. A listener
    that raises is logged and published as `ListenerFailed`, and stops nobody else.
    """

    def __init__(self) -> None:
        self._topics = blinker.Namespace()
        self._lock = threading.RLock()
        self._serial = 0
        self._runs_watched = 0
        self._forget_routes()

    def _forget_routes(self) -> None:
        self._routes: WeakKeyDictionary[Any, tuple[Route, dict[Any, Route]]] = WeakKeyDictionary()
        self._kinds: dict[type[Event], Route] = {}

    # -- subscribing ------------------------------------------------------------------------

    @overload
    def subscribe(
        self,
        listener: Listener,
        *,
        priority: int = ...,
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
        priority: int = ...,
        once: bool = ...,
        size: int = ...,
        overflow: Overflow = ...,
        **selection: Unpack[Selection],
    ) -> Callable[[L], L]: ...

    def subscribe(
        self,
        listener: Listener | None = None,
        *,
        priority: int = 0,
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

        Raises:
            TypeError: the listener is not callable, or a keyword has a wrong value.
            ValueError: the size, the overflow policy, the run_type or the run_id is wrong.
        """
        chosen = Filter.of(selection)
        check_policy(size, overflow)

        def add(listener: L) -> Subscription:
            if not callable(listener):
                raise TypeError(f"A listener must be callable, but got {listener!r}.")
            receiver = self._receiver(listener, size, overflow)
            return self.attach(listener, receiver, chosen, priority=priority, once=once)

        if listener is not None:
            return add(listener)

        def decorate(listener: L) -> L:
            add(listener)
            return listener

        return decorate

    def _receiver(self, listener: Any, size: int, overflow: Overflow) -> Receiver:
        if not is_async(listener):
            return Inline(listener)

        def failed(event: Event, error: Exception) -> None:
            self._listener_failed(listener, event, error)

        return Queued(listener, failed, size, overflow)

    def attach(
        self,
        listener: object,
        receiver: Receiver,
        chosen: Filter,
        *,
        phase: Phase = Phase.LISTENER,
        priority: int = 0,
        once: bool = False,
    ) -> Subscription:
        """Subscribe with a receiver of one's own; journals and hooks come in here."""
        with self._lock:
            self._serial += 1
            subscription = Subscription(
                listener,
                receiver,
                chosen,
                serial=self._serial,
                phase=phase,
                priority=priority,
                once=once,
                on_cancel=self._detach,
            )
            for topic in chosen.topics:
                self._topics.signal(topic).connect(subscription, weak=False)
            self._changed(chosen, +1)

        return subscription

    def _detach(self, subscription: Subscription) -> None:
        with self._lock:
            for topic in subscription.filter.topics:
                signal = self._topics.get(topic)
                if signal is not None:
                    signal.disconnect(subscription)
                    # A topic that nobody subscribes to would stay for ever, one for each run id.
                    if not signal.receivers:
                        del self._topics[topic]
            self._changed(subscription.filter, -1)

    def _changed(self, chosen: Filter, by: int) -> None:
        # Subscriptions to single runs come and go all the time; they are looked up by the run.
        if chosen.topics[0].startswith("run:"):
            self._runs_watched += by
        else:
            self._forget_routes()

    # -- routing ----------------------------------------------------------------------------

    def _at(self, topics: Iterable[str]) -> Iterator[Subscription]:
        for topic in topics:
            signal = self._topics.get(topic)
            if signal is not None:
                yield from signal.receivers_for(blinker.ANY)  # type: ignore[misc] - ours are never weak

    def _route(self, fact: Transition) -> Route:
        """Give who receives such a transition, in order; late conditions are still to be asked."""
        origin = getattr(fact.run.definition, "origin", fact.run.definition)
        declared: Route = getattr(origin, "declared", ())
        known = self._routes.get(origin)
        if known is None or known[0] is not declared:
            known = self._routes[origin] = (declared, {})
        state = fact.to_state
        key = (state.name, state.type)
        route = known[1].get(key)
        if route is None:
            with self._lock:
                route = self._compile(fact, declared)
                if self._routes.get(origin) is known:
                    known[1][key] = route
        if self._runs_watched:
            watching = self._at([f"run:{fact.run.id}"])
            kind = _kind(fact)
            route = self._in_order(*route, *(one for one in watching if one.filter.admits_kind(kind, fact)))

        return route

    def _compile(self, fact: Transition, declared: Route) -> Route:
        kind = _kind(fact)
        topics = transition_topics(kind, fact.definition_name, fact.to_state)
        found = [one for one in self._at(topics) if one.filter.admits_kind(kind, fact)]
        own = [one for one in declared if one.filter.admits_kind(kind, fact)]

        return self._in_order(*own, *found)

    @staticmethod
    def _in_order(*subscriptions: Subscription) -> Route:
        # Stable: a definition's own hooks stay before those declared for many.
        return tuple(sorted(dict.fromkeys(subscriptions), key=lambda one: one.order))

    def _route_of(self, event: Event) -> Route:
        kind = type(event)
        if isinstance(event, StateTransition):
            topics = transition_topics(kind, event.definition_name, event.to_state)
            return self._in_order(*self._at(topics), *self._at([f"run:{event.run_id}"]))

        return self._listeners_for(kind)

    def _listeners_for(self, kind: type[Event]) -> Route:
        route = self._kinds.get(kind)
        if route is None:
            with self._lock:
                route = self._kinds[kind] = self._in_order(*self._at(class_topics(kind)))

        return route

    # -- publishing -------------------------------------------------------------------------

    def publish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an event from sync code; gives it back, with `follows` filled in.

        Sync listeners have run when this returns; async ones have it in their queue.
        """
        event = _following(event, follows)
        stop: list[BaseException] = []
        for subscription in self._route_of(event):
            if subscription.filter.admits(event) and subscription.takes(event):
                self._hand(subscription, event, stop)
        if stop:
            raise stop[0]

        return event

    async def apublish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an event from async code, which waits where a full queue asks for it."""
        event = _following(event, follows)
        stop: list[BaseException] = []
        for subscription in self._route_of(event):
            if subscription.filter.admits(event) and subscription.takes(event):
                left = self._ahand(subscription, event, stop)
                if left is not None:
                    await self._finish(subscription, event, left, stop)
        if stop:
            raise stop[0]

        return event

    def listens_for(self, kind: type[Event]) -> bool:
        """Say whether anyone subscribed to such events: who asks need not build one for nobody."""
        return bool(self._listeners_for(kind))

    def publish_transition(self, fact: Transition) -> None:
        """Publish that a run entered a state, from sync code; builds no event for nobody.

        Raises:
            BaseException: whatever other than an Exception a listener or hook raised, once all
                others have run.
        """
        event: StateTransition | None = None
        stop: list[BaseException] = []
        for subscription in self._route(fact):
            if subscription.takes(fact):
                event = event or transition_event(fact)
                self._hand(subscription, event, stop)
        if stop:
            raise stop[0]

    def begin_transition(self, fact: Transition) -> Awaitable[None] | None:
        """Publish a transition from async code, as far as that goes without awaiting.

        Gives what is left to be awaited, if anything: a caller that gives it a task of its own
        pays for that only where something has to be waited for. Raises as `publish_transition`.
        """
        route = self._route(fact)
        if not route:
            return None
        event: StateTransition | None = None
        stop: list[BaseException] = []
        for place, subscription in enumerate(route):
            if subscription.takes(fact):
                event = event or transition_event(fact)
                left = self._ahand(subscription, event, stop)
                if left is not None:
                    return self._finish_route(route[place:], fact, event, left, stop)
        if stop:
            raise stop[0]

        return None

    async def _finish_route(
        self,
        route: Route,
        fact: Transition,
        event: StateTransition,
        left: Awaitable[None],
        stop: list[BaseException],
    ) -> None:
        await self._finish(route[0], event, left, stop)
        for subscription in route[1:]:
            if subscription.takes(fact):
                more = self._ahand(subscription, event, stop)
                if more is not None:
                    await self._finish(subscription, event, more, stop)
        if stop:
            raise stop[0]

    def _hand(self, subscription: Subscription, event: Event, stop: list[BaseException]) -> None:
        try:
            subscription.receiver.receive(event)
        except Exception as error:  # noqa: BLE001 - a listener may do anything
            self._listener_failed(subscription.listener, event, error)
        except BaseException as error:  # noqa: BLE001 - raised again when all have run
            stop.append(error)
        subscription.after()

    def _ahand(
        self, subscription: Subscription, event: Event, stop: list[BaseException]
    ) -> Awaitable[None] | None:
        left: Awaitable[None] | None = None
        try:
            left = subscription.receiver.areceive(event)
        except Exception as error:  # noqa: BLE001 - a listener may do anything
            self._listener_failed(subscription.listener, event, error)
        except BaseException as error:  # noqa: BLE001 - raised again when all have run
            stop.append(error)
        if left is None:
            subscription.after()

        return left

    async def _finish(
        self,
        subscription: Subscription,
        event: Event,
        left: Awaitable[None],
        stop: list[BaseException],
    ) -> None:
        try:
            await left
        except Exception as error:  # noqa: BLE001 - a listener may do anything
            self._listener_failed(subscription.listener, event, error)
        except BaseException as error:  # noqa: BLE001 - raised again when all have run
            stop.append(error)
        subscription.after()

    def _listener_failed(self, listener: object, event: Event, error: Exception) -> None:
        name = qualified_name(listener)
        _logger.error("listener failed", listener=name, event_type=event.type, exc_info=error)
        # A listener of failures that fails itself would go on for ever.
        if not isinstance(event, ListenerFailed):
            self.publish(
                ListenerFailed(
                    listener=name,
                    event_type=event.type,
                    error=ErrorInfo.of(error),
                    follows=event.id,
                )
            )

    # -- waiting ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def stream(
        self,
        *,
        size: int = 10_000,
        overflow: Overflow = "drop_oldest",
        **selection: Unpack[Selection],
    ) -> AsyncIterator[EventStream]:
        """Read the selected events, in the order they were published, with `async for`.

        It begins with the block. At most `size` events wait to be read; beyond that the oldest
        are dropped and counted in `events.dropped`, unless `overflow` says otherwise. ("block"
        makes publishers wait: then something else than the reader must publish.)
        """
        chosen = Filter.of(selection)
        check_policy(size, overflow)
        mailbox = Mailbox(asyncio.get_running_loop(), size, overflow)
        with self.attach("stream", _ToMailbox(mailbox), chosen):
            yield EventStream(mailbox)

    async def wait_for(
        self, *, timeout: float | None = None, **selection: Unpack[Selection]
    ) -> Any:
        """Wait for the next event that is selected and give it.

        Raises:
            TimeoutError: none came within `timeout` seconds.
        """
        chosen = Filter.of(selection)
        mailbox = Mailbox(asyncio.get_running_loop(), 1, "drop_newest")
        with self.attach("wait_for", _ToMailbox(mailbox), chosen, once=True):
            try:
                async with asyncio.timeout(timeout):
                    return await mailbox.get()
            except TimeoutError:
                raise TimeoutError(f"No event came within {timeout} s for: {chosen}.") from None

    # -- looking ----------------------------------------------------------------------------

    @property
    def subscriptions(self) -> list[Subscription]:
        """Every subscription, in the order of delivery."""
        with self._lock:
            return list(self._in_order(*self._at(list(self._topics))))

    def explain(self, event: Event) -> list[Explanation]:
        """Say of every subscription why it does or does not match the event."""
        declared: Route = getattr(getattr(event, "definition", None), "declared", ())
        explained = []
        for subscription in self._in_order(*declared, *self.subscriptions):
            refusal = subscription.filter.refusal(event)
            reason = f"matches {subscription.filter}" if refusal is None else refusal
            explained.append(Explanation(subscription, refusal is None, reason))

        return explained


def _kind(fact: Transition) -> type[StateTransition]:
    return TaskRunTransition if fact.run_type == "task" else FlowRunTransition


def _following(event: E, follows: Event | None) -> E:
    if not isinstance(event, Event):
        raise TypeError(
            f"Only events can be published, but got {event!r}; "
            "subclass eventflow.Event for facts of your own."
        )

    return event if follows is None else event.model_copy(update={"follows": follows.id})


_default: Final = EventBus()
_in_force: Final[ContextVar[EventBus | None]] = ContextVar("eventflow_bus", default=None)


def current_bus() -> EventBus:
    """Give the bus in force: the one of the innermost `use_bus` block, else the process's."""
    return _in_force.get() or _default


@contextlib.contextmanager
def use_bus(chosen: EventBus) -> Iterator[EventBus]:
    """Put a bus in force for a block: runs publish there, and `eventflow.bus` speaks for it."""
    token = _in_force.set(chosen)
    try:
        yield chosen
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
