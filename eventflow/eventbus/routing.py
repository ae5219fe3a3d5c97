"""Routes: which subscriptions receive an event, by topics; compiled once and cached."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary, WeakSet

import blinker

from eventflow.eventbus.deadlines import TimedSubscriptions
from eventflow.eventbus.filters import class_topics, run_topic, tag_topic, transition_topics
from eventflow.eventbus.subscriptions import Subscription
from eventflow.eventbus.watchers import hooks_changed
from eventflow.events import (
    Event,
    FlowRunTransition,
    RunEvent,
    StateTransition,
    TaskRunTransition,
)
from eventflow.primitives.forks import in_children
from eventflow.runs.run import Transition

__all__ = ["NO_ROUTE", "Explanation", "Route", "Router"]

ROUTES_PER_DEFINITION: Final = 1_000
"""How many routes are cached; only a program that invents state names reaches the limit."""


class Route(NamedTuple):
    """The subscriptions that receive one kind of event, in the order of delivery."""

    listeners: tuple[Subscription, ...]
    hooks: tuple[Subscription, ...]
    conditional: bool = False
    """Whether each event has to be checked against the conditions of the filters as well."""
    certain: bool = True
    """Whether all hooks accept every event of this kind."""
    timed: TimedSubscriptions | None = None
    """Those that are told once the state has lasted long enough."""

    def hooks_for(self, subject: Event | Transition) -> tuple[Subscription, ...]:
        """Return the hooks that accept an event or a transition; each is then owed it."""
        if self.certain:
            return self.hooks

        return tuple(hook for hook in self.hooks if hook.accepts(subject))

    def matching(self, event: Event) -> Route:
        """Return the route of the subscriptions whose conditions the event meets."""
        subscriptions = (*self.listeners, *self.hooks)

        return _route(candidate for candidate in subscriptions if candidate.filter.admits(event))


NO_ROUTE: Final = Route((), ())

_Key = tuple[object, ...]


class _DefinitionRoutes(NamedTuple):
    """The routes of one definition, valid until its hooks or the subscriptions change."""

    cache: object
    """The router's cache that they belong to: a new one replaces it when subscriptions change."""
    declared: tuple[Subscription, ...]
    """The definition's hooks: every change makes a new tuple."""
    routes: dict[_Key, Route]
    plans: dict[frozenset[str], Any]
    """What the recorder has decided for runs with the same tags."""


def _in_order(subscriptions: Iterable[Subscription]) -> list[Subscription]:
    """Sort: listeners before hooks, by priority, by age, a definition's own hooks first."""
    return sorted(dict.fromkeys(subscriptions), key=attrgetter("order"))


def _route(subscriptions: Iterable[Subscription], *, conditional: bool = False) -> Route:
    listeners: list[Subscription] = []
    hooks: list[Subscription] = []
    timed: list[Subscription] = []
    for subscription in _in_order(subscriptions):
        at_once = listeners if subscription.hook is None else hooks
        (at_once if subscription.filter.lasting is None else timed).append(subscription)

    if not listeners and not hooks and not timed:
        return NO_ROUTE

    certain = not any(hook.once or hook.per_run_checks for hook in hooks)

    return Route(
        tuple(listeners), tuple(hooks), conditional, certain, TimedSubscriptions.of(tuple(timed))
    )


class Explanation(NamedTuple):
    """Why one subscription did or did not match an event."""

    subscription: Subscription
    matched: bool
    reason: str


_routers: Final[WeakSet[Router]] = WeakSet()


def _after_fork() -> None:
    for router in _routers:
        router.renew_lock()


in_children(_after_fork)


class Router:
    """Finds the subscriptions for an event by topics, and caches the routes.

    A subscription is indexed under the narrowest topics that all its events have. Those to single
    runs or tags come and go with the runs: they are looked up each time, and leave the cached
    routes as they are.
    """

    def __init__(self) -> None:
        self.renew_lock()
        self._topics = blinker.Namespace()
        self._runs_watched = 0
        self._tags_watched = 0
        self._from_states_watched = 0
        self.hook_count = 0
        """How many hooks are subscribed on the bus itself, and not declared on a definition."""
        self._clear_cache()
        _routers.add(self)

    def renew_lock(self) -> None:
        """Make a new lock: in a forked child the old one may be held by a thread of the parent."""
        self._lock = threading.RLock()

    def _clear_cache(self) -> None:
        self._routes: WeakKeyDictionary[Any, _DefinitionRoutes] = WeakKeyDictionary()
        self._kinds: dict[type[Event], Route] = {}

    def add(self, subscription: Subscription) -> None:
        """Add a subscription."""
        with self._lock:
            for topic in subscription.filter.topics:
                signal = self._topics.signal(topic)
                signal.connect(subscription, weak=False)
                # A finalizer may meanwhile have removed the last other one of the topic.
                self._topics[topic] = signal
            self._changed(subscription, +1)
        if subscription.hook is not None:
            hooks_changed()

    def remove(self, subscription: Subscription) -> None:
        """Remove a subscription."""
        with self._lock:
            for topic in subscription.filter.topics:
                signal = self._topics.signal(topic)
                signal.disconnect(subscription)
                # Topics without subscriptions would add up: there is one for each run id.
                if not signal.receivers:
                    self._topics.pop(topic, None)
            self._changed(subscription, -1)
        if subscription.hook is not None:
            hooks_changed()

    def _changed(self, subscription: Subscription, by: int) -> None:
        if any(check.what == "from_state" for check in subscription.filter.checks):
            self._from_states_watched += by
        if subscription.hook is not None:
            self.hook_count += by
        if subscription.filter.watches == "run":
            self._runs_watched += by
        elif subscription.filter.watches == "tag":
            self._tags_watched += by
        if subscription.hook is not None or subscription.filter.watches not in {"run", "tag"}:
            # For a hook also because of what is planned with the routes.
            self._clear_cache()

    def subscriptions(self) -> list[Subscription]:
        """Return every subscription, in the order of delivery."""
        with self._lock:
            return _in_order(self._at(list(self._topics)))

    def explain(self, event: Event) -> list[Explanation]:
        """Return for every subscription why it does or does not match the event."""
        explanations = []
        for subscription in _in_order([*_declared(event), *self.subscriptions()]):
            refusal = subscription.filter.refusal(event)
            reason = f"matches {subscription.filter}" if refusal is None else refusal
            if refusal is None and subscription.filter.is_told_later(event):
                reason = f"{reason}; told once that has lasted"
            if refusal is None and subscription.hook and subscription.hook.where == "worker":
                reason = f"{reason}; called by a worker"
            explanations.append(Explanation(subscription, refusal is None, reason))

        return explanations

    def _at(self, topics: Iterable[str]) -> list[Subscription]:
        subscriptions: list[Any] = []
        for topic in topics:
            signal = self._topics.get(topic)
            if signal is not None:
                with self._lock:
                    subscriptions += signal.receivers_for(blinker.ANY)

        return subscriptions

    def of_transition(self, fact: Transition) -> Route:
        """Return the route of a transition; conditions on single runs are not checked yet."""
        cached, origin = fact.run.routes, fact.run.definition.origin
        if (
            cached is None
            or cached.declared is not origin.declared
            or cached.cache is not self._routes
        ):
            cached = fact.run.routes = self._of_definition(origin)
        if not cached.declared and not self._topics:
            return NO_ROUTE
        to_state, from_state = fact.entered, fact.previous
        key: _Key = (to_state.name, to_state.type)
        if from_state is not None and self._from_states_watched:
            key += (from_state.name, from_state.type)
        route = cached.routes.get(key) or self._compile(fact, cached, key)
        if self._runs_watched or self._tags_watched:
            return self._with_run_subscriptions(fact, route)

        return route

    def _of_definition(self, origin: Any) -> _DefinitionRoutes:
        cache = self._routes
        cached = cache.get(origin)
        if cached is None or cached.declared is not origin.declared:
            cached = cache[origin] = _DefinitionRoutes(cache, origin.declared, {}, {})

        return cached

    def _compile(self, fact: Transition, cached: _DefinitionRoutes, key: _Key) -> Route:
        kind = _kind(fact)
        topics = transition_topics(kind, fact.definition_name, fact.entered)
        routes = cached.routes
        with self._lock:
            candidates = (*cached.declared, *self._at(topics))
            route = _route(
                candidate for candidate in candidates if candidate.filter.admits_kind(kind, fact)
            )
            if self._routes is cached.cache:
                if len(routes) >= ROUTES_PER_DEFINITION:
                    routes.clear()
                routes[key] = route

        return route

    def _with_run_subscriptions(self, fact: Transition, route: Route) -> Route:
        topics = [run_topic(fact.run_id)] if self._runs_watched else []
        if self._tags_watched:
            topics += map(tag_topic, fact.tags)
        kind = _kind(fact)
        more = [
            candidate for candidate in self._at(topics) if candidate.filter.admits_kind(kind, fact)
        ]

        if not more:
            return route
        timed = () if route.timed is None else route.timed.subscriptions

        return _route([*route.hooks, *route.listeners, *timed, *more])

    def of_event(self, event: Event) -> Route:
        """Return the route of an event.

        Raises:
            TypeError: it is no event.
        """
        route = self._kinds.get(type(event))
        if route is None:
            route = self._compile_event(event)

        return route.matching(event) if route.conditional else route

    def _compile_event(self, event: Event) -> Route:
        if not isinstance(event, Event):
            raise TypeError(
                f"Only events can be published, but got {event!r}; "
                "subclass eventflow.Event for facts of your own."
            )
        if not isinstance(event, StateTransition):
            return self.of_kind(type(event))
        state_topics = transition_topics(type(event), event.definition_name, event.to_state)
        topics = [*state_topics, run_topic(event.run_id), *map(tag_topic, event.tags)]

        return _route(self._at(topics), conditional=True)

    def of_kind(self, kind: type[Event]) -> Route:
        """Return the route of a class of events other than transitions."""
        return self._kinds.get(kind) or self._compile_kind(kind)

    def _compile_kind(self, kind: type[Event]) -> Route:
        with self._lock:
            # Classes of one name share a topic: each call of a function may define one.
            candidates = self._at(class_topics(kind))
            matching = [
                candidate
                for candidate in candidates
                if issubclass(kind, candidate.filter.event_type)
            ]
            route = _route(
                matching, conditional=any(candidate.filter.checks for candidate in matching)
            )
            if not issubclass(kind, StateTransition):  # a transition has topics of its own
                self._kinds[kind] = route

        return route


def _declared(event: Event) -> tuple[Subscription, ...]:
    """Return the hooks that are declared on the definition of an event's run, if it is known."""
    run = event.run if isinstance(event, RunEvent) else None
    declared: tuple[Subscription, ...] = () if run is None else run.definition.origin.declared

    return declared


def _kind(fact: Transition) -> type[StateTransition]:
    return TaskRunTransition if fact.run_type == "task" else FlowRunTransition
