"""Who receives an event: the registry of topics, and the routes compiled from it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakSet, ref

import blinker

from eventflow.eventbus.filters import class_topics, run_topic, tag_topic, transition_topics
from eventflow.eventbus.subscriptions import Phase, Subscription
from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition
from eventflow.primitives.forks import in_children
from eventflow.runs.run import Transition

__all__ = ["NOWHERE", "Explanation", "Route", "Router"]

ROUTES_PER_DEFINITION: Final = 1_000
"""How many routes are kept; only states with ever new names come to so many."""


class Route(NamedTuple):
    """Who receives one kind of event, each group in its order."""

    listeners: tuple[Subscription, ...]
    hooks: tuple[Subscription, ...]
    conditional: bool = False
    """Whether there are conditions left that each event has to meet."""

    def owed(self, subject: Event | Transition) -> Sequence[Subscription]:
        """Give the hooks that take an event or a transition, which is owed to them from now on."""
        return [one for one in self.hooks if one.takes(subject)] if self.hooks else ()

    def narrowed(self, event: Event) -> Route:
        """Give those alone whose conditions the event meets."""
        return _route(one for one in (*self.listeners, *self.hooks) if one.filter.admits(event))


NOWHERE: Final = Route((), ())

_Key = tuple[object, ...]


class _Known(NamedTuple):
    """The routes of one definition, as long as neither its hooks nor the subscriptions change."""

    of: object
    origin: ref[Any]
    declared: tuple[Subscription, ...]
    routes: dict[_Key, Route]

    def are_old(self) -> bool:
        """Say whether the definition has other hooks by now: another tuple is the sign."""
        return getattr(self.origin(), "declared", ()) is not self.declared


def _in_order(subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Sort by phase, priority and age; a definition's own hooks stay before those for many."""
    return sorted(dict.fromkeys(subscriptions), key=lambda one: one.order)


def _route(subscriptions: Iterable[Subscription], *, conditional: bool = False) -> Route:
    listeners: list[Subscription] = []
    hooks: list[Subscription] = []
    for one in _in_order(subscriptions):
        (hooks if one.phase is Phase.HOOK else listeners).append(one)

    if not listeners and not hooks:
        return NOWHERE

    return Route(tuple(listeners), tuple(hooks), conditional)


class Explanation(NamedTuple):
    """Why one subscription did or did not match an event."""

    subscription: Subscription
    matched: bool
    reason: str


_routers: Final[WeakSet[Router]] = WeakSet()


def _after_fork() -> None:
    for router in _routers:
        router.unlock()


in_children(_after_fork)


class Router:
    """Finds the subscriptions for an event by topics, and remembers what it found.

    A subscription is kept under the narrowest topic that all its events have. Those to single
    runs or tags come and go with the runs: they are looked up each time, and the remembered
    routes stay.
    """

    def __init__(self) -> None:
        self.unlock()
        self._topics = blinker.Namespace()
        self._runs_watched = 0
        self._tags_watched = 0
        self._origins_watched = 0
        self.hooks = 0
        """How many hooks there are for whatever run matches."""
        self._forget()
        _routers.add(self)

    def unlock(self) -> None:
        """Be free in a forked child: whoever had the lock in the parent is not here."""
        self._lock = threading.RLock()

    def _forget(self) -> None:
        self._routes: WeakKeyDictionary[Any, _Known] = WeakKeyDictionary()
        self._kinds: dict[type[Event], Route] = {}

    def add(self, subscription: Subscription) -> None:
        """Take in a subscription."""
        with self._lock:
            for topic in subscription.filter.topics:
                self._topics.signal(topic).connect(subscription, weak=False)
            self._changed(subscription, +1)

    def remove(self, subscription: Subscription) -> None:
        """Take a subscription out again."""
        with self._lock:
            for topic in subscription.filter.topics:
                signal = self._topics[topic]
                signal.disconnect(subscription)
                # A topic that nobody subscribes to would stay for ever, one for each run id.
                if not signal.receivers:
                    del self._topics[topic]
            self._changed(subscription, -1)

    def _changed(self, subscription: Subscription, by: int) -> None:
        if any(check.what == "from_state" for check in subscription.filter.checks):
            self._origins_watched += by
        if subscription.phase is Phase.HOOK:
            self.hooks += by
        if subscription.filter.watches == "run":
            self._runs_watched += by
        elif subscription.filter.watches == "tag":
            self._tags_watched += by
        else:
            self._forget()

    def everyone(self) -> list[Subscription]:
        """Give every subscription, in the order of delivery."""
        with self._lock:
            return _in_order(self._at(list(self._topics)))

    def explain(self, event: Event) -> list[Explanation]:
        """Say of every subscription why it does or does not match the event."""
        explained = []
        for one in _in_order([*_declared(event), *self.everyone()]):
            refusal = one.filter.refusal(event)
            reason = f"matches {one.filter}" if refusal is None else refusal
            explained.append(Explanation(one, refusal is None, reason))

        return explained

    def _at(self, topics: Iterable[str]) -> list[Subscription]:
        found: list[Any] = []
        for topic in topics:
            signal = self._topics.get(topic)
            if signal is not None:
                with self._lock:
                    found += signal.receivers_for(blinker.ANY)

        return found

    def of_transition(self, fact: Transition) -> Route:
        """Give who receives such a transition; their late conditions are still to be asked."""
        known = fact.run.routes
        if known is None or known.of is not self._routes or known.are_old():
            known = fact.run.routes = self._known(fact.run.definition)
        if not known.declared and not self._topics:
            return NOWHERE
        to, left = fact.entered, fact.left
        key: _Key = (to.name, to.type)
        if left is not None and self._origins_watched:
            key += (left.name, left.type)
        route = known.routes.get(key) or self._compile(fact, known, key)
        if self._runs_watched or self._tags_watched:
            return self._with_watchers(fact, route)

        return route

    def _known(self, definition: Any) -> _Known:
        routes = self._routes
        origin = getattr(definition, "origin", definition)
        known = routes.get(origin)
        if known is None or known.are_old():
            # The key would keep itself alive if its value held it.
            known = routes[origin] = _Known(
                routes, ref(origin), getattr(origin, "declared", ()), {}
            )

        return known

    def _compile(self, fact: Transition, known: _Known, key: _Key) -> Route:
        kind = _kind(fact)
        topics = transition_topics(kind, fact.definition_name, fact.entered)
        routes = known.routes
        with self._lock:
            every = (*known.declared, *self._at(topics))
            route = _route(one for one in every if one.filter.admits_kind(kind, fact))
            if self._routes is known.of:
                if len(routes) >= ROUTES_PER_DEFINITION:
                    routes.clear()
                routes[key] = route

        return route

    def _with_watchers(self, fact: Transition, route: Route) -> Route:
        topics = [run_topic(fact.run_id)] if self._runs_watched else []
        if self._tags_watched:
            topics += map(tag_topic, fact.tags)
        kind = _kind(fact)
        found = [one for one in self._at(topics) if one.filter.admits_kind(kind, fact)]

        return _route([*route.hooks, *route.listeners, *found]) if found else route

    def of_event(self, event: Event) -> Route:
        """Give who receives an event that is there already.

        Raises:
            TypeError: it is no event.
        """
        route = self._kinds.get(type(event))
        if route is None:
            route = self._among_all(event)

        return route.narrowed(event) if route.conditional else route

    def _among_all(self, event: Event) -> Route:
        if not isinstance(event, Event):
            raise TypeError(
                f"Only events can be published, but got {event!r}; "
                "subclass eventflow.Event for facts of your own."
            )
        if not isinstance(event, StateTransition):
            return self.of_kind(type(event))
        topics = transition_topics(type(event), event.definition_name, event.to_state)
        found = self._at([*topics, run_topic(event.run_id), *map(tag_topic, event.tags)])

        return _route(found, conditional=True)

    def of_kind(self, kind: type[Event]) -> Route:
        """Give who may receive events of a class other than transitions."""
        return self._kinds.get(kind) or self._compile_kind(kind)

    def _compile_kind(self, kind: type[Event]) -> Route:
        with self._lock:
            # Classes of one name share a topic: each call of a function may define one.
            at = self._at(class_topics(kind))
            found = [one for one in at if issubclass(kind, one.filter.event_type)]
            route = _route(found, conditional=any(one.filter.checks for one in found))
            if not issubclass(kind, StateTransition):  # the class is not all that decides there
                self._kinds[kind] = route

        return route


def _declared(event: Event) -> tuple[Subscription, ...]:
    """Give the hooks that are declared on the definition of an event's run, if it is known."""
    definition = getattr(event, "definition", None)
    declared: tuple[Subscription, ...] = getattr(
        getattr(definition, "origin", definition), "declared", ()
    )

    return declared


def _kind(fact: Transition) -> type[StateTransition]:
    return TaskRunTransition if fact.run_type == "task" else FlowRunTransition
