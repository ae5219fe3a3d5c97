"""A listener is described so that another process can say what it was for."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow import Event, EventBus, FlowRunTransition, StateTransition, StateType, task
from eventflow.eventbus.filters import Filter
from eventflow.hooks.listeners import RecordedListener, recorded_listeners


class Arrived(Event):
    """An event of a user's own."""


@task(name="a*b")
def starred() -> None: ...


def heard(event: Event) -> None:
    """Listen."""


def recorded(bus: EventBus) -> list[RecordedListener]:
    """Read what is recorded of a bus."""
    return RecordedListener.read(f'{{"listeners":{recorded_listeners(bus.subscriptions)}}}')


@pytest.mark.parametrize(
    ("selection", "again"),
    [
        ({}, "Event"),
        ({"event_type": FlowRunTransition}, "FlowRunTransition"),
        ({"state": iter([StateType.FAILED, "Late"])}, "StateTransition, state=FAILED or Late"),
        ({"from_state": "Running"}, "StateTransition, from_state=Running"),
        ({"run_type": "task", "tags": iter(["b", "a"])}, "run_type='task', tags=['a', 'b']"),
        ({"definition": starred}, "StateTransition, name='a[*]b'"),
        ({"state": "Pending", "lasting": 60}, "StateLasted, state=Pending, lasting=60"),
    ],
)
def test_a_listener_selects_the_same_in_another_process(
    selection: dict[str, Any], again: str
) -> None:
    bus = EventBus()
    subscription = bus.subscribe(heard, **selection)
    (listener,) = recorded(bus)
    assert listener.name == f"{__name__}:heard"
    assert listener.description == str(subscription.filter)
    chosen = listener.filter()
    assert isinstance(chosen, Filter)
    assert str(chosen).endswith(again)


def test_events_of_a_users_own_class_are_named() -> None:
    """Only its program has the class: whether it is told of a transition is known all the same."""
    bus = EventBus()
    bus.subscribe(heard, event_type=Arrived)
    (listener,) = recorded(bus)
    assert listener.event_type == f"{__name__}:Arrived"
    assert listener.filter() is None


def test_what_comes_and_goes_with_a_run_is_left_out() -> None:
    bus = EventBus()
    bus.subscribe(heard, run_id="00000000-0000-0000-0000-000000000001")
    bus.subscribe(heard, once=True)
    assert recorded(bus) == []
    bus.subscribe(heard, event_type=StateTransition)
    assert len(recorded(bus)) == 1


def test_a_text_that_is_no_set_is_refused() -> None:
    assert RecordedListener.read('{"hooks":[]}') == []
    for text in ("[]", '{"listeners":[{"odd":1}]}', '{"listeners":[1]}', "{"):
        with pytest.raises(ValueError, match=r"no set of listeners|Expecting"):
            RecordedListener.read(text)
