"""The result of a state, and the exception that it stands for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventflow.errors import CancelledRun, CrashedRun, FailedRun, PausedRun, UnfinishedRun
from eventflow.states import (
    AnyState,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    NotReady,
    Paused,
    Running,
    get_state_exception,
    raise_state_exception,
)

BROKEN = pytest.mark.parametrize("make", [Failed, Crashed, Cancelled])
ERRORS = {Failed: FailedRun, Crashed: CrashedRun, Cancelled: CancelledRun}


def error_of(function: Callable[[], object]) -> BaseException:
    try:
        given = function()
    except BaseException as error:
        return error
    raise AssertionError(given)


def raised_by(state: AnyState) -> BaseException:
    """Return what the result raises, upon which all that gives the exception agrees."""
    error = error_of(state.result)
    others = [error_of(lambda: asyncio.run(state.aresult()))]
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        others += [error_of(lambda: raise_state_exception(state)), get_state_exception(state)]
    assert {(type(other), str(other)) for other in others} == {(type(error), str(error))}

    return error


def test_the_result_of_a_completed_run() -> None:
    """It is the data, whatever that is; there is no exception to raise."""
    for data in (3, None, ValueError("a value"), [Failed()]):
        state = Completed(data=data)
        assert state.result() is data
        assert state.result(raise_on_failure=False) is data
        assert asyncio.run(state.aresult()) is data
        raise_state_exception(state)
    with pytest.raises(ValueError, match=r"Only a failed, .* not Completed\(\)"):
        get_state_exception(Completed())


@BROKEN
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, BaseException])
def test_an_exception_is_raised_itself(make: Any, kind: type[BaseException]) -> None:
    """Of a failed, a crashed and a cancelled run; it is given as it is if that is wished."""
    problem = kind("no")
    state = make(data=problem, message="why")

    assert raised_by(state) is problem
    assert state.result(raise_on_failure=False) is problem
    assert get_state_exception(state) is problem


@pytest.mark.parametrize("kind", [GeneratorExit, asyncio.CancelledError])
def test_what_ends_other_code_is_the_cause(kind: type[BaseException]) -> None:
    """Raised where the result is asked for, it would end what asks."""
    problem = kind()
    error = raised_by(Crashed(data=problem))

    assert type(error) is CrashedRun
    assert error.__cause__ is problem


@BROKEN
def test_a_text_is_the_message(make: Any) -> None:
    """Text as data comes before the message of the state; without both there is one by default."""
    error = ERRORS[make]
    for state, text in (
        (make(data="because", message="m"), "because"),
        (make(message="m"), "m"),
        (make(data={"rows": 3}, message="too few"), "too few"),
        (make(), f"The run is {make().name}."),
    ):
        raised = raised_by(state)
        assert (type(raised), str(raised)) == (error, text)
    assert make(data="because").result(raise_on_failure=False) == "because"
    assert make(data={"rows": 3}, message="m").result(raise_on_failure=False) == {"rows": 3}
    assert type(make(message="m").result(raise_on_failure=False)) is error


@BROKEN
def test_data_that_is_no_exception(make: Any) -> None:
    """Without a message there is nothing to raise, and it is said what to give."""
    with pytest.raises(TypeError, match=r"int cannot be resolved into an exception: give"):
        make(data=2).result()
    assert make(data=2).result(raise_on_failure=False) == 2


@BROKEN
def test_nested_states_are_followed_to_the_first_failure(make: Any) -> None:
    """Through states, and through lists, tuples and sets of them, at any depth."""
    first, second = ValueError("first"), ValueError("second")
    inner = [Completed(data=second), Failed(data=first), Failed(data=second)]

    assert raised_by(make(data=Failed(data=first))) is first
    for collection in (inner, tuple(inner), {inner[1]}, [Completed(), Crashed(data=inner)]):
        state = make(data=collection, message="1/2 states failed.")
        assert raised_by(state) is first
        assert state.result(raise_on_failure=False) is collection


@BROKEN
def test_nested_states_of_which_none_failed(make: Any) -> None:
    """One that has not ended is told of; where all completed there is no exception."""
    state = make(data=[Completed(), NotReady(message="the upstream failed")])
    assert (type(raised_by(state)), str(raised_by(state))) == (UnfinishedRun, "the upstream failed")
    with pytest.raises(ValueError, match=r"of the states that are its data none failed"):
        make(data=[Completed(), Completed(data=ValueError())]).result()


def test_runs_without_a_result() -> None:
    """One that has not ended, or is paused, has neither result nor data to give."""
    for state, error in ((Running(), UnfinishedRun), (Paused(), PausedRun)):
        assert type(raised_by(state)) is error
        with pytest.raises(error, match="its result is not available"):
            state.result(raise_on_failure=False)
    assert type(raised_by(Cancelling(message="m"))) is CancelledRun


def test_awaiting_a_plain_call_says_what_to_write() -> None:
    """`result` is no coroutine; what it returns may be one, and is then awaited as usual."""

    async def main() -> None:
        state = Completed(data=3)
        with pytest.raises(TypeError, match=r"State\.result\(\) .* `await state\.aresult\(\)`"):
            await state.result()
        with pytest.raises(TypeError, match=r"leave the `await` out, or"):
            await state.result(raise_on_failure=False)
        with pytest.raises(TypeError, match=r"raise_state_exception\(\) .* leave the `await` out"):
            await raise_state_exception(state)  # type: ignore[func-returns-value, misc]
        with pytest.raises(TypeError, match=r"get_state_exception\(\) .* leave the `await` out"):
            await get_state_exception(Failed())  # type: ignore[misc]
        with pytest.raises(FailedRun, match="bad"):
            await Failed(message="bad").result()
        assert await Completed(data=asyncio.sleep(0, 4)).result() == 4
        assert [state.result(), await asyncio.to_thread(state.result)] == [3, 3]

    asyncio.run(main())
