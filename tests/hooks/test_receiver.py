"""Running hooks: every kind of callable, timeouts, retries, isolation, outcomes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from eventflow import Event, Hook, State, bus, flow, get_run_logger, hook, runtime, task
from eventflow.context import current_run
from eventflow.events import HookDeadLettered, HookFailed, HookOutcome, HookSucceeded
from eventflow.hooks.receiver import redeliver
from eventflow.primitives.ids import delivery_id
from eventflow.runs.run import TaskRun, Transition
from eventflow.states import Completed, Pending, Running
from eventflow.testing import Isolated

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

Call = tuple[str, str, str]
calls: list[Call] = []


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()


def record(definition: Any, run: Any, state: State[Any]) -> None:
    calls.append((definition.name, run.task_name, state.name))


async def arecord(definition: Any, run: Any, state: State[Any]) -> None:
    await asyncio.sleep(0)
    record(definition, run, state)


class Caller:
    def __call__(self, *args: Any) -> None:
        record(*args)

    def method(self, *args: Any) -> None:
        record(*args)

    async def amethod(self, *args: Any) -> None:
        await arecord(*args)


class AsyncCaller:
    async def __call__(self, *args: Any) -> None:
        await arecord(*args)


KINDS: dict[str, Callable[..., Any]] = {
    "function": record,
    "async function": arecord,
    "lambda": lambda *args: record(*args),  # noqa: PLW0108 - the kind under test
    "lambda that gives a coroutine": lambda *args: arecord(*args),  # noqa: PLW0108 - as above
    "partial": partial(record),
    "async partial": partial(partial(arecord)),
    "method": Caller().method,
    "async method": Caller().amethod,
    "object": Caller(),
    "async object": AsyncCaller(),
    "Mock": Mock(side_effect=record),
    "MagicMock": MagicMock(side_effect=record),
    "AsyncMock": AsyncMock(side_effect=arecord),
}


def run_of(hooks: Any, way: str, *, fail: bool = False) -> None:
    """Make a task run in sync or async code that ends with these hooks."""

    def body() -> None:
        if fail:
            raise ValueError("body")

    async def abody() -> None:
        body()

    if way == "sync":
        task(name="it", hooks=hooks)(body)(return_state=True)
    else:
        it = task(name="it", hooks=hooks)(abody)

        async def main() -> None:
            await it(return_state=True)

        asyncio.run(main())


both = pytest.mark.parametrize("way", ["sync", "async"])


@both
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_callable_is_called(kind: str, timeout: float | None, way: str) -> None:
    """With the definition, the run and the state, in sync runs and async, timed or not."""
    run_of([Hook(KINDS[kind], state="Completed", timeout_seconds=timeout)], way)

    assert calls == [("it", "it", "Completed")]


@both
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("kind", ["function", "async function", "lambda that gives a coroutine"])
def test_a_hook_knows_where_it_is(kind: str, timeout: float | None, way: str) -> None:
    """The run is in force, and so are the delivery and its attempt."""
    facts: list[tuple[Any, ...]] = []

    def look(_definition: Any, run: Any, _state: Any) -> None:
        context = current_run.get()
        assert context is not None
        assert context.run is run
        get_run_logger().info("from a hook")
        facts.append((runtime.task_run.id, runtime.hook.attempt, runtime.hook.delivery_id))
        if runtime.hook.attempt == 1:
            raise ValueError

    async def alook(*args: Any) -> None:
        await asyncio.sleep(0)
        look(*args)

    fns: dict[str, Callable[..., Any]] = {"function": look, "async function": alook}
    fn = fns.get(kind, lambda *args: alook(*args))  # noqa: PLW0108 - a kind of its own
    run_of([Hook(fn, state="Completed", timeout_seconds=timeout, retries=1)], way)

    (first, second) = facts
    assert first[0] == second[0]
    assert (first[1], second[1]) == (1, 2)
    assert first[2] == second[2] is not None
    assert runtime.hook.attempt == 0


@both
def test_hooks_run_in_order(way: str) -> None:
    """That of their declaration, own before global; sync and async alike."""
    order: list[str] = []

    def named(name: str) -> Callable[..., None]:
        return lambda *args: order.append(name)

    async def middle(*args: Any) -> None:
        await asyncio.sleep(0)
        order.append("middle")

    hook(state="Completed")(named("global"))
    hooks = [Hook(named("first"), state="Completed"), Hook(middle, state="Completed")]
    run_of([*hooks, Hook(named("last"), state="Completed")], way)

    assert order == ["first", "middle", "last", "global"]


@both
def test_a_failing_hook_changes_nothing_else(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its traceback is logged, the outcome is published, the next hook runs, the run stands."""
    outcomes: list[HookOutcome] = []
    bus.subscribe(outcomes.append, event_type=HookOutcome)
    transitions: list[Any] = []
    bus.subscribe(transitions.append, state="Completed")

    def broken(*args: Any) -> None:
        raise ValueError("hook")

    run_of([Hook(broken, state="Completed", id="mine"), Hook(record, state="Completed")], way)
    failed, dead, succeeded = outcomes

    assert isinstance(failed, HookFailed)
    assert isinstance(dead, HookDeadLettered)
    assert isinstance(succeeded, HookSucceeded)
    assert (failed.error.type, failed.error.message) == ("ValueError", "hook")
    assert (failed.hook, failed.attempt, failed.state_name) == ("mine", 1, "Completed")
    assert failed.delivery_id == dead.delivery_id != succeeded.delivery_id
    assert {one.follows for one in outcomes} == {transitions[0].id}
    assert {one.run_id for one in outcomes} == {transitions[0].run_id}
    assert failed.duration >= 0
    assert succeeded.hook.endswith(":record")
    record_ = next(one for one in caplog.records if one.levelno == logging.ERROR)
    assert "Hook mine failed on Completed" in record_.getMessage()
    assert record_.exc_info
    assert calls == [("it", "it", "Completed")]


@both
def test_a_hook_is_tried_again(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as it says, after its delays; each failure and the end are published."""
    slept: list[float] = []
    real = asyncio.sleep

    async def asleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr("eventflow.hooks.receiver.sleep", slept.append)
    monkeypatch.setattr("eventflow.hooks.receiver.asyncio.sleep", asleep)
    outcomes: list[tuple[str, int]] = []
    bus.subscribe(
        lambda event: outcomes.append((type(event).__name__, event.attempt)),
        event_type=HookOutcome,
    )
    times: list[int] = []

    def broken(*args: Any) -> None:
        times.append(1)
        raise ValueError(len(times))

    def late(*args: Any) -> None:
        if runtime.hook.attempt < 2:
            raise ValueError

    state = "Completed"
    run_of([Hook(broken, state=state, retries=2, retry_delay_seconds=[1, 5])], way)
    run_of([Hook(late, state=state, retries=5)], way)

    assert slept == [1, 5]
    assert outcomes == [
        ("HookFailed", 1),
        ("HookFailed", 2),
        ("HookFailed", 3),
        ("HookDeadLettered", 3),
        ("HookFailed", 1),
        ("HookSucceeded", 2),
    ]


@both
@pytest.mark.parametrize("kind", ["sync", "async", "lambda"])
def test_a_hanging_hook_is_given_up(kind: str, way: str) -> None:
    """Past its timeout it has failed; the next hook runs, and nothing waits for it."""
    release = threading.Event()
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    def hang(*args: Any) -> None:
        release.wait(60)

    async def ahang(*args: Any) -> None:
        await asyncio.Event().wait()

    fns: dict[str, Callable[..., Any]] = {"sync": hang, "async": ahang}
    fn = fns.get(kind, lambda *args: ahang(*args))  # noqa: PLW0108 - a kind of its own
    hooks = [
        Hook(fn, state="Completed", timeout_seconds=0.01, id="slow"),
        Hook(record, state="Completed"),
    ]
    run_of(hooks, way)
    release.set()

    assert [one.error.type for one in failures] == ["eventflow.errors.HookTimeout"]
    assert "slow did not end within its timeout of 0.01 s" in failures[0].error.message
    assert calls == [("it", "it", "Completed")]


def test_what_a_hook_gives_too_late_is_closed() -> None:
    """A plain function that hands its coroutine over after its timeout leaves none unawaited."""
    release = threading.Event()
    threads: list[threading.Thread] = []
    left: list[Coroutine[Any, Any, None]] = []

    async def never() -> None:
        raise AssertionError

    def slow(*args: Any) -> Any:
        threads.append(threading.current_thread())
        release.wait(60)
        left.append(never())
        return left[0]

    run_of([Hook(slow, state="Completed", timeout_seconds=0.01)], "async")
    release.set()
    threads[0].join(60)
    assert inspect.getcoroutinestate(left[0]) == inspect.CORO_CLOSED


@both
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_timeout_of_the_hooks_own_is_no_hook_timeout(kind: str, way: str) -> None:
    """A TimeoutError that the hook raises itself stays what it is."""
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    def raises(*args: Any) -> None:
        raise TimeoutError("own")

    async def araises(*args: Any) -> None:
        raise TimeoutError("own")

    fn: Callable[..., Any] = raises if kind == "sync" else araises
    run_of([Hook(fn, state="Completed", timeout_seconds=30)], way)

    assert [str(one.error) for one in failures] == ["TimeoutError: own"]


@both
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("how", ["sync", "async", "timed"])
def test_an_exit_waits_for_the_remaining_hooks(
    how: str, kind: type[BaseException], way: str
) -> None:
    """It propagates once they have run; the shared loop lives on; there is no second attempt."""
    outcomes: list[str] = []
    bus.subscribe(lambda event: outcomes.append(type(event).__name__), event_type=HookOutcome)

    def leave(*args: Any) -> None:
        raise kind

    async def aleave(*args: Any) -> None:
        raise kind

    first = Hook(
        aleave if how == "async" else leave,
        state="Completed",
        timeout_seconds=30 if how == "timed" else None,
        retries=3,
    )
    with pytest.raises(kind):
        run_of([first, Hook(arecord, state="Completed")], way)

    assert calls == [("it", "it", "Completed")]
    # What was interrupted is left to another process; what gives up by itself is not.
    dead = [] if kind is KeyboardInterrupt else ["HookDeadLettered"]
    assert outcomes == ["HookFailed", *dead, "HookSucceeded"]


@both
def test_a_cancellation_within_a_hook_is_only_its_failure(way: str) -> None:
    """A hook that awaits something cancelled has failed; the run stands."""
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    async def awaits_cancelled(*args: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    run_of([Hook(awaits_cancelled, state="Completed"), Hook(record, state="Completed")], way)

    assert [one.error.type for one in failures] == ["asyncio.exceptions.CancelledError"]
    assert calls == [("it", "it", "Completed")]


def test_a_cancellation_raised_by_a_plain_hook_is_only_its_failure() -> None:
    """Where no task is, nobody can have cancelled it."""
    failures: list[HookFailed] = []
    bus.subscribe(failures.append, event_type=HookFailed)

    def raises(*args: Any) -> None:
        raise asyncio.CancelledError

    run_of([Hook(raises, state="Completed")], "sync")

    assert len(failures) == 1


def test_a_sync_hook_does_not_block_the_loop() -> None:
    """While it blocks, the loop turns: the loop itself is what lets it go on."""
    begun, release = threading.Event(), threading.Event()

    def block(*args: Any) -> None:
        begun.set()
        assert release.wait(30)
        record(*args)

    @task(name="it", on_completion=[block])
    async def it() -> None: ...

    async def main() -> None:
        running = asyncio.ensure_future(it())
        while not begun.is_set():  # noqa: ASYNC110 - the turning loop is what is tested
            await asyncio.sleep(0)
        release.set()
        await running

    asyncio.run(main())
    assert calls == [("it", "it", "Completed")]


def test_an_async_hook_of_a_sync_flow_within_a_loop_works() -> None:
    """Sync flows are called from async code too, and from async hooks of sync flows."""

    @task(name="it", on_completion=[arecord])
    def inner() -> None: ...

    async def calls_inner(*args: Any) -> None:
        inner()

    @flow(on_completion=[calls_inner])
    def outer() -> None: ...

    async def main() -> None:
        inner()
        outer()

    asyncio.run(main())
    outer()
    assert calls == [("it", "it", "Completed")] * 3


def test_task_before_flow_and_child_before_parent() -> None:
    """Hooks run when their run ends, and all have run when the call returns."""
    order: list[str] = []

    def tell(definition: Any, run: Any, state: Any) -> None:
        order.append(definition.name)

    @task(on_completion=[tell])
    def leaf() -> None: ...

    @flow(on_completion=[tell])
    def child() -> None:
        leaf()

    @flow(on_completion=[tell])
    def parent() -> None:
        child()

    parent()
    assert order == ["leaf", "child", "parent"]


def test_a_global_hook_selects_runs() -> None:
    """By type, state, name and tags, on the bus in force; the function stays as it is."""

    @hook(run_type="task", state=["Failed", "Crashed"], name="extract*", tags={"prod"})
    def everywhere(task: Any, task_run: Any, state: Any) -> None:
        calls.append((task.name, "", state.name))

    def body() -> None:
        raise ValueError

    for name, tags in (("extract_a", {"prod"}), ("extract_b", set()), ("load", {"prod"})):
        task(name=name, tags=tags)(body)(return_state=True)
    flow(name="extract_c", tags={"prod"})(body)(return_state=True)

    assert calls == [("extract_a", "", "Failed")]
    assert everywhere.__name__ == "everywhere"
    with pytest.raises(TypeError, match="A hook must be callable, but got 3"):
        hook()(3)  # type: ignore[type-var]


def test_an_outcome_that_nobody_wants_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks without a listener for their outcomes cost no events."""
    monkeypatch.setattr("eventflow.hooks.delivery.HookSucceeded", None)
    monkeypatch.setattr(type(bus), "publish", None)
    own: list[Event] = []
    bus.subscribe(own.append, state="Failed")
    monkeypatch.undo()
    run_of([Hook(record, state="Completed")], "sync")

    assert calls
    assert own == []


def test_an_event_without_a_live_run_runs_no_hook(eventflow_isolated: Isolated) -> None:
    """A transition read from JSON tells listeners, and calls nobody with a run it has not."""
    from eventflow.events import parse

    seen: list[Any] = []
    bus.subscribe(seen.append, state="Completed")
    run_of([], "sync")
    hook(state="Completed")(record)
    copy = parse(seen[0].model_dump_json())
    bus.publish(copy)
    asyncio.run(bus.apublish(copy))

    assert calls == []
    assert len(seen) == 3


class Ledger:
    """A ledger that notes down what is settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[int, str, int]] = []

    def settle(self, key: Any, status: Any, attempts: int, *_: Any, at_once: bool = True) -> None:
        """Note it."""
        self.settled.append((key[2], str(status), attempts))


def past() -> tuple[Transition, Ledger]:
    """Make a transition that was owed hooks before, with a ledger."""
    run = TaskRun(task(name="it")(record), "it", dict, frozenset(), None)
    for state in (Pending(), Running()):
        run.enter(state)
    fact = run.enter(Completed())
    fact.journal = ledger = Ledger()

    return fact, ledger


@pytest.mark.parametrize("kind", ["function", "async function", "lambda that gives a coroutine"])
def test_what_is_left_of_a_delivery_is_run(kind: str) -> None:
    """With the attempts that are left, counted on from those before, under the same id."""
    fact, ledger = past()
    fact.run.name = "it"
    fails = [True, False]
    attempts: list[int] = []

    def look(*args: Any) -> Any:
        attempts.append(runtime.hook.attempt)
        assert runtime.hook.delivery_id == str(delivery_id(fact.to_state.id, 4))
        if fails.pop(0):
            raise ValueError
        return KINDS[kind](fact.run.definition, SimpleNamespace(task_name="it"), fact.to_state)

    redeliver(Hook(look), fact, 4, 2, 9)
    assert attempts == [3, 4]
    assert [one[1:] for one in ledger.settled] == [
        ("running", 3),
        ("failed", 3),
        ("running", 4),
        ("delivered", 4),
    ]
    assert {one[0] for one in ledger.settled} == {4}
    assert calls == [("it", "it", "Completed")]


def test_a_delivery_without_attempts_left_is_dead() -> None:
    """Its hook is not called; the dead letter is published. One with a last one has that."""
    outcomes: list[str] = []
    bus.subscribe(lambda event: outcomes.append(type(event).__name__), event_type=HookOutcome)
    fact, ledger = past()
    redeliver(Hook(record), fact, 0, 3, 3)
    assert (ledger.settled, calls) == ([(0, "dead", 3)], [])
    assert outcomes == ["HookDeadLettered"]

    def broken(*_: Any) -> None:
        raise ValueError

    redeliver(Hook(broken, retries=9), fact, 0, 2, 3)
    assert ledger.settled[1:] == [(0, "running", 3), (0, "dead", 3)]


def test_an_interrupt_of_a_delivery_is_passed_on() -> None:
    """It stays owed: whoever comes next has one attempt less."""

    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    fact, ledger = past()
    with pytest.raises(KeyboardInterrupt):
        redeliver(Hook(leave), fact, 1, 0, 3)
    assert ledger.settled == [(1, "running", 1), (1, "failed", 1)]
