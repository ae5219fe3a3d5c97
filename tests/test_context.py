"""The run in force, in bodies, hooks, tasks and threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import datetime
from typing import Any

import pytest

from eventflow import flow, runtime, tags, task
from eventflow.context import FlowRunContext, RunContext, TaskRunContext, get_run_context
from eventflow.errors import MissingContextError

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def in_force() -> tuple[FlowRunContext | None, TaskRunContext | None]:
    """Return both contexts; `get_run_context` gives the inner one."""
    of_flow, of_task = FlowRunContext.get(), TaskRunContext.get()
    assert get_run_context() == (of_task or of_flow)

    return of_flow, of_task


async def ain_force() -> tuple[FlowRunContext | None, TaskRunContext | None]:
    """Return both contexts once the event loop has turned."""
    await asyncio.sleep(0)

    return in_force()


def test_outside_of_a_run() -> None:
    """Outside of a run there is no context, and reading it is an error."""
    assert FlowRunContext.get() is None
    assert TaskRunContext.get() is None
    with pytest.raises(MissingContextError, match=r"get_run_context\(\) needs a run"):
        get_run_context()
    with pytest.raises(RuntimeError):
        get_run_context()


def test_facts_of_a_flow_run() -> None:
    """The flow, its run and its parameters, by name, with the defaults."""

    @flow
    def main(day: str, limit: int = 3) -> FlowRunContext | TaskRunContext:
        return get_run_context()

    context = main("monday")

    assert isinstance(context, FlowRunContext)
    assert isinstance(context, RunContext)
    assert context.flow is main
    assert context.run is context.flow_run
    assert context.flow_run.flow_name == "main"
    assert context.parameters == {"day": "monday", "limit": 3}
    assert context.run_count == 1
    assert context.start_time == context.flow_run.start_time
    assert not hasattr(context, "task_run")


def test_facts_of_a_task_run() -> None:
    """The task and its run, with the flow and the flow run around it."""

    @task
    def inner(number: int) -> tuple[FlowRunContext | None, TaskRunContext | None]:
        return in_force()

    @flow
    def main(day: str) -> Any:
        return inner(1), inner.submit(2).result(), FlowRunContext.get()

    called, submitted, around = main("monday")

    for number, (of_flow, of_task) in enumerate((called, submitted), start=1):
        assert isinstance(of_task, TaskRunContext)
        assert isinstance(of_task, RunContext)
        assert of_task.task is inner
        assert of_task.run is of_task.task_run
        assert of_task.task_run.task_name == "inner"
        assert of_task.flow is main
        assert of_task.flow_run is around.flow_run
        assert of_task.parameters == {"number": number}
        assert of_task.run_count == 1
        assert of_task.start_time == of_task.task_run.start_time
        assert of_flow == around
        assert of_flow.parameters == {"day": "monday"}


def test_a_task_without_a_flow() -> None:
    """It has no flow, and no flow run."""
    of_flow, of_task = task(in_force)()

    assert of_flow is None
    assert of_task is not None
    assert of_task.flow is None
    assert of_task.flow_run is None


def test_a_flow_in_a_task() -> None:
    """The innermost run is in force: the flow run in the flow, then the task run again."""
    sub = flow(name="sub")(in_force)

    @task
    def outer() -> Any:
        return sub(), TaskRunContext.get()

    (of_flow, of_task), after = outer()

    assert of_flow.flow is sub
    assert of_task is None
    assert after.task is outer


def test_a_context_cannot_be_changed() -> None:
    """It is frozen, and its parameters are a copy."""

    @flow
    def main(number: int) -> Any:
        get_run_context().parameters["number"] = 2
        with pytest.raises(FrozenInstanceError):
            get_run_context().run = None  # type: ignore[misc, assignment]
        return get_run_context()

    context = main(1)

    assert context.parameters == {"number": 1}
    assert repr(context).startswith("FlowRunContext(run=FlowRun(name=")


@pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])
def test_every_attempt(decorate: Any) -> None:
    """Counts the attempts, from the start of the first one."""
    seen: list[tuple[int, datetime]] = []

    @decorate(retries=1)
    def fragile() -> None:
        context = get_run_context()
        seen.append((context.run_count, context.start_time))
        if context.run_count == 1:
            raise OSError

    fragile()

    (first, begin), (second, begin_again) = seen
    assert (first, second) == (1, 2)
    assert begin == begin_again


@pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])
def test_in_async_bodies(decorate: Any) -> None:
    """Also once the loop has turned, in its tasks, and in threads that it starts."""

    @decorate
    async def main() -> Any:
        await asyncio.sleep(0)
        spawned = await asyncio.create_task(ain_force())
        return in_force(), spawned, await asyncio.to_thread(in_force)

    directly, spawned, in_thread = asyncio.run(main())

    assert directly == spawned == in_thread
    assert (directly[1] or directly[0]).run.definition is main


def test_async_tasks_side_by_side() -> None:
    """Each has its own context, submitted, mapped or gathered."""

    @task
    async def inner(number: int) -> Any:
        return number, await ain_force()

    @flow
    async def main() -> Any:
        futures = [inner.submit(0), *inner.map([1, 2])]
        gathered = await asyncio.gather(inner(3), inner(4))
        return [*[await future for future in futures], *gathered], in_force()

    seen, (around, _) = asyncio.run(main())

    assert [number for number, _ in seen] == [0, 1, 2, 3, 4]
    for number, (of_flow, of_task) in seen:
        assert of_flow == around
        assert of_task.parameters == {"number": number}


@pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])
def test_in_generators(decorate: Any) -> None:
    """Their run is in force while they execute, and not in who asks for the items."""

    @decorate
    def numbers() -> Iterator[Any]:
        yield get_run_context().run
        yield get_run_context().run

    @decorate
    async def anumbers() -> AsyncIterator[Any]:
        yield get_run_context().run
        yield get_run_context().run

    async def collect() -> list[Any]:
        found = []
        async for run in anumbers():
            found.append(run)
            with pytest.raises(MissingContextError):
                get_run_context()
        return found

    found = []
    for run in numbers():
        found.append(run)
        with pytest.raises(MissingContextError):
            get_run_context()
    for definition, (first, second) in ((numbers, found), (anumbers, asyncio.run(collect()))):
        assert first is second
        assert first.definition is definition


HOOKS = ("on_running", "on_completion")


@pytest.mark.parametrize("is_submitted", [False, True], ids=["called", "submitted"])
@pytest.mark.parametrize("is_async_hook", [False, True], ids=["hook", "async hook"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync run", "async run"])
def test_in_hooks(*, is_async: bool, is_async_hook: bool, is_submitted: bool) -> None:
    """A hook has the context of the run it is called for, with the flow around."""
    seen: list[tuple[Any, Any, Any]] = []

    def note(_definition: Any, run: Any, _state: Any) -> None:
        seen.append((run, *in_force()))

    async def anote(_definition: Any, run: Any, _state: Any) -> None:
        seen.append((run, *await ain_force()))

    hooks: dict[str, Any] = {kind: [anote if is_async_hook else note] for kind in HOOKS}
    context = main_of(hooks, is_async=is_async, is_submitted=is_submitted)

    assert len(seen) == 4
    for run, of_flow, of_task in seen:
        assert of_flow == context
        assert of_flow.parameters == {"day": "monday"}
        if run.run_type == "task":
            assert of_task.task_run is run
            assert of_task.task is run.definition
            assert of_task.parameters == {"number": 1}
        else:
            assert of_task is None
            assert of_flow.flow_run is run


def main_of(hooks: dict[str, Any], *, is_async: bool, is_submitted: bool) -> Any:
    """Run a flow with a task, both with the hooks; return the context of the flow."""

    @task(**hooks)
    def inner(number: int) -> None: ...

    @task(**hooks)
    async def ainner(number: int) -> None: ...

    @flow(**hooks)
    def main(day: str) -> Any:
        inner.submit(1).wait() if is_submitted else inner(1)
        return FlowRunContext.get()

    @flow(**hooks)
    async def amain(day: str) -> Any:
        await (ainner.submit(1) if is_submitted else ainner(1))
        return FlowRunContext.get()

    return asyncio.run(amain("monday")) if is_async else main("monday")


def test_before_the_first_attempt() -> None:
    """In a hook for Pending the run has begun no attempt: its start is that of its first state."""
    seen: list[Any] = []

    @flow
    def main() -> None: ...

    @main.on("Pending")
    def note(*_: Any) -> None:
        context = get_run_context()
        seen.append((context.run_count, context.start_time, context.run.created))

    main()

    ((count, start, created),) = seen
    assert count == 0
    assert start == created


@pytest.mark.parametrize("is_submitted", [False, True], ids=["called", "submitted"])
def test_in_a_function_that_names_the_run(*, is_submitted: bool) -> None:
    """The run that is named is in force, with its parameters; `runtime` tells of it as well."""

    def name_of_flow() -> str:
        assert TaskRunContext.get() is None
        assert get_run_context().start_time is not None
        return f"{runtime.flow_run.flow_name} of {runtime.flow_run.parameters['day']}"

    def name_of_task() -> str:
        around = runtime.flow_run.name
        return f"{runtime.task_run.task_name} {get_run_context().parameters['number']} in {around}"

    @task(task_run_name=name_of_task)
    def inner(number: int) -> Any:
        return runtime.task_run.name

    @task
    def one() -> int:
        return 1

    @flow(name="load", flow_run_name=name_of_flow)
    def main(day: str) -> Any:
        number: Any = one.submit()
        name = inner.submit(number).result() if is_submitted else inner(number)
        return runtime.flow_run.name, name, sub()

    @flow(flow_run_name=lambda: f"in {FlowRunContext.get().run.flow_name}")  # type: ignore[union-attr]
    def sub() -> Any:
        return runtime.flow_run.name

    assert main("monday") == ("load of monday", "inner 1 in load of monday", "in sub")
    with pytest.raises(MissingContextError):
        get_run_context()


def test_in_a_cache_key_function() -> None:
    """It is given the context of the task run, which is in force as well."""
    seen: list[Any] = []

    def key(context: Any, parameters: Any) -> str:
        seen.append((context, get_run_context()))
        return f"{context.task.name}-{context.task_run.flow_run_id}-{parameters}"

    @task(cache_key_fn=key)
    def inner(number: int) -> None: ...

    @flow
    def main() -> Any:
        inner(1)
        inner.submit(2).wait()

    main()

    assert [context.parameters for context, _ in seen] == [{"number": 1}, {"number": 2}]
    for given, current in seen:
        assert isinstance(given, TaskRunContext)
        assert given == current


def test_threads() -> None:
    """A new thread has no run, unless it is started with the context."""
    seen: list[Any] = []

    def note() -> None:
        try:
            seen.append(get_run_context().run.definition_name)
        except MissingContextError:
            seen.append(None)

    @flow
    def main() -> None:
        context = contextvars.copy_context()
        targets: tuple[Callable[[], object], ...] = (note, lambda: context.run(note))
        for target in targets:
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        asyncio.run(asyncio.to_thread(note))

    main()
    assert seen == [None, "main", "main"]


def test_tags_add_up() -> None:
    """Blocks of tags add up, and end with their block."""
    with tags("a") as outer:
        with tags("b", "c") as inner:
            assert inner == {"a", "b", "c"}
        assert outer == {"a"}
    with tags() as none:
        assert none == frozenset()
