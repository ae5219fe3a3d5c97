"""Events: facts that never change, their JSON form and its schema."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from uuid_utils.compat import uuid7

from eventflow import Event, State, events, flow, task
from eventflow.events import (
    ErrorInfo,
    FlowRunTransition,
    HookDeadLettered,
    HookFailed,
    HookSucceeded,
    JournalFailed,
    JournalRecovered,
    ListenerFailed,
    StateLasted,
    StateTransition,
    TaskRunTransition,
    parse,
)
from eventflow.states import StateType
from eventflow.testing import Isolated, capture_events


class Shipped(Event):
    """A user's own event."""

    order: int
    to: str = "home"


text = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
ids = st.uuids()
# JSON has whole minutes of offset; the local mean times of the nineteenth century had seconds.
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=offsets)
errors = st.builds(ErrorInfo, type=text, message=text, traceback=text)
states: st.SearchStrategy[State[Any]] = st.builds(
    State,
    type=st.sampled_from(StateType),
    name=text,
    id=ids,
    timestamp=moments,
    message=st.none() | text,
    error=st.none() | errors,
)
base = {"id": ids, "occurred": moments, "follows": st.none() | ids}
transition = base | {
    "run_id": ids,
    "run_name": text,
    "definition_name": text,
    "flow_run_id": st.none() | ids,
    "parent_run_id": st.none() | ids,
    "root_flow_run_id": st.none() | ids,
    "from_state": st.none() | states,
    "to_state": states,
    "tags": st.frozensets(text, max_size=3),
    "run_count": st.integers(0, 2**40),
    "sequence": st.integers(0, 2**40),
}
lasted = {key: value for key, value in transition.items() if key != "to_state"} | {
    "run_type": st.sampled_from(["flow", "task"]),
    "state": states,
    "since": moments,
    "lasting": st.floats(0, 1e9),
    "is_overdue": st.booleans(),
}
outcome = base | {
    "hook": text,
    "delivery_id": ids,
    "attempt": st.integers(1, 100),
    "duration": st.floats(0, 1e9),
    "run_type": st.sampled_from(["flow", "task"]),
    "run_id": ids,
    "run_name": text,
    "definition_name": text,
    "flow_run_id": st.none() | ids,
    "state_name": text,
}
FIELDS: dict[type[Event], dict[str, Any]] = {
    FlowRunTransition: transition,
    TaskRunTransition: transition,
    StateLasted: lasted,
    HookSucceeded: outcome,
    HookFailed: outcome | {"error": errors},
    HookDeadLettered: outcome | {"error": errors},
    JournalFailed: base | {"lost": st.integers(0, 2**40), "error": errors},
    JournalRecovered: base | {"lost": st.integers(0, 2**40)},
    ListenerFailed: base | {"listener": text, "event_type": text, "error": errors},
    Shipped: base | {"order": st.integers(-(2**40), 2**40), "to": text},
}
every_event = st.one_of([st.builds(kind, **fields) for kind, fields in FIELDS.items()])


@given(every_event)
def test_json_gives_an_event_back(event: Event) -> None:
    """Whatever is in it: the same event comes out, and hashes alike."""
    document = event.model_dump_json()
    back = type(event).model_validate_json(document)

    assert back == event
    assert hash(back) == hash(event)
    assert back.model_dump_json() == document
    assert back.type == event.type
    if isinstance(event, StateTransition):
        assert parse(document) == event


def test_every_class_is_in_the_catalogue() -> None:
    """It has every class that is generated above, and users' own as they are defined."""
    catalogue = events.catalogue()
    own = {name: kind for name, kind in catalogue.items() if kind.__module__ == "eventflow.events"}

    assert set(own.values()) == FIELDS.keys() - {Shipped}
    assert catalogue[f"{__name__}.Shipped"] is Shipped
    assert list(catalogue) == sorted(catalogue)


def test_the_schema_describes_every_class() -> None:
    """One document of JSON Schema; each `type` is under exactly one entry."""
    document = json.loads(json.dumps(events.schema()))
    names = [reference["$ref"].removeprefix("#/$defs/") for reference in document["oneOf"]]
    definitions = [document["$defs"][name] for name in names]

    assert len(definitions) == len(events.catalogue())
    types = [definition["properties"]["type"] for definition in definitions]
    for kind in FIELDS:
        event = _example(kind)
        matching = [
            one
            for one in types
            if one.get("const") == event.type or re.search(one.get("pattern", "$^"), event.type)
        ]
        assert len(matching) == 1
        definition = definitions[types.index(matching[0])]
        assert set(json.loads(event.model_dump_json())) == set(definition["properties"])
        assert definition["required"]


def _example(kind: type[Event]) -> Event:
    some = uuid7()
    error = ErrorInfo(type="ValueError", message="no")
    state: State[Any] = State(type=StateType.FAILED)
    values = dict.fromkeys(kind.model_fields, "x") | {
        "id": some,
        "occurred": state.timestamp,
        "follows": None,
        "run_id": some,
        "delivery_id": some,
        "flow_run_id": None,
        "parent_run_id": None,
        "root_flow_run_id": None,
        "from_state": None,
        "to_state": state,
        "state": state,
        "since": state.timestamp,
        "lasting": 1.5,
        "is_overdue": True,
        "tags": frozenset[str](),
        "run_count": 1,
        "sequence": 0,
        "attempt": 1,
        "duration": 0.5,
        "order": 1,
        "lost": 0,
        "error": error,
        "run_type": "flow" if kind is FlowRunTransition else "task",
    }

    return kind(**{name: value for name, value in values.items() if name in kind.model_fields})


def test_the_schema_for_reading_has_no_type() -> None:
    """What is computed is written and not read."""
    assert "type" not in Shipped.model_json_schema()["properties"]
    assert Shipped.model_json_schema(mode="serialization")["properties"]["type"]["const"] == (
        f"{__name__}.Shipped"
    )


def test_an_event_never_changes() -> None:
    """Fields are frozen and given by keyword."""
    event = Shipped(order=1)
    with pytest.raises(ValidationError):
        event.order = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Shipped(1)  # type: ignore[call-arg]

    assert event.type == f"{__name__}.Shipped"


def test_transitions_of_a_run(eventflow_isolated: Isolated) -> None:
    """Types, sequence and `follows` are gapless; the live run is there, and not in the JSON."""

    @task
    def work() -> int:
        return 3

    @flow
    def outer() -> int:
        return work()

    with capture_events() as seen:
        outer()
    transitions = [event for event in seen if isinstance(event, StateTransition)]
    of_task = [event for event in transitions if isinstance(event, TaskRunTransition)]

    assert [event.type for event in of_task] == [
        f"eventflow.task-run.{name}" for name in ("Pending", "Running", "Completed")
    ]
    assert [event.sequence for event in of_task] == [0, 1, 2]
    assert [event.follows for event in of_task] == [None, of_task[0].id, of_task[1].id]
    assert [event.id for event in of_task] == [event.to_state.id for event in of_task]
    assert [event.occurred for event in of_task] == [event.to_state.timestamp for event in of_task]
    assert of_task[0].duration is None
    assert (of_task[1].duration or 0) >= 0
    last = of_task[-1]
    assert last.run is not None
    assert last.definition is work
    assert last.to_state.data is None
    assert last.run.state is not None
    assert last.run.state.data == 3
    back = parse(last.model_dump_json())
    assert back == last
    assert (back.run, back.definition) == (None, None)
    assert last.flow_run_id == last.root_flow_run_id == transitions[0].run_id


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_event_holds_no_live_exception(eventflow_isolated: Isolated, way: str) -> None:
    """What failed is described; no event has anything to keep a frame alive by."""

    def body() -> None:
        raise ValueError("bad \udcff")

    async def abody() -> None:
        body()

    fn: Any = body if way == "sync" else abody
    failing: Any = task(name="failing", retries=1)(fn)
    with capture_events() as seen:
        if way == "sync":
            failing(return_state=True)
        else:
            asyncio.run(failing(return_state=True))

    last = seen[-1]
    assert isinstance(last, TaskRunTransition)
    assert last.to_state.error is not None
    assert last.to_state.error.type == "ValueError"
    assert last.to_state.error.message == "bad \\udcff"
    for event in seen:
        assert isinstance(event, StateTransition)
        assert event.to_state.data is None
        assert event.from_state is None or event.from_state.data is None
        assert type(event).model_validate_json(event.model_dump_json()) == event


def test_only_transitions_can_be_parsed() -> None:
    """Anything else is refused."""
    with pytest.raises(ValidationError):
        parse(Shipped(order=1).model_dump_json())
