"""Drafts: a state that is entered is made in full when somebody looks, once, and in order."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflow.errors import UnfinishedRun
from eventflow.runs.lazy_states import LazyState
from eventflow.states import State, StateType, stated


def test_a_draft_becomes_the_state_that_it_says() -> None:
    """Type, name, message and data are the draft's; the state is one that pydantic would make."""
    draft = LazyState(StateType.RUNNING, "Retrying", "once more", 7)
    state = draft.state
    assert isinstance(state, State)
    assert (state.type, state.name, state.message) == (StateType.RUNNING, "Retrying", "once more")
    assert (state.data, state.error) == (7, None)
    assert State.model_validate(state.model_dump()) == state.detached()


def test_the_state_of_a_draft_is_always_the_same() -> None:
    """Whoever looks, however often, sees one state, with one id."""
    draft = LazyState(StateType.PENDING, "Pending")
    assert draft.state is draft.state
    assert draft.state.id.int == draft.number
    assert draft.state.id.version == 7


def test_a_state_is_as_old_as_its_draft() -> None:
    """It was entered when the draft was made, not when somebody looked."""
    before = datetime.now(UTC)
    draft = LazyState(StateType.PENDING, "Pending")
    after = datetime.now(UTC)
    looked = draft.timestamp
    # A state's time is in whole microseconds, a draft's in nanoseconds.
    assert before - timedelta(microseconds=1) <= looked <= after
    assert looked.tzinfo is UTC


@given(st.integers(0, 2**32 * 10**9))
def test_the_time_of_a_state_is_exact(at: int) -> None:
    """To the microsecond, in which nothing is rounded up, whatever the moment."""
    with patch("eventflow.runs.lazy_states.time_ns", return_value=at):
        draft = LazyState(StateType.PENDING, "Pending")
    since = draft.state.timestamp - datetime.fromtimestamp(0, UTC)
    assert since // timedelta(microseconds=1) == at // 1000


def test_ids_are_drawn_in_the_order_of_asking() -> None:
    """The id of a state that nobody has asked for is not drawn yet."""
    first, second = LazyState(StateType.PENDING, "Pending"), LazyState(StateType.RUNNING, "Running")
    assert first.number < second.number


def test_threads_that_look_at_once_see_one_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are in the midst of making it; the first that is done is the state for both."""
    both = threading.Barrier(2)
    real = stated

    def slow(*args: object, **kwargs: object) -> object:
        both.wait(60)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("eventflow.runs.lazy_states.stated", slow)
    draft = LazyState(StateType.PENDING, "Pending")
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(draft.state)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_the_result_of_a_draft_is_that_of_its_state() -> None:
    """A completed one gives its data; another says that the run has not ended."""
    completed = LazyState(StateType.COMPLETED, "Completed", None, 7)
    assert completed.result() == completed.state.result() == 7
    assert (completed.is_completed, completed.is_failed) == (True, False)
    with pytest.raises(UnfinishedRun):
        LazyState(StateType.RUNNING, "Running").result()
