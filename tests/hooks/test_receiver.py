"""Running hooks: every kind of callable, their context and their order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from anyio import to_thread

from eventflow import Hook, bus, flow, get_run_logger, hook, runtime, task
from eventflow.context import current_run
from eventflow.events import parse
from tests.hooks.callables import KINDS, arecord, both, calls, record, run_of

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


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
def test_a_hook_has_the_context_of_its_delivery(kind: str, timeout: float | None, way: str) -> None:
    """The run is in force, and so are the delivery and its attempt."""
    facts: list[tuple[Any, ...]] = []

    def inspect_context(_definition: Any, run: Any, _state: Any) -> None:
        context = current_run.get()
        assert context is not None
        assert context.run is run
        get_run_logger().info("from a hook")
        facts.append((runtime.task_run.id, runtime.hook.attempt, runtime.hook.delivery_id))
        if runtime.hook.attempt == 1:
            raise ValueError

    async def ainspect_context(*args: Any) -> None:
        await asyncio.sleep(0)
        inspect_context(*args)

    fns: dict[str, Callable[..., Any]] = {
        "function": inspect_context,
        "async function": ainspect_context,
    }
    fn = fns.get(kind, lambda *args: ainspect_context(*args))  # noqa: PLW0108 - a kind of its own
    run_of([Hook(fn, state="Completed", timeout_seconds=timeout, retries=1)], way)

    (first, second) = facts
    assert first[0] == second[0]
    assert (first[1], second[1]) == (1, 2)
    assert first[2] == second[2] is not None
    assert runtime.hook.attempt == 0


@both
def test_hooks_run_in_order(way: str) -> None:
    """In the order of their declaration, own before global; sync and async alike."""
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


def test_a_sync_hook_does_not_block_the_loop() -> None:
    """While it blocks, the loop goes on: the loop itself is what releases it."""
    begun, release = threading.Event(), threading.Event()

    def block(*args: Any) -> None:
        begun.set()
        assert release.wait(30)
        record(*args)

    @task(name="it", on_completion=[block])
    async def it() -> None: ...

    async def main() -> None:
        running = asyncio.ensure_future(it())
        while not begun.is_set():  # noqa: ASYNC110 - that the loop goes on is what is tested
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

    def note(definition: Any, run: Any, state: Any) -> None:
        order.append(definition.name)

    @task(on_completion=[note])
    def leaf() -> None: ...

    @flow(on_completion=[note])
    def child() -> None:
        leaf()

    @flow(on_completion=[note])
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


def test_an_outcome_without_a_listener_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks without a listener for their outcomes cost no events."""
    built: list[object] = []
    monkeypatch.setattr("eventflow.hooks.delivery.fact", lambda kind, *_, **__: built.append(kind))
    bus.subscribe(print, state="Failed")
    run_of([Hook(record, state="Completed")], "sync")

    assert calls
    assert built == []


def test_an_event_without_a_live_run_runs_no_hook() -> None:
    """A transition that was read from JSON is delivered to listeners only."""
    seen: list[Any] = []
    bus.subscribe(seen.append, state="Completed")
    run_of([], "sync")
    hook(state="Completed")(record)
    copy = parse(seen[0].model_dump_json())
    bus.publish(copy)
    asyncio.run(bus.apublish(copy))

    assert calls == []
    assert len(seen) == 3


def test_blocking_hooks_leave_the_threads_of_a_program_alone() -> None:
    """Sync hooks of async runs block none of anyio's threads, nor are they blocked by them."""
    count = 45
    release = threading.Event()
    waiting = threading.Semaphore(0)

    def block() -> None:
        waiting.release()
        release.wait()

    def block_hook(*_: Any) -> None:
        block()

    async def work() -> None:
        pass

    def wait_for(number: int) -> None:
        for _ in range(number):
            waiting.acquire()

    async def main() -> None:
        blocked = task(on_completion=[block_hook])(work)
        runs = [asyncio.create_task(blocked()) for _ in range(count)]
        await asyncio.to_thread(wait_for, 40)
        # Every thread of the hooks is taken; the program has all of its own.
        others = [asyncio.create_task(to_thread.run_sync(block)) for _ in range(40)]
        await asyncio.to_thread(wait_for, 40)
        # Now every thread of both is taken.
        assert not waiting.acquire(blocking=False)
        release.set()
        await asyncio.gather(*runs, *others)

    asyncio.run(main())
    # The hooks that had no thread come after.
    left = sum(waiting.acquire(blocking=False) for _ in range(count))
    assert left == count - 40
