"""What happens when: every row of the design's two tables, for flows and tasks, sync and async."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from eventflow import bus, flow, task
from eventflow.errors import CancelledRun, TerminationSignal, UnfinishedRun
from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition
from eventflow.states import (
    AnyState,
    Cancelled,
    Cancelling,
    Completed,
    Crashed,
    Failed,
    Running,
    StateType,
)


class Kind(NamedTuple):
    """One of the four kinds of run, and how to declare and execute one."""

    run_type: str
    is_async: bool

    def declare(self, body: Callable[..., Any], **options: Any) -> Any:
        """Make a definition named `work` of a body."""
        options.setdefault("name", "work")
        decorate = flow if self.run_type == "flow" else task
        if not self.is_async or inspect.iscoroutinefunction(body):
            return decorate(**options)(body)

        async def abody(number: int = 0) -> Any:
            result = body(number) if inspect.signature(body).parameters else body()
            return await result if inspect.isawaitable(result) else result

        return decorate(**options)(abody)

    def execute(self, definition: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the definition."""
        called = definition(*args, **kwargs)
        return asyncio.run(_awaited(called)) if self.is_async else called

    def state(self, definition: Any, *args: Any, **kwargs: Any) -> AnyState:
        """Call the definition for its state."""
        state: AnyState = self.execute(definition, *args, return_state=True, **kwargs)
        return state

    def stand_still(self) -> Awaitable[None] | None:
        """Wait, in a body, for what never comes."""
        if self.is_async:
            return asyncio.sleep(3600)
        threading.Event().wait(3600)
        return None


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


KINDS = [Kind(run_type, way) for run_type in ("flow", "task") for way in (False, True)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{'async ' * kind.is_async}{kind.run_type}")
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def course(events: list[Event], name: str = "work") -> list[str]:
    """Give the names of the states that the one run of that name went through.

    Every published transition is checked: numbered without a gap, each following the last.
    """
    transitions = [
        event
        for event in events
        if isinstance(event, StateTransition) and event.definition_name == name
    ]
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


def raising(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


def test_completed(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that returns completes its run."""
    assert kind.execute(kind.declare(lambda: 7)) == 7
    assert course(eventflow_events) == ["Pending", "Running", "Completed"]


def test_failed(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that raises any Exception fails its run, and the caller gets that exception."""
    error = LookupError("nothing there")
    with pytest.raises(LookupError) as caught:
        kind.execute(kind.declare(raising(error)))

    assert caught.value is error
    assert course(eventflow_events) == ["Pending", "Running", "Failed"]
    last = eventflow_events[-1]
    assert isinstance(last, StateTransition)
    assert last.to_state.message == "The body raised LookupError: nothing there"
    assert last.to_state.error is not None
    assert last.to_state.error.type == "LookupError"
    assert "raise error" in last.to_state.error.traceback


def test_a_timeout_error_of_the_body_is_a_plain_failure(
    kind: Kind, eventflow_events: list[Event]
) -> None:
    """A TimeoutError that the body raises itself is Failed, not TimedOut."""
    state = kind.state(kind.declare(raising(TimeoutError("mine")), timeout_seconds=60))

    assert (state.name, state.type) == ("Failed", StateType.FAILED)
    assert course(eventflow_events) == ["Pending", "Running", "Failed"]


@pytest.mark.parametrize("delay", [None, 0, 0.001])
def test_retry(kind: Kind, delay: float | None, eventflow_events: list[Event]) -> None:
    """Between two attempts lie AwaitingRetry and Retrying, with and without a delay."""
    failures = [ValueError("first"), ValueError("second")]

    def body() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    assert kind.execute(kind.declare(body, retries=3, retry_delay_seconds=delay)) == "done"
    assert course(eventflow_events) == [
        *("Pending", "Running"),
        *("AwaitingRetry", "Retrying"),
        *("AwaitingRetry", "Retrying"),
        "Completed",
    ]
    counts = [event.run_count for event in eventflow_events if isinstance(event, StateTransition)]
    assert counts == [0, 1, 1, 2, 2, 3, 3]


def test_retries_used_up(kind: Kind, eventflow_events: list[Event]) -> None:
    """on_failure runs once, after the last retry."""
    seen: list[tuple[int, str]] = []
    hooks = [lambda definition, run, state: seen.append((run.run_count, state.name))]
    state = kind.state(kind.declare(raising(ValueError()), retries=1, on_failure=hooks))

    assert state.is_failed
    assert seen == [(2, "Failed")]
    assert course(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Failed",
    ]


def test_timeout(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that exceeds the run's own timeout ends TimedOut, of type FAILED."""
    definition = kind.declare(kind.stand_still, timeout_seconds=0.02)
    state = kind.state(definition)

    assert (state.name, state.type) == ("TimedOut", StateType.FAILED)
    assert course(eventflow_events) == ["Pending", "Running", "TimedOut"]
    with pytest.raises(TimeoutError, match=r"did not end within its timeout of 0\.02 s"):
        state.result()


def test_timeout_is_retried(kind: Kind, eventflow_events: list[Event]) -> None:
    """A timeout is retried like any failure, and each attempt has the whole time."""
    attempts: list[int] = []

    def body() -> Any:
        attempts.append(1)
        return kind.stand_still() if len(attempts) == 1 else "in time"

    assert kind.execute(kind.declare(body, timeout_seconds=0.05, retries=1)) == "in time"
    assert course(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_cached(is_async: bool, eventflow_events: list[Event]) -> None:
    """A task whose result is known goes from Pending to Cached, of type COMPLETED."""
    kind = Kind("task", is_async)
    calls: list[int] = []

    def body() -> int:
        calls.append(1)
        return 7

    cached = kind.declare(body, cache_key_fn=lambda context, given: "key")

    assert kind.execute(cached) == 7
    assert course(eventflow_events) == ["Pending", "Running", "Completed"]
    eventflow_events.clear()
    state = kind.state(cached)

    assert (state.name, state.type, state.result()) == ("Cached", StateType.COMPLETED, 7)
    assert course(eventflow_events) == ["Pending", "Cached"]
    assert calls == [1]


def test_cancelled_while_running(kind: Kind, eventflow_events: list[Event]) -> None:
    """What eventflow is asked to cancel goes through Cancelling to Cancelled."""
    bus.subscribe(lambda event: event.run.cancel(), state="Running", name="work")
    definition = kind.declare(kind.stand_still)
    with pytest.raises(CancelledRun):
        kind.execute(definition)

    assert course(eventflow_events) == ["Pending", "Running", "Cancelling", "Cancelled"]


def test_cancelled_before_it_began(kind: Kind, eventflow_events: list[Event]) -> None:
    """A run that is cancelled while Pending never runs its body."""
    bus.subscribe(lambda event: event.run.cancel(), state="Pending", name="work")
    called: list[int] = []
    state = kind.state(kind.declare(lambda: called.append(1)))

    assert state.is_cancelled
    assert not called
    assert course(eventflow_events) == ["Pending", "Cancelling", "Cancelled"]


def test_cancelled_while_awaiting_retry(kind: Kind, eventflow_events: list[Event]) -> None:
    """A cancellation ends the delay before a retry."""
    bus.subscribe(lambda event: event.run.cancel(), state="AwaitingRetry", name="work")
    state = kind.state(kind.declare(raising(ValueError()), retries=1, retry_delay_seconds=3600))

    assert state.is_cancelled
    assert course(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Cancelling",
        "Cancelled",
    ]


@pytest.mark.parametrize("make", [Cancelling, Cancelled])
def test_a_body_returns_its_cancellation(
    kind: Kind, make: Callable[..., AnyState], eventflow_events: list[Event]
) -> None:
    """A body that returns Cancelling or Cancelled takes the road of a cancellation."""
    seen: list[str] = []
    hooks = [lambda definition, run, state: seen.append(state.name)]
    state = kind.state(
        kind.declare(lambda: make(message="enough"), on_cancellation=hooks, retries=2)
    )

    assert (state.name, state.message) == ("Cancelled", "enough")
    assert course(eventflow_events) == ["Pending", "Running", "Cancelling", "Cancelled"]
    assert seen == ["Cancelling"]


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), TerminationSignal()], ids=repr
)
def test_crashed(kind: Kind, error: BaseException, eventflow_events: list[Event]) -> None:
    """An exit or an interrupt crashes the run, runs its hooks, and goes on its way."""
    seen: list[str] = []
    hooks = [lambda definition, run, state: seen.append(state.name)]
    with pytest.raises(type(error)) as caught:
        kind.execute(kind.declare(raising(error), retries=2, on_crashed=hooks))

    assert caught.value is error
    assert seen == ["Crashed"]
    assert course(eventflow_events) == ["Pending", "Running", "Crashed"]


@pytest.mark.parametrize("run_type", ["flow", "task"])
def test_cancelled_from_outside(run_type: str, eventflow_events: list[Event]) -> None:
    """asyncio's cancellation of the task that executes a run crashes the run."""
    kind = Kind(run_type, is_async=True)
    definition = kind.declare(kind.stand_still)

    async def main() -> None:
        running = asyncio.ensure_future(definition())
        await bus.wait_for(state="Running", timeout=5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert running.cancelled()

    asyncio.run(main())
    assert course(eventflow_events) == ["Pending", "Running", "Crashed"]


def test_a_body_that_raises_generator_exit(kind: Kind, eventflow_events: list[Event]) -> None:
    """A GeneratorExit out of a plain body crashes the run, also with tasks still open."""
    body = raising(GeneratorExit())
    with pytest.raises(GeneratorExit):
        kind.execute(kind.declare(body))

    assert course(eventflow_events) == ["Pending", "Running", "Crashed"]
    last = eventflow_events[-1]
    assert isinstance(last, StateTransition)
    assert last.to_state.message == "The run was ended by GeneratorExit."


@pytest.mark.parametrize("run_type", ["flow", "task"])
def test_a_broken_driver(run_type: str, eventflow_events: list[Event]) -> None:
    """A coroutine that is closed while its body waits crashes the run."""
    kind = Kind(run_type, is_async=True)

    async def main() -> None:
        coroutine = kind.declare(kind.stand_still)()
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert course(eventflow_events) == ["Pending", "Running", "Crashed"]


def test_bad_arguments(kind: Kind, eventflow_events: list[Event]) -> None:
    """Arguments that do not fit the signature fail the run before its body."""
    state = kind.state(kind.declare(lambda number: number), 1, 2, 3, retries=2)

    assert state.is_failed
    assert course(eventflow_events) == ["Pending", "Failed"]
    assert "cannot be called with 3 positional argument(s)" in (state.message or "")


def test_upstream_failed(kind: Kind, eventflow_events: list[Event]) -> None:
    """A run whose upstream did not complete becomes NotReady and gives no result."""
    definition = kind.declare(lambda: 1)
    with pytest.raises(UnfinishedRun, match=r"An upstream run did not complete: Failed"):
        kind.execute(definition, wait_for=[Failed()])

    assert course(eventflow_events) == ["Pending", "NotReady"]


@pytest.mark.parametrize("state", [Completed(data=1), Failed(message="m"), Crashed(message="m")])
def test_a_body_returns_a_state(kind: Kind, state: AnyState, eventflow_events: list[Event]) -> None:
    """A body that returns a state gives its run that state, as an entry of its own."""
    ended = kind.state(kind.declare(lambda: state))

    assert (ended.name, ended.message, ended.data) == (state.name, state.message, state.data)
    assert ended.id != state.id
    assert course(eventflow_events) == ["Pending", "Running", state.name]


def test_a_body_returns_a_state_of_its_own_name(kind: Kind, eventflow_events: list[Event]) -> None:
    """A custom name of a terminal type is kept."""
    ended = kind.state(kind.declare(lambda: Completed(name="Skipped", data=2)))

    assert (ended.name, ended.result()) == ("Skipped", 2)
    assert course(eventflow_events) == ["Pending", "Running", "Skipped"]


def test_a_body_returns_a_state_that_ends_nothing(
    kind: Kind, eventflow_events: list[Event]
) -> None:
    """A state that cannot end a run fails it, and says so."""
    ended = kind.state(kind.declare(lambda: [Running()][0]))

    assert ended.message == "The body returned the state Running(), which does not end a run."
    assert course(eventflow_events) == ["Pending", "Running", "Failed"]


def test_a_returned_failure_is_retried(kind: Kind, eventflow_events: list[Event]) -> None:
    """A body that returns a failed state is retried like one that raises."""
    states = [Failed(message="not yet"), Completed(data="now")]

    assert kind.execute(kind.declare(lambda: states.pop(0), retries=1)) == "now"
    assert course(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Completed",
    ]


def test_times_are_set_before_terminal_hooks(kind: Kind) -> None:
    """A terminal hook finds the run's end and its total time."""
    seen: list[Any] = []

    def look(definition: Any, run: Any, state: AnyState) -> None:
        seen.append((run.start_time, run.end_time, run.total_run_time, state))

    kind.execute(kind.declare(lambda: 1, on_completion=[look]))
    ((start, end, total, state),) = seen
    assert start <= end == state.timestamp
    assert 0 <= total.total_seconds() < 60


def test_hooks_run_outside_of_the_timeout(kind: Kind) -> None:
    """A hook that takes longer than the run may is not cut short."""
    done: list[str] = []

    def slow(definition: Any, run: Any, state: AnyState) -> None:
        threading.Event().wait(0.05)
        done.append(state.name)

    kind.execute(
        kind.declare(lambda: 1, timeout_seconds=0.02, on_running=[slow], on_completion=[slow])
    )
    assert done == ["Running", "Completed"]


# -- retry conditions ---------------------------------------------------------------------------


async def _acondition(definition: Any, run: Any, state: AnyState) -> bool:
    return isinstance(state.data, ValueError)


@pytest.mark.parametrize(
    "condition", [_acondition, lambda definition, run, state: isinstance(state.data, ValueError)]
)
@pytest.mark.parametrize("is_async", [False, True])
def test_retry_condition(
    is_async: bool, condition: Callable[..., object], eventflow_events: list[Event]
) -> None:
    """A condition, sync or async, decides from the failed state whether there is a retry."""
    kind = Kind("task", is_async)
    errors: list[Exception] = [ValueError(), KeyError()]

    def body() -> None:
        raise errors.pop(0)

    state = kind.state(kind.declare(body, retries=5, retry_condition_fn=condition))
    assert isinstance(state.data, KeyError)
    assert course(eventflow_events) == [
        "Pending",
        "Running",
        "AwaitingRetry",
        "Retrying",
        "Failed",
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_condition_that_raises(
    is_async: bool, eventflow_events: list[Event], caplog: pytest.LogCaptureFixture
) -> None:
    """A condition that raises means no retry, and is logged."""
    kind = Kind("task", is_async)

    def condition(*given: Any) -> bool:
        raise RuntimeError("broken condition")

    state = kind.state(kind.declare(raising(ValueError()), retries=5, retry_condition_fn=condition))
    assert state.is_failed
    assert course(eventflow_events) == ["Pending", "Running", "Failed"]
    assert "The retry condition failed; no retry" in caplog.text
    assert "broken condition" in caplog.text


# -- nesting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", KINDS, ids=str)
@pytest.mark.parametrize("inner", KINDS, ids=str)
def test_nesting(outer: Kind, inner: Kind, eventflow_events: list[Event]) -> None:
    """A run within a run knows its parent, its flow run and the root, in every combination."""
    leaf = inner.declare(lambda: 1, name="leaf")
    around = flow(name="root")

    def body() -> Any:
        if inner.is_async and not outer.is_async:
            return asyncio.run(leaf())
        return leaf()

    middle = outer.declare(body, name="middle")
    if outer.is_async:

        async def aroot() -> Any:
            return await middle()

        result = asyncio.run(around(aroot)())
    else:
        result = around(middle)()

    assert result == 1
    firsts: dict[str, StateTransition] = {}
    for event in eventflow_events:
        assert isinstance(event, StateTransition)
        firsts.setdefault(event.definition_name, event)
    root, mid, end = firsts["root"], firsts["middle"], firsts["leaf"]
    assert (root.parent_run_id, root.flow_run_id) == (None, root.run_id)
    assert mid.parent_run_id == root.run_id
    assert end.parent_run_id == mid.run_id
    assert {event.root_flow_run_id for event in (root, mid, end)} == {root.run_id}
    assert mid.flow_run_id == (mid.run_id if outer.run_type == "flow" else root.run_id)
    assert end.flow_run_id == (end.run_id if inner.run_type == "flow" else mid.flow_run_id)
    for name in ("root", "middle", "leaf"):
        assert course(eventflow_events, name) == ["Pending", "Running", "Completed"]
    ended = [
        event.definition_name
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.to_state.is_final
    ]
    assert ended == ["leaf", "middle", "root"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_cancelled_flow_was_in_is_cancelled(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """Cancelling a flow cancels the runs within it, from the inside out."""
    kind = Kind("flow", is_async)
    inner = Kind("task", is_async).declare(kind.stand_still, name="inner")
    outer: Any = None
    bus.subscribe(lambda event: outer.cancel(), state="Running", name="inner")

    def remember(definition: Any, run: Any, state: AnyState) -> None:
        nonlocal outer
        outer = run

    state = kind.state(kind.declare(inner, on_running=[remember]))
    assert state.is_cancelled
    assert course(eventflow_events) == ["Pending", "Running", "Cancelling", "Cancelled"]
    assert course(eventflow_events, "inner") == ["Pending", "Running", "Cancelling", "Cancelled"]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_runs_in_a_flow_that_times_out_is_cancelled(
    is_async: bool, eventflow_events: list[Event]
) -> None:
    """The timeout of a flow cancels the run within it and is itself TimedOut."""
    kind = Kind("flow", is_async)
    inner = Kind("task", is_async).declare(kind.stand_still, name="inner")
    state = kind.state(kind.declare(inner, timeout_seconds=0.05))

    assert state.name == "TimedOut"
    assert course(eventflow_events) == ["Pending", "Running", "TimedOut"]
    assert course(eventflow_events, "inner") == ["Pending", "Running", "Cancelling", "Cancelled"]


def test_a_timeout_in_another_thread(eventflow_events: list[Event]) -> None:
    """A sync run is stopped by its timeout in a thread that is not the main one, too."""
    import contextvars

    def body() -> None:
        turns = threading.Event()
        while not turns.wait(0.001):
            pass

    stuck = flow(name="work", timeout_seconds=0.05)(body)
    states: list[AnyState] = []
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: states.append(context.run(lambda: stuck(return_state=True)))
    )
    thread.start()
    thread.join(30)

    assert [state.name for state in states] == ["TimedOut"]
    assert course(eventflow_events) == ["Pending", "Running", "TimedOut"]


# -- what a hook lets through -------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Pending", "Running", "Completed"])
def test_an_interrupt_in_a_hook(kind: Kind, state: str, eventflow_events: list[Event]) -> None:
    """An exit in a hook propagates once the remaining hooks have run and the run has ended."""
    seen: list[str] = []
    definition = kind.declare(lambda: 1)

    @definition.on(state)
    def leave(definition: Any, run: Any, state: AnyState) -> None:
        raise SystemExit(4)

    @definition.on(state, "Crashed")
    def later(definition: Any, run: Any, state: AnyState) -> None:
        seen.append(state.name)

    with pytest.raises(SystemExit):
        kind.execute(definition)
    if state == "Completed":
        assert course(eventflow_events) == ["Pending", "Running", "Completed"]
        assert seen == ["Completed"]
    else:
        assert course(eventflow_events)[-1] == "Crashed"
        assert seen == [state, "Crashed"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_cancelled_while_its_key_is_made(
    is_async: bool, kept: bool, eventflow_events: list[Event]
) -> None:
    """A cancellation wins over a cached result, and over a body that has not begun."""
    kind = Kind("task", is_async)

    def key_fn(context: Any, parameters: Any) -> str:
        if ready:
            context.run.cancel()
        return "key" if kept else "other"

    ready = False
    definition = kind.declare(lambda: 1, cache_key_fn=key_fn)
    if kept:
        kind.execute(definition)
        eventflow_events.clear()
    ready = True
    assert kind.state(definition).is_cancelled
    assert course(eventflow_events) == ["Pending", "Cancelling", "Cancelled"]


def test_a_body_that_swallows_its_cancellation(eventflow_events: list[Event]) -> None:
    """A body that returns although it was told to stop is cancelled all the same."""
    bus.subscribe(lambda event: event.run.cancel(), state="Running", name="work")

    async def body() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "swallowed"
        return "slept"

    state = Kind("flow", is_async=True).state(flow(name="work")(body))
    assert state.is_cancelled
    assert course(eventflow_events) == ["Pending", "Running", "Cancelling", "Cancelled"]
