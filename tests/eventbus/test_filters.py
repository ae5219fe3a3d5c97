"""Filters: what subscriptions select, and what is refused or warned about."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from eventflow import Event, EventBus, StateType, bus, flow, hook, task
from eventflow.eventbus.filters import Filter
from eventflow.events import HookFailed, StateTransition, TaskRunTransition
from eventflow.states import Completed
from eventflow.testing import Isolated


class Paid(Event):
    tags: frozenset[str] = frozenset()


@task(tags={"prod"})
def extract_all(fail: bool = False) -> None:
    if fail:
        raise ValueError


@task
def load() -> None: ...


@flow
def etl(fail: bool = False) -> None:
    extract_all(fail, return_state=True)
    load()


SELECTIONS: list[tuple[dict[str, Any], list[str]]] = [
    ({"run_type": "flow"}, ["etl Pending", "etl Running", "etl Completed"]),
    ({"state": "Failed"}, ["extract-all Failed"]),
    ({"state": StateType.FAILED}, ["extract-all Failed"]),
    (
        {"state": ["Failed", StateType.COMPLETED]},
        ["extract-all Failed", "load Completed", "etl Completed"],
    ),
    ({"state": iter(["Failed"])}, ["extract-all Failed"]),
    (
        {"from_state": StateType.RUNNING, "run_type": "task"},
        ["extract-all Failed", "load Completed"],
    ),
    ({"from_state": "Pending", "name": "load"}, ["load Running"]),
    ({"name": "extract*", "state": "Running"}, ["extract-all Running"]),
    ({"name": "lo?d", "state": "Running"}, ["load Running"]),
    ({"name": "EXTRACT*"}, []),
    ({"tags": {"prod"}, "state": "Running"}, ["extract-all Running"]),
    (
        {"tags": "prod", "name": "*"},
        ["extract-all Pending", "extract-all Running", "extract-all Failed"],
    ),
    ({"tags": {"prod", "more"}}, []),
    ({"tags": [], "state": "Failed"}, ["extract-all Failed"]),
    ({"definition": load, "state": "Running"}, ["load Running"]),
    (
        {"event_type": TaskRunTransition, "state": "Running"},
        ["extract-all Running", "load Running"],
    ),
    ({"run_id": uuid4()}, []),
]


@pytest.mark.parametrize(("selection", "expected"), SELECTIONS)
def test_each_keyword_selects(
    eventflow_isolated: Isolated, selection: dict[str, Any], expected: list[str]
) -> None:
    """All conditions must hold; a type stands for all its names, a string for the name itself."""
    seen: list[str] = []
    bus.subscribe(
        lambda event: seen.append(
            f"{event.definition_name.replace('_', '-')} {event.to_state.name}"
        ),
        **selection,
    )
    etl(fail=True)

    assert seen == [entry.replace("extract_all", "extract-all") for entry in expected]


def test_without_keywords_everything_is_selected(eventflow_isolated: Isolated) -> None:
    """Users' own events too; run keywords alone select transitions only."""
    everything: list[Event] = []
    transitions: list[Event] = []
    bus.subscribe(everything.append)
    bus.subscribe(transitions.append, tags=[])
    paid = bus.publish(Paid())
    load()

    assert everything[0] is paid
    assert everything[1:] == transitions
    assert len(transitions) == 3


def test_a_class_of_events_has_conditions_of_its_own_fields(eventflow_isolated: Isolated) -> None:
    """Conditions on other fields are refused."""
    seen: list[Event] = []
    bus.subscribe(seen.append, event_type=Paid, tags={"big"})
    bus.publish(Paid())
    big = bus.publish(Paid(tags=frozenset({"big"})))

    assert seen == [big]
    with pytest.raises(TypeError, match="HookFailed events cannot be selected by state"):
        bus.subscribe(seen.append, event_type=HookFailed, state="Failed")


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"run_type": "job"}, ValueError, "run_type must be 'flow' or 'task', but is 'job'"),
        ({"run_type": ["flow"]}, ValueError, r"run_type must be .* but is \['flow'\]"),
        ({"state": 3}, TypeError, "state must be a state's name or a StateType, but got 3"),
        ({"state": ["Failed", None]}, TypeError, "but got None"),
        ({"state": Completed()}, TypeError, "state must be a state's name or a StateType"),
        ({"state": []}, ValueError, r"state names no state: \[\]"),
        ({"from_state": ""}, ValueError, "from_state names no state: ''"),
        ({"name": 3}, TypeError, "name must be a string, .* but is 3"),
        ({"tags": [1]}, TypeError, "tags must be strings"),
        ({"definition": print}, TypeError, "definition must be a flow or a task, but is <built-in"),
        ({"run_id": "abc"}, ValueError, "run_id must be a UUID, but is 'abc'"),
        ({"run_id": 3}, ValueError, "run_id must be a UUID, but is 3"),
        ({"event_type": int}, TypeError, "event_type must be a subclass of Event"),
        ({"event_type": "Event"}, TypeError, "event_type must be a subclass of Event"),
        (
            {"statee": "Failed"},
            TypeError,
            "Events are selected by run_type, .*; there is no statee",
        ),
    ],
)
def test_wrong_conditions_are_refused_at_the_call(
    selection: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The message has the keyword, the value and what is allowed; nothing is subscribed."""
    own = EventBus()
    uses: list[Any] = [partial(own.subscribe, print), own.stream, own.wait_for]
    for use in uses:
        with pytest.raises(error, match=message):
            use(**selection)

    assert own.subscriptions == []


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("Faild", "Failed"),
        ("complete", "Completed"),
        ("COMPLETED", "Completed"),
        ("TimeOut", "TimedOut"),
    ],
)
def test_a_misspelt_state_is_warned_about(misspelt: str, meant: str) -> None:
    """The nearest known name is named, and the warning points at the caller's own line."""
    own = EventBus()
    uses: list[Callable[[], object]] = [
        lambda: own.subscribe(print, state=misspelt),
        lambda: own.subscribe(state=misspelt),
        lambda: own.stream(from_state=misspelt),
        lambda: hook(state=[misspelt])(print),
        lambda: load.with_options().on(misspelt)(print),
    ]
    for use in uses:
        with pytest.warns(UserWarning, match=f"named '{misspelt}'; did you mean '{meant}'") as seen:
            use()
        assert [warning.filename for warning in seen] == [__file__]


async def _wait(own: EventBus) -> None:
    with pytest.warns(UserWarning, match="did you mean 'Failed'") as seen:
        waiting = own.wait_for(state="Faild", timeout=0)
    assert seen[0].filename == __file__
    with pytest.raises(TimeoutError):
        await waiting


def test_a_misspelt_state_to_wait_for_is_warned_about() -> None:
    """The warning comes at the call, not when it is awaited."""
    import asyncio

    asyncio.run(_wait(EventBus()))


def test_a_custom_name_is_not_warned_about() -> None:
    """Nor is a known one; a custom name is unlike any known one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Filter.of({"state": ["Shipped", "Failed", StateType.PAUSED, "Suspended"]})


def test_why_an_event_is_refused() -> None:
    """Each condition names the value and what was wanted."""
    run = SimpleNamespace(
        run_type="task",
        run_id=UUID(int=1),
        definition_name="load",
        definition=load,
        tags=frozenset({"a"}),
        to_state=Completed(),
        from_state=None,
    )
    event = TaskRunTransition.model_construct(**vars(run) | {"definition": None})
    for selection, reason in (
        ({"run_type": "flow"}, "run_type is 'task', not 'flow'"),
        ({"state": "Failed"}, "state is Completed (COMPLETED), not Failed"),
        ({"from_state": "Running"}, "from_state is none, not Running"),
        ({"name": "x*"}, "name is 'load', not 'x*'"),
        ({"tags": "b"}, "tags is ['a'], not ['b']"),
        ({"definition": load}, "definition is None, not 'load'"),
        ({"run_id": UUID(int=2)}, f"run_id is {UUID(int=1)}, not {UUID(int=2)}"),
        ({"event_type": Paid}, "event_type is TaskRunTransition, not Paid"),
    ):
        assert Filter.of(selection).refusal(event) == reason  # type: ignore[arg-type]
    assert Filter.of({"run_id": str(UUID(int=1)), "name": "load"}).admits(event)


def test_the_text_of_a_filter_is_what_it_selects() -> None:
    """For errors and explanations: the class, and each condition."""
    text = str(Filter.of({"state": ["Failed", "Crashed"], "run_type": "task"}))

    assert text == f"{StateTransition.__name__}, run_type='task', state=Crashed or Failed"
