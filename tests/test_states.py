"""States, their constructors, the legal transitions and what is kept of an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eventflow import states
from eventflow.errors import CancelledRun, CrashedRun, FailedRun, UnfinishedRun
from eventflow.states import (
    LEGAL,
    TERMINAL,
    AnyState,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    ErrorInfo,
    Failed,
    State,
    StateType,
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


def test_a_result_is_returned_or_its_error_raised() -> None:
    """Each type of state but COMPLETED raises an error of its own."""
    problem = ValueError("no")

    assert Completed(data=3).result() == 3
    with pytest.raises(ValueError, match="no") as raised:
        Failed(data=problem).result()
    assert raised.value is problem
    for state, error in (
        (Failed(message="m"), FailedRun),
        (Crashed(message="m", data=SystemExit(3)), CrashedRun),
        (Cancelled(message="m"), CancelledRun),
        (Cancelling(message="m"), CancelledRun),
        (states.Running(message="m"), UnfinishedRun),
    ):
        with pytest.raises(error, match="m"):
            state.result()
        assert isinstance(state.result(raise_on_failure=False), error)


def test_the_cause_of_a_crash_is_kept() -> None:
    """What ended the run is the cause of the error that its result raises."""
    exit_ = SystemExit(3)

    assert Crashed(data=exit_).result(raise_on_failure=False).__cause__ is exit_


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
    """All completed, any cancelled, else failed with the first failure's exception."""
    problem = ValueError("no")

    assert aggregate([Completed(), Completed()], data=[1]).result() == [1]
    assert aggregate([]).is_completed()
    assert aggregate([Failed(), Cancelled()]).is_cancelled()
    failed = aggregate([Completed(), Failed(data=problem), Crashed()])
    assert failed.is_failed()
    assert failed.data is problem
    assert failed.message == "2 of 3 states did not complete."


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
