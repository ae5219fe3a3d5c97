"""The states that runs entered, as the captured events show them."""

from __future__ import annotations

from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition

__all__ = ["checked_state_names", "state_names"]


def state_names(events: list[Event], name: str = "work") -> list[str]:
    """Return the names of the states that the runs of a definition entered."""
    return [event.to_state.name for event in _transitions(events, name)]


def checked_state_names(events: list[Event], name: str = "work") -> list[str]:
    """Return the names of the states that the only run of a definition entered.

    Every published transition is checked: numbered without a gap, each following the last.
    """
    transitions = _transitions(events, name)
    last: StateTransition | None = None
    for number, event in enumerate(transitions):
        assert event.sequence == number
        assert event.id == event.to_state.id
        assert event.run_id == transitions[0].run_id
        assert event.follows == (None if last is None else last.id)
        assert event.from_state == (None if last is None else last.to_state)
        assert event.occurred == event.to_state.timestamp
        assert last is None or event.occurred >= last.occurred
        assert event.type == f"eventflow.{event.run_type}-run.{event.to_state.name}"
        assert isinstance(
            event, FlowRunTransition if event.run_type == "flow" else TaskRunTransition
        )
        assert type(event).model_validate_json(event.model_dump_json()) == event
        last = event

    return [event.to_state.name for event in transitions]


def _transitions(events: list[Event], name: str) -> list[StateTransition]:
    return [
        event
        for event in events
        if isinstance(event, StateTransition) and event.definition_name == name
    ]
