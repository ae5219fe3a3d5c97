"""States, their constructors, the legal transitions and what is kept of an exception."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eventflow import states
from eventflow.states import (
    LEGAL,
    TERMINAL,
    AnyState,
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    ErrorInfo,
    Failed,
    Late,
    NotReady,
    Paused,
    Pending,
    Scheduled,
    State,
    StateDetails,
    StateType,
    Suspended,
    aggregate,
)

CONSTRUCTORS = {
    "Scheduled": StateType.SCHEDULED,
    "Late": StateType.SCHEDULED,
    "AwaitingRetry": StateType.SCHEDULED,
    "Pending": StateType.PENDING,
    "NotReady": StateType.PENDING,
    "Running": StateType.RUNNING,
    "Retrying": StateType.RUNNING,
    "Completed": StateType.COMPLETED,
    "Cached": StateType.COMPLETED,
    "RolledBack": StateType.COMPLETED,
    "Failed": StateType.FAILED,
    "TimedOut": StateType.FAILED,
    "Crashed": StateType.CRASHED,
    "Cancelling": StateType.CANCELLING,
    "Cancelled": StateType.CANCELLED,
    "Paused": StateType.PAUSED,
    "Suspended": StateType.PAUSED,
}


def test_a_type_is_enough_to_make_a_state() -> None:
    """Name, id and timestamp follow from the type."""
    state: AnyState = State(type=StateType.FAILED)

    assert (state.name, state.message, state.data) == ("Failed", None, None)
    assert state.id.version == 7
    assert state.timestamp.tzinfo is not None


@pytest.mark.parametrize(("name", "kind"), CONSTRUCTORS.items())
def test_each_constructor_gives_its_state(name: str, kind: StateType) -> None:
    """A constructor has the name of the state it makes, which is a known name."""
    state = getattr(states, name)(message="why")

    assert (state.name, state.type, state.message) == (name, kind, "why")
    assert name in states.KNOWN_NAMES


def test_a_state_never_changes_and_can_be_a_key() -> None:
    """States are frozen and hash by their id."""
    state = Completed()
    with pytest.raises(ValidationError):
        state.name = "Other"  # type: ignore[misc]

    assert {state: 1}[state] == 1


def test_the_text_of_a_state() -> None:
    """The text has the name, the message, and the type where it is not that of the name."""
    assert str(Completed()) == "Completed()"
    assert str(Failed(message="no")) == "Failed('no')"
    assert str(Failed(name="Odd", message="no")) == "Odd('no', type=FAILED)"


def test_every_state_that_is_not_final_can_be_ended() -> None:
    """FAILED, CRASHED and CANCELLING can be entered from each; nothing follows a terminal type."""
    broken = {StateType.FAILED, StateType.CRASHED, StateType.CANCELLING}
    for kind in StateType:
        if kind in TERMINAL:
            assert not LEGAL[kind]
        else:
            assert broken <= LEGAL[kind]
    assert LEGAL[None] == {StateType.PENDING, StateType.SCHEDULED}


def test_several_states_are_combined() -> None:
    """Any cancelled, any paused, all completed, else failed; their data is what it is given."""
    problem = ValueError("no")
    failed, crashed = Failed(data=problem), Crashed()

    for members, name, message in (
        ([Completed(), Completed()], "Completed", "All states completed."),
        ([], "Completed", "All states completed."),
        ([failed, Cancelled(), Paused()], "Cancelled", "1/3 states cancelled."),
        ([failed, Paused(), Completed()], "Paused", "1/3 states paused."),
        ([Completed(), failed, crashed], "Failed", "2/3 states failed."),
        ([Completed(), NotReady(), NotReady()], "Failed", "2/3 states are not final."),
    ):
        state = aggregate(members, data=members)
        assert (state.name, state.message) == (name, message)
        assert state.data is members
    assert aggregate([Completed(), failed], data=()).error == failed.error


def test_a_constructor_takes_every_field() -> None:
    """Besides name, message and data these are the id, the time and a described error."""
    key, moment = uuid4(), datetime.now(UTC)
    error = ErrorInfo.of(ValueError("no"))
    for name, kind in CONSTRUCTORS.items():
        make = getattr(states, name)
        state = make(message="m", data=3, id=key, timestamp=moment, error=error)
        assert (state.type, state.name, state.message) == (kind, name, "m")
        assert (state.data, state.id, state.timestamp, state.error) == (3, key, moment, error)
        with pytest.raises(TypeError, match="'mesage'"):
            make(mesage="m")
    assert Pending(name="Odd").name == "Odd"


def test_when_something_is_to_happen() -> None:
    """A state knows for when it is scheduled, or until when it is paused."""
    moment = datetime(2026, 1, 31, tzinfo=UTC)

    for make in (Scheduled, Late, AwaitingRetry):
        assert make(scheduled_time=moment).state_details.scheduled_time == moment
        now = make()
        assert now.state_details.scheduled_time == now.timestamp
    for pause in (Paused, Suspended):
        state = pause(timeout_seconds=90)
        assert state.state_details.pause_timeout == state.timestamp + timedelta(seconds=90)
        assert pause().state_details == StateDetails()


def test_details_travel_with_a_copy() -> None:
    """They are in copies and pickles, and neither compared nor serialised."""
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    state = Scheduled(scheduled_time=moment)
    copies = [copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))]
    copies += [state.model_copy(), state.detached()]

    assert {copied.state_details.scheduled_time for copied in copies} == {moment}
    read: AnyState = State.model_validate_json(state.model_dump_json())
    assert read == state
    assert read.state_details == StateDetails()
    assert set(state.model_dump()) == set(read.model_dump())


def test_a_detached_state_has_no_live_data() -> None:
    """It has a description of an exception instead."""
    crashed: AnyState = State(type=StateType.CRASHED, data=KeyError("k"))
    plain = Completed()

    assert plain.detached() is plain
    assert Completed(data=object()).detached().data is None
    assert crashed.detached().data is None
    assert crashed.detached().error == ErrorInfo.of(KeyError("k"))


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_text_of_an_exception_breaks_its_state(text: str) -> None:
    """A message that cannot be encoded, as from a file's name, can be written as JSON."""
    state = Failed(message=text, data=ValueError(text))

    assert State.model_validate_json(state.model_dump_json()) == state.detached()


@pytest.mark.parametrize("kind", list(StateType))
def test_a_state_is_of_exactly_one_kind(kind: StateType) -> None:
    """One of its nine checks is true; `is_final` is that of the terminal types."""
    state: AnyState = State(type=kind)
    checks = {each: getattr(state, f"is_{each.value.lower()}") for each in StateType}
    assert [each for each, check in checks.items() if check()] == [kind]
    assert state.is_final() is (kind in TERMINAL)
    # A method is always true: a program for which these were properties would take every branch.
    for check in (*checks.values(), state.is_final):
        with pytest.raises(TypeError, match=r"State\.is_[a-z]+ is a method: call it"):
            bool(check)
