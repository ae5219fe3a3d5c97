"""Lazy states: built when they are first read, once, with ids that follow from their run."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import UnfinishedRun
from eventflow.primitives.ids import event_number
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.states import AnyState, Completed, State, StateType
from eventflow.states.state import make_state


class Entering:
    """A run, as far as its states know it."""

    run_type: ClassVar[Literal["flow", "task"]] = "task"
    number = 7
    flow_run_id: UUID | None = None
    cache_key: str | None = "key"


def built(lazy: LazyState) -> AnyState:
    return lazy.state_of(Entering())


def test_a_lazy_state_builds_the_state_that_it_describes() -> None:
    """It has the same type, name, message and data, and is as pydantic would make it."""
    lazy = LazyState(StateType.RUNNING, "Retrying", "once more", 7)
    state = built(lazy)
    assert isinstance(state, State)
    assert (state.type, state.name, state.message) == (StateType.RUNNING, "Retrying", "once more")
    assert (state.data, state.error) == (7, None)
    assert State.model_validate(state.model_dump()) == state.detached()


def test_the_state_of_a_lazy_state_is_built_once() -> None:
    """However often it is read, it is one state, with one id."""
    lazy = LazyState(StateType.PENDING, "Pending")
    assert built(lazy) is built(lazy)
    assert built(lazy).id.int == lazy.number_in(Entering())
    assert built(lazy).id.version == 7


def test_a_state_has_the_time_of_its_lazy_state() -> None:
    """It was entered when the lazy state was made, not when it was read."""
    before = datetime.now(UTC)
    lazy = LazyState(StateType.PENDING, "Pending")
    after = datetime.now(UTC)
    timestamp = lazy.timestamp
    # A state's time is in whole microseconds, that of a lazy state in nanoseconds.
    assert before - timedelta(microseconds=1) <= timestamp <= after
    assert timestamp.tzinfo is UTC


@given(st.integers(0, 2**32 * 10**9))
def test_the_time_of_a_state_is_exact(at: int) -> None:
    """To the microsecond, in which nothing is rounded up, whatever the moment."""
    with patch("eventflow.runs.lazy_states.time_ns", return_value=at):
        lazy = LazyState(StateType.PENDING, "Pending")
    since = built(lazy).timestamp - datetime.fromtimestamp(0, UTC)
    assert since // timedelta(microseconds=1) == at // 1000


def test_the_id_of_an_entered_state_follows_from_its_run() -> None:
    """And from its sequence, unless it was asked for its id, or built, before it was entered."""
    entered, asked = (LazyState(StateType.PENDING, "Pending") for _ in range(2))
    drawn = asked.number_in(Entering())
    own = Completed()
    known = BuiltState(own)
    for state in (entered, asked, known):
        state.sequence = 3
    assert built(entered).id.int == event_number(Entering.number, 3)
    assert built(asked).id.int == drawn != event_number(Entering.number, 3)
    assert known.number_in(Entering()) == own.id.int


def test_threads_that_read_at_once_get_one_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both build it; the one that is built first is the state for both."""
    both = threading.Barrier(2)
    build = make_state

    def slow(*args: object, **kwargs: object) -> object:
        both.wait(60)
        return build(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("eventflow.runs.lazy_states.make_state", slow)
    lazy = LazyState(StateType.PENDING, "Pending")
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(built(lazy))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_the_result_of_a_lazy_state_is_that_of_its_state() -> None:
    """A completed one returns its data; one that has not ended raises."""
    completed = LazyState(StateType.COMPLETED, "Completed", None, 7)
    assert completed.result_of(Entering()) == built(completed).result() == 7
    with pytest.raises(UnfinishedRun):
        LazyState(StateType.RUNNING, "Running").result_of(Entering())


def test_a_state_knows_the_run_that_enters_it() -> None:
    """One that was built before knows it when it is read; reading it again changes nothing."""
    state = Completed()
    assert set(state.state_details) == {None}
    entered = BuiltState(state)
    assert entered.state_of(Entering()) is state
    for known in (state, built(LazyState(StateType.RUNNING, "Running"))):
        details = known.state_details
        assert details.task_run_id is not None
        assert (details.task_run_id.int, details.cache_key) == (7, "key")
    assert entered.timestamp == state.timestamp
