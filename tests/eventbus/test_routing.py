"""Routes: who is looked at for an event, and what is remembered."""

from __future__ import annotations

from collections import Counter
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
def test_who_does_not_match_costs_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others there are, a publish looks at the one subscription that matches."""
    looked: Counter[str] = Counter()
    takes = Subscription.takes

    def counted(self: Subscription, subject: object) -> bool:
        looked["takes"] += 1
        return takes(self, subject)

    monkeypatch.setattr(Subscription, "takes", counted)
    counts = []
    for many in (10, 10_000 if kind in {"name", "run_id", "tags"} else 500):
        own, seen = EventBus(), list[Event]()
        own.subscribe(seen.append, name="it")
        for number in range(many - 1):
            own.subscribe(print, **others(kind, number))
        first, second = begun(), begun()
        own.publish_transition(first.enter(Pending()))
        looked.clear()
        own.publish_transition(second.enter(Pending()))
        counts.append(dict(looked))
        assert len(seen) == 2

    assert counts == [{"takes": 1}] * 2


def test_watchers_of_runs_and_tags_take_their_place_among_others() -> None:
    """However they are found, the order is that of priority and subscription."""
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
    """What is remembered is forgotten when it is no longer true."""
    own, seen = EventBus(), list[str]()
    run = begun()
    own.publish_transition(run.enter(Pending()))
    with own.subscribe(lambda event: seen.append("one")):
        own.publish_transition(run.enter(Running()))
    own.publish_transition(run.enter(Completed()))

    assert seen == ["one"]


def test_hooks_declared_later_are_seen_at_once(eventflow_isolated: Isolated) -> None:
    """A definition's own hooks count from their declaration on."""
    called: list[str] = []

    @task
    def work() -> None: ...

    work()
    work.on_completion(lambda definition, run, state: called.append("one"))
    work()
    work.on_running(lambda definition, run, state: called.append("two"))
    work()

    assert called == ["one", "two", "one"]


def test_topics_of_runs_do_not_stay() -> None:
    """A subscription that has ended leaves nothing behind."""
    own = EventBus()
    for _ in range(100):
        own.subscribe(print, run_id=uuid4()).cancel()
        own.subscribe(print, tags={"a"}).cancel()
        own.subscribe(print, state="Failed").cancel()

    assert len(own._router._topics) == 0
    assert (own._router._runs_watched, own._router._tags_watched) == (0, 0)


def test_names_of_states_that_never_end_fill_nothing() -> None:
    """As many routes are remembered as is good, however many names runs come up with."""
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

    one, other = define(), define()
    own.subscribe(seen.append, event_type=one)
    own.publish(other())
    mine = own.publish(one())

    assert seen == [mine]


def test_conditions_are_asked_of_each_event_of_a_class() -> None:
    """The class finds who may want the event; what is in it decides."""
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


def test_asking_for_a_class_of_transitions_remembers_no_route() -> None:
    """Theirs depend on more than the class."""
    own, seen = EventBus(), list[Event]()
    with own.subscribe(seen.append, name="it") as listening:
        own.publish_transition(begun().enter(Pending()))
        assert not own.listens_for(type(seen[0]))
        own.publish(seen[0])

    assert listening.delivered == len(seen) == 2
