"""Submitting tasks: where they run, what they wait for, and that all end with their flow."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow import allow_failure, bus, cancel, flow, runtime, task, unmapped
from eventflow.errors import CancelledRun, MissingContextError, UnfinishedRun
from eventflow.events import Event, StateTransition
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.runs.futures import Future
from eventflow.states import AnyState
from tests.engine.submitted import aadd, add, fail, wait_forever
from tests.engine.transitions import state_names

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_submitted_runs(eventflow_events: list[Event]) -> None:
    """A submitted task is Pending at once, runs in a worker, and gives its result."""
    names: list[str] = []

    @task
    def where() -> str:
        return threading.current_thread().name

    @flow
    def main() -> None:
        names.append(where.submit().result())
        future = add.submit(1)
        assert future.state.is_pending() or future.state.is_running() or future.state.is_completed()
        assert future.result() == 2
        assert future.task_run_id == future.run.id
        assert "state=Completed" in repr(future)
        assert aadd.submit(1).result() == 2

    main()
    assert names[0].startswith("eventflow-worker")
    assert state_names(eventflow_events, "add") == ["Pending", "Running", "Completed"]
    assert state_names(eventflow_events, "aadd") == ["Pending", "Running", "Completed"]


def test_async_tasks_run_on_the_flows_own_loop() -> None:
    """An async task of an async flow runs on that flow's loop, also when a sync task submits it."""
    loops: list[Any] = []

    @task
    async def where() -> None:
        loops.append(asyncio.get_running_loop())

    @task
    def between() -> None:
        where.submit().result()

    @flow
    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await where.submit()
        await between.submit()
        assert await add.submit(1) == 2

    asyncio.run(main())
    assert len(loops) == 3
    assert len(set(loops)) == 1


def test_outside_of_a_flow() -> None:
    """Submitting outside of a flow says what to do."""
    with pytest.raises(MissingContextError, match=r"add\.submit\(\) needs a run"):
        add.submit(1)
    with pytest.raises(MissingContextError):
        add.map([1])
    with pytest.raises(MissingContextError):
        task(lambda: add.submit(1))()


def test_tasks_submit_tasks() -> None:
    """A task may submit tasks: they belong to its flow, and it is their parent."""
    seen: list[Any] = []

    @task
    def inner() -> None:
        seen.append((runtime.task_run.parent_flow_run_id, runtime.flow_run.id))

    @task
    def outer() -> Future[None]:
        return inner.submit()

    @flow
    def main() -> str | None:
        outer.submit().wait()
        return runtime.flow_run.id

    flow_run_id = main()
    assert seen == [(flow_run_id, flow_run_id)]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_futures_as_arguments(way: str) -> None:
    """Futures, alone, in collections and in wait_for, are waited for, and stand for results."""

    @task
    def total(numbers: list[Any], more: dict[str, Any]) -> Any:
        return sum(numbers) + sum(more.values())

    @task
    async def atotal(numbers: list[Any], more: dict[str, Any]) -> Any:
        return sum(numbers) + sum(more.values())

    @flow
    def main() -> Any:
        first: Any = add.submit(1)
        again: Any = total.submit([first, aadd.submit(first), 4], {"five": add.submit(4)})
        return total([again], {}, wait_for=[first])

    @flow
    async def amain() -> Any:
        first: Any = aadd.submit(1)
        again: Any = atotal.submit([first, add.submit(first), 4], {"five": aadd.submit(4)})
        return await atotal([again], {}, wait_for=[first])

    expected = 2 + 3 + 4 + 5
    assert (main() if way == "sync" else asyncio.run(amain())) == expected


def test_upstream_failures(eventflow_events: list[Event]) -> None:
    """Who needs a failed upstream is NotReady, unless the failure is allowed."""

    @task
    def type_name(given: Any) -> str:
        return type(given).__name__

    @flow
    def main() -> None:
        broken = fail.submit()
        with pytest.raises(UnfinishedRun, match="did not complete: Failed"):
            add.submit(broken).result()
        with pytest.raises(UnfinishedRun):
            add.submit(1, wait_for=[broken]).result()
        assert type_name.submit(allow_failure(broken)).result() == "ValueError"
        assert type_name(allow_failure([broken])) == "list"
        assert type_name.submit(allow_failure(unmapped(3))).result() == "int"
        assert type_name.submit(unmapped(allow_failure(broken))).result() == "ValueError"
        with pytest.raises(UnfinishedRun):
            type_name(unmapped(broken))

    main()
    assert state_names(eventflow_events, "add") == ["Pending", "NotReady"] * 2


def test_the_flow_waits_for_its_tasks(eventflow_events: list[Event]) -> None:
    """A flow that returns before its tasks have ended ends after them, its hooks last."""
    go = threading.Event()

    @task
    def slow() -> None:
        go.wait(10)

    @flow
    def main() -> str:
        slow.submit()
        aadd.submit(1)
        go.set()
        return "done"

    assert main() == "done"
    ended = [
        event.definition_name
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.to_state.is_final()
    ]
    assert sorted(ended[:2]) == ["aadd", "slow"]
    assert ended[2] == "main"


@pytest.mark.parametrize("error", [ValueError(), SystemExit()], ids=["failed", "crashed"])
def test_an_ended_flow_leaves_no_task_behind(
    error: BaseException, eventflow_events: list[Event]
) -> None:
    """A flow that fails or crashes cancels its tasks, running or queued, before it ends."""
    begun = threading.Event()

    @task
    def slow() -> None:
        begun.set()
        turns = threading.Event()
        while not turns.wait(0.001):
            pass

    def body() -> None:
        slow.submit()
        begun.wait(10)
        add.submit(1)
        wait_forever.submit()
        raise error

    async def abody() -> None:
        body()

    with pytest.raises(type(error)):
        flow(name="main", task_runner=ThreadPoolTaskRunner(1))(body)()
    assert state_names(eventflow_events, "slow") == [
        "Pending",
        "Running",
        "Cancelling",
        "Cancelled",
    ]
    assert state_names(eventflow_events, "add") == ["Pending", "Cancelling", "Cancelled"]
    assert state_names(eventflow_events, "wait_forever")[-2:] == ["Cancelling", "Cancelled"]
    assert eventflow_events[-1].definition_name == "main"  # type: ignore[attr-defined]
    begun.clear()
    eventflow_events.clear()
    with pytest.raises(type(error)):
        asyncio.run(flow(name="main", task_runner=ThreadPoolTaskRunner(1))(abody)())
    assert state_names(eventflow_events, "slow")[-1] == "Cancelled"
    assert state_names(eventflow_events, "wait_forever")[-1] == "Cancelled"
    assert eventflow_events[-1].definition_name == "main"  # type: ignore[attr-defined]


def test_a_retried_flow_begins_without_tasks(eventflow_events: list[Event]) -> None:
    """The tasks of a failed attempt are cancelled before the next, which may submit again."""
    attempts: list[int] = []

    @flow(retries=1)
    def main() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            wait_forever.submit()
            raise ValueError
        return add.submit(1).result()

    assert main() == 2
    assert state_names(eventflow_events, "wait_forever")[-1] == "Cancelled"


def test_nothing_is_submitted_to_a_flow_that_has_ended() -> None:
    """Stray threads cannot submit to a flow that is over."""
    import contextvars

    @flow
    def main() -> contextvars.Context:
        return contextvars.copy_context()

    context = main()
    with pytest.raises(MissingContextError, match="The flow run around it is ending"):
        context.run(add.submit, 1)


def test_cancelling_a_queued_task(eventflow_events: list[Event]) -> None:
    """A submitted task can be cancelled by its future or its id before it has begun."""
    go = threading.Event()

    @task
    def block() -> None:
        go.wait(10)

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def main() -> None:
        block.submit()
        first, second = add.submit(1), add.submit(2)
        assert first.cancel()
        assert not first.cancel()
        assert cancel(second.task_run_id)
        go.set()
        for future in (first, second):
            with pytest.raises(CancelledRun):
                future.result()

    main()
    assert state_names(eventflow_events, "add").count("Cancelled") == 2


# -- hooks of submitted runs --------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("async_task", [False, True])
def test_hooks_at_submission(is_async: bool, async_task: bool) -> None:
    """Hooks of Pending run before the body, in the task run's context, and may be of any kind."""
    seen: list[str] = []

    @task(name="work")
    def work() -> None:
        seen.append("body")

    @task(name="work")
    async def awork() -> None:
        seen.append("body")

    chosen: Any = awork if async_task else work

    @chosen.on("Pending")
    def first(definition: Any, run: Any, state: AnyState) -> None:
        assert runtime.task_run.id == str(run.id)
        seen.append("sync")

    @chosen.on("Pending")
    async def second(definition: Any, run: Any, state: AnyState) -> None:
        await asyncio.sleep(0)
        assert runtime.task_run.id == str(run.id)
        seen.append("async")

    @flow
    def main() -> None:
        chosen.submit().result()

    @flow
    async def amain() -> None:
        await chosen.submit()

    asyncio.run(amain()) if is_async else main()
    assert seen == ["sync", "async", "body"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("async_task", [False, True])
def test_an_exit_in_a_hook_at_submission(
    is_async: bool, async_task: bool, eventflow_events: list[Event]
) -> None:
    """An exit in a hook of Pending crashes the task run, whose body never runs."""
    chosen: Any = task(name="work")(wait_forever.fn if async_task else add.fn)

    @chosen.on("Pending")
    def leave(definition: Any, run: Any, state: AnyState) -> None:
        raise SystemExit(3)

    @flow
    def main() -> None:
        chosen.submit().wait()

    @flow
    async def amain() -> None:
        await chosen.submit().ended()

    if is_async:
        asyncio.run(amain())
    else:
        with pytest.raises(SystemExit):
            main()
    assert state_names(eventflow_events, "work") == ["Pending", "Crashed"]


@pytest.mark.parametrize("is_async", [False, True])
def test_cancelling_a_flow_cancels_its_tasks(is_async: bool, eventflow_events: list[Event]) -> None:
    """Every task that a cancelled flow has submitted ends Cancelled, before the flow does."""
    flows: list[Any] = []
    bus.subscribe(lambda event: flows[0].cancel(), state="Running", name="wait_forever")

    def remember(definition: Any, run: Any, state: AnyState) -> None:
        flows.append(run)

    @flow(name="main", on_running=[remember])
    def main() -> None:
        wait_forever.submit().wait()

    @flow(name="main", on_running=[remember])
    async def amain() -> None:
        await wait_forever.submit()

    with pytest.raises(CancelledRun):
        asyncio.run(amain()) if is_async else main()
    assert state_names(eventflow_events, "wait_forever")[-2:] == ["Cancelling", "Cancelled"]
    assert state_names(eventflow_events, "main")[-2:] == ["Cancelling", "Cancelled"]
    assert eventflow_events[-1].definition_name == "main"  # type: ignore[attr-defined]
