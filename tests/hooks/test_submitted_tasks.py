"""Tasks that hooks submit: they run, and the hook does not end before them."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from eventflow import Hook, flow, runtime, task
from eventflow.events import Event, HookFailed, HookSucceeded, TaskRunTransition
from eventflow.hooks.receiver import redeliver
from eventflow.runners import ThreadPoolTaskRunner
from tests.hooks.callables import both
from tests.hooks.test_redelivery import past_transition

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

cleaned: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    cleaned.clear()


@task
def clean(name: str) -> str:
    cleaned.append(name)
    return name


@task
async def aclean(name: str) -> str:
    await asyncio.sleep(0)
    cleaned.append(name)
    return name


def fan_out(*_: Any) -> None:
    """Submit and wait for nothing; map and wait."""
    clean("called")
    clean.submit("submitted")
    aclean.submit("async")
    assert clean.map(["a", "b"]).result() == ["a", "b"]


async def afan_out(*_: Any) -> None:
    clean("called")
    clean.submit("submitted")
    aclean.submit("async")
    assert await clean.map(["a", "b"]) == ["a", "b"]


def afan_out_later(*args: Any) -> Any:
    clean.submit("before")
    return afan_out(*args)


ALL = ["a", "async", "b", "called", "submitted"]
HOOKS: list[Any] = [fan_out, afan_out, afan_out_later]


def body() -> None:
    cleaned.append("body")


async def abody() -> None:
    cleaned.append("body")


@both
@pytest.mark.parametrize(("timeout", "state"), [(None, "Running"), (30, "Completed")])
@pytest.mark.parametrize("decorator", [flow, task])
@pytest.mark.parametrize("fn", HOOKS)
def test_a_hook_ends_after_its_tasks(
    *,
    fn: Any,
    decorator: Any,
    state: str,
    timeout: float | None,
    way: str,
    eventflow_events: list[Event],
) -> None:
    """Hooks of every kind, on every transition, of runs of every kind."""
    hook = Hook(fn, state=state, timeout_seconds=timeout)
    definition = decorator(hooks=[hook])(body if way == "sync" else abody)
    result = definition()
    if way == "async":
        asyncio.run(result)

    before = {"before"} if fn is afan_out_later else set()
    assert sorted({*cleaned} - {"body"} - before) == ALL
    assert ("before" in cleaned) == bool(before)
    outcomes = [event for event in eventflow_events if isinstance(event, HookSucceeded)]
    (succeeded,) = outcomes
    ended = [
        number
        for number, event in enumerate(eventflow_events)
        if isinstance(event, TaskRunTransition)
        and event.to_state.name == "Completed"
        and "clean" in event.definition_name
    ]
    assert len(ended) == len(ALL) + len(before)
    assert max(ended) < eventflow_events.index(succeeded)


@both
@pytest.mark.parametrize("fn", HOOKS)
def test_hooks_of_tasks_within_a_flow(fn: Any, way: str) -> None:
    """Called and submitted tasks have hooks that submit, also after the flow's own body."""

    @task(on_completion=[fn])
    def work() -> None:
        pass

    def main() -> None:
        work()
        work.submit()

    async def amain() -> None:
        main()

    if way == "async":
        asyncio.run(flow(amain)())
    else:
        flow(main)()
    assert sorted({*cleaned} - {"before"}) == ALL
    assert cleaned.count("submitted") == 2


def test_a_pool_that_is_full_of_hooks() -> None:
    """A hook that runs in a worker, of a task, has its own tasks executed."""

    @task(on_completion=[fan_out])
    def work() -> None:
        pass

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def main() -> None:
        work.submit().wait()

    main()
    assert sorted(cleaned) == ALL


def test_a_flow_that_a_hook_calls_has_its_own_tasks() -> None:
    """They end with that flow, and are runs of it; tasks of called tasks are the hook's."""
    parents: list[Any] = []

    @task
    def note() -> None:
        parents.append(runtime.task_run.root_flow_run_id)

    @task
    def between() -> None:
        note.submit()

    @flow
    def inner() -> Any:
        note.submit()
        return runtime.flow_run.id

    inner_ids: list[Any] = []

    def hook(*_: Any) -> None:
        inner_ids.append(inner())
        assert len(parents) == 1
        between()

    @flow(on_completion=[hook])
    def outer() -> Any:
        return runtime.flow_run.id

    outer_id = outer()
    assert len(inner_ids) == 1
    assert parents == [outer_id, outer_id]


@both
def test_a_hook_that_fails_cancels_its_tasks(way: str, eventflow_events: list[Event]) -> None:
    """Its next attempt begins when they have ended."""
    begun = threading.Event()
    states: list[str] = []

    @task
    def hang() -> None:
        begun.set()
        while True:
            time.sleep(0.001)

    def fail_once(*_: Any) -> None:
        if runtime.hook.attempt == 1:
            hang.submit()
            begun.wait()
            raise ValueError("no")
        states.extend(
            event.to_state.name
            for event in eventflow_events
            if isinstance(event, TaskRunTransition) and event.definition_name == "hang"
        )

    hook = Hook(fail_once, state="Completed", retries=1)
    if way == "async":
        asyncio.run(task(hooks=[hook])(abody)())
    else:
        task(hooks=[hook])(body)()

    assert states[-1] == "Cancelled"
    assert sum(isinstance(event, HookFailed) for event in eventflow_events) == 1


@both
def test_a_hook_that_takes_too_long_cancels_its_tasks(way: str) -> None:
    """They do not outlive the last attempt by much."""
    cancelled = threading.Event()

    @task
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def wait_for_it(*_: Any) -> None:
        hang.submit()

    hook = Hook(wait_for_it, state="Completed", timeout_seconds=0.05)
    if way == "async":
        asyncio.run(task(hooks=[hook])(abody)())
    else:
        task(hooks=[hook])(body)()

    assert cancelled.wait(30)


@pytest.mark.parametrize("fn", HOOKS)
def test_a_hook_of_another_process_s_run(fn: Any) -> None:
    """A delivery that is still owed fans out as well, before it is settled."""
    fact, ledger = past_transition()
    redeliver(Hook(fn), fact, 0, 0, 3)

    assert sorted({*cleaned} - {"before"}) == ALL
    assert [str(status) for _, status, _ in ledger.settled] == ["running", "delivered"]
