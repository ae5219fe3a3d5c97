"""Routes: which subscriptions are examined for an event, and what is cached."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from eventflow import Event, EventBus, bus, task
from eventflow.eventbus.routing import ROUTES_PER_DEFINITION
from eventflow.eventbus.subscriptions import Subscription
from eventflow.events import HookFailed
from eventflow.runs.run import TaskRun
from eventflow.states import Completed, Pending, Running, State, StateType
from eventflow.testing import Isolated


@task
def it() -> None: ...


def begun() -> TaskRun:
    return TaskRun(it, "it", dict, frozenset({"mine"}), None)


def publish_run(own: EventBus) -> None:
    run = begun()
    for state in (Pending(), Running(), Completed()):
        own.publish_transition(run.enter(state))


def others(kind: str, number: int) -> dict[str, Any]:
    every: dict[str, dict[str, Any]] = {
        "name": {"name": f"other{number}"},
        "glob": {"name": f"other{number}*"},
        "run_id": {"run_id": uuid4()},
        "tags": {"tags": {f"other{number}"}},
        "state": {"state": f"Zzz{number}qq"},
        "from_state": {"from_state": f"Zzz{number}qq"},
    }

    return every[kind]


@pytest.mark.parametrize("kind", ["name", "glob", "run_id", "tags", "state", "from_state"])
def test_subscriptions_that_do_not_match_cost_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, a publish examines only the subscription that matches."""
    calls: Counter[str] = Counter()
    accepts = Subscription.accepts

    def counted(self: Subscription, subject: object) -> bool:
        calls["accepts"] += 1
        return accepts(self, subject)

    monkeypatch.setattr(Subscription, "accepts", counted)
    counts = []
    for many in (10, 2_000 if kind in {"name", "run_id", "tags"} else 500):
        own, seen = EventBus(), list[Event]()
        own.subscribe(seen.append, name="it")
        for number in range(many - 1):
            own.subscribe(print, **others(kind, number))
        first, second = begun(), begun()
        own.publish_transition(first.enter(Pending()))
        calls.clear()
        own.publish_transition(second.enter(Pending()))
        counts.append(dict(calls))
        assert len(seen) == 2

    assert counts == [{"accepts": 1}] * 2


def test_subscriptions_to_runs_and_tags_are_in_order_with_others() -> None:
    """The order is that of priority and subscription, however they are indexed."""
    own, called = EventBus(), list[str]()
    run = begun()
    for name, selection in (
        ("all", {}),
        ("run", {"run_id": run.id}),
        ("tag", {"tags": {"mine"}}),
        ("name", {"name": "it"}),
        ("both", {"run_id": str(run.id), "tags": {"mine"}}),
        ("first", {"run_id": run.id, "priority": 1}),
        ("flows", {"run_id": run.id, "run_type": "flow"}),
        ("gone", {"tags": {"mine", "gone"}}),
    ):
        own.subscribe(lambda event, name=name: called.append(name), **selection)
    own.publish_transition(run.enter(Pending()))

    assert called == ["first", "all", "run", "tag", "name", "both"]


def test_a_new_subscription_is_seen_at_once() -> None:
    """The cached routes are cleared when subscriptions change."""
    own, seen = EventBus(), list[str]()
    run = begun()
    own.publish_transition(run.enter(Pending()))
    with own.subscribe(lambda event: seen.append("Running")):
        own.publish_transition(run.enter(Running()))
    own.publish_transition(run.enter(Completed()))

    assert seen == ["Running"]


def test_hooks_declared_later_are_seen_at_once(eventflow_isolated: Isolated) -> None:
    """A definition's own hooks count from their declaration on."""
    called: list[str] = []

    @task
    def work() -> None: ...

    work()
    work.on_completion(lambda definition, run, state: called.append("completion"))
    work()
    work.on_running(lambda definition, run, state: called.append("running"))
    work()

    assert called == ["completion", "running", "completion"]


def test_topics_are_removed_with_their_subscriptions() -> None:
    """Otherwise there would be one for each run id."""
    own = EventBus()
    for _ in range(100):
        own.subscribe(print, run_id=uuid4()).cancel()
        own.subscribe(print, tags={"a"}).cancel()
        own.subscribe(print, state="Failed").cancel()

    assert len(own._router._topics) == 0
    assert (own._router._runs_watched, own._router._tags_watched) == (0, 0)


def test_the_number_of_cached_routes_is_bounded() -> None:
    """However many names of states there are."""
    own, seen = EventBus(), list[Event]()
    own.subscribe(seen.append, state=StateType.PENDING)
    run = begun()
    for number in range(ROUTES_PER_DEFINITION + 10):
        own.publish_transition(run.enter(State(type=StateType.PENDING, name=f"Step {number}")))
    routes = own._router._routes[it].routes

    assert len(routes) <= ROUTES_PER_DEFINITION
    assert len(seen) == ROUTES_PER_DEFINITION + 10


def test_the_bus_in_force_lists_its_subscriptions(eventflow_isolated: Isolated) -> None:
    """In the order of delivery, each once, however many topics it is kept under."""
    low = bus.subscribe(print, state=["Failed", "Crashed"])
    high = bus.subscribe(print, priority=3)

    assert bus.subscriptions == [high, low]


def test_classes_of_one_name_are_not_confused() -> None:
    """A function that defines a class defines another one each time it is called."""
    own, seen = EventBus(), list[Event]()

    def define() -> type[Event]:
        class Fact(Event): ...

        return Fact

    first, second = define(), define()
    own.subscribe(seen.append, event_type=first)
    own.publish(second())
    mine = own.publish(first())

    assert seen == [mine]


def test_conditions_are_asked_of_each_event_of_a_class() -> None:
    """The class selects the candidates, the fields of the event decide."""
    own, seen = EventBus(), list[str]()

    def failed_hook(kind: str) -> HookFailed:
        return HookFailed.model_validate(HOOK_FAILED | {"run_type": kind})

    for kind in ("flow", "task"):
        own.subscribe(
            lambda event, kind=kind: seen.append(kind), event_type=HookFailed, run_type=kind
        )
    for kind in ("task", "flow", "task"):
        own.publish(failed_hook(kind))

    assert seen == ["task", "flow", "task"]


HOOK_FAILED = {
    "hook": "module:name",
    "delivery_id": uuid4(),
    "attempt": 1,
    "duration": 0.1,
    "run_type": "task",
    "run_id": uuid4(),
    "run_name": "calm-otter",
    "definition_name": "it",
    "flow_run_id": None,
    "state_name": "Completed",
    "error": {"type": "ValueError", "message": "no"},
}


def test_routes_of_transition_classes_are_not_cached() -> None:
    """Theirs depend on more than the class."""
    own, seen = EventBus(), list[Event]()
    with own.subscribe(seen.append, name="it") as listening:
        own.publish_transition(begun().enter(Pending()))
        assert not own.listens_for(type(seen[0]))
        own.publish(seen[0])

    assert listening.delivered == len(seen) == 2


def test_subscriptions_to_single_runs_keep_the_cached_routes() -> None:
    """They come and go with the runs; no compiled route is cleared for them."""
    own = EventBus()
    own.subscribe(print, name="other")
    publish_run(own)
    compiled: list[object] = []
    router = own._router
    router._compile = partial(_record, compiled, router._compile)  # type: ignore[method-assign]
    with own.subscribe(print, run_id=uuid4()), own.subscribe(print, tags={"x"}):
        publish_run(own)
    assert compiled == []
    with own.subscribe(print, state="Shipped"):
        publish_run(own)

    assert len(compiled) == 3


def _record(into: list[object], real: Any, *arguments: Any) -> Any:
    into.append(arguments)

    return real(*arguments)
