"""Runs at the limit of recursion: each that begins reaches its end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import pytest

from eventflow import Event, StateTransition, flow, task
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.testing import capture_events

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def unfinished(events: list[Event]) -> Counter[str]:
    """Return the names of the states in which runs were left that have not ended."""
    assert events
    last = {event.run_id: event.to_state for event in events if isinstance(event, StateTransition)}

    return Counter(state.name for state in last.values() if not state.is_final())


def in_a_new_thread(function: Callable[[], Any]) -> None:
    """Call a function on a stack of its own, so that a test's own depth does not matter."""
    thread = threading.Thread(target=copy_context().run, args=(function,))
    thread.start()
    thread.join()


def test_a_flow_that_calls_itself() -> None:
    """Each run fails by the error of the innermost body, and each hook runs."""
    failed = []

    def tell(*_: object) -> None:
        failed.append(1)

    @flow(on_failure=[tell])
    def down(level: int) -> int:
        return int(down(level + 1))

    with capture_events() as events:
        in_a_new_thread(lambda: down(0, return_state=True))
    assert unfinished(events) == {}
    assert len(failed) > 10
    assert len(failed) == sum(event.type == "eventflow.flow-run.Failed" for event in events)


def test_an_async_flow_that_calls_itself() -> None:
    """A chain of coroutines is as deep as a chain of calls."""

    @flow
    async def down(level: int) -> int:
        return int(await down(level + 1))

    async def main() -> None:
        with pytest.raises(RecursionError, match="so close to the limit of recursion"):
            await down(0)

    with capture_events() as events:
        in_a_new_thread(lambda: asyncio.run(main()))
    assert unfinished(events) == {}


def test_a_task_at_the_bottom_of_a_recursion() -> None:
    """At whichever depth it is called: either it ends, or it does not begin."""
    refused = []

    @task
    def leaf() -> None:
        pass

    def down() -> None:
        try:
            leaf()
        except RecursionError as error:
            refused.append(str(error))
            return
        down()

    with capture_events() as events:
        in_a_new_thread(down)
    assert unfinished(events) == {}
    assert "leaf is called so close to the limit" in refused[0]


def test_a_worker_that_helps_itself() -> None:
    """A chain of tasks, each waiting for the next in a full pool, fails with the same error."""

    @task
    def down(level: int) -> int:
        return level if level == 300 else int(down.submit(level + 1).result())

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def main() -> None:
        failed.append(down.submit(0).result(raise_on_failure=False))

    failed: list[Any] = []
    with capture_events() as events:
        main(return_state=True)
    assert isinstance(failed[0], RecursionError)
    assert unfinished(events) == {}
