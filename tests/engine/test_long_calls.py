"""A timeout of sync code in a worker thread: one warning says what it cannot interrupt."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eventflow import flow, task, wait

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

WORDS = "has a timeout of 60 s and is executed in a worker thread, where a call in C"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if WORDS in record.getMessage()]


def in_a_thread(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_a_submitted_task_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """However many of its runs there are; the line names the first, and what to do."""

    @task(timeout_seconds=60)
    def fetch(number: int) -> int:
        return number

    @flow
    def main() -> None:
        wait([fetch.submit(0), *fetch.map([1, 2])])
        fetch.with_options(tags=["a"]).submit(3).wait()

    main()
    main()
    (line,) = warnings(caplog)

    assert line.startswith("The task run 'fetch-")
    assert "make the task async, or call it in the main thread" in line


@pytest.mark.parametrize("decorate", [flow, task])
def test_each_function_is_warned_of(decorate: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also a flow, and a generator, in a thread of the user's own."""

    @decorate(timeout_seconds=60)
    def returns() -> int:
        return 1

    @decorate(timeout_seconds=60)
    def generates() -> Iterator[int]:
        yield 1

    in_a_thread(returns)
    in_a_thread(lambda: list(generates()))

    assert len(warnings(caplog)) == 2


@pytest.mark.parametrize("decorate", [flow, task])
def test_what_can_be_interrupted_is_not_warned_of(
    decorate: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Sync code in the main thread, async code anywhere, and what has no timeout."""

    @decorate(timeout_seconds=60)
    def sync() -> int:
        return 1

    @decorate(timeout_seconds=60)
    async def is_async() -> int:
        return 1

    @decorate
    def unlimited() -> int:
        return 1

    @task(timeout_seconds=60)
    async def submitted() -> int:
        return 1

    @flow
    def main() -> None:
        submitted.submit().wait()

    assert sync() == 1
    assert asyncio.run(is_async()) == 1
    in_a_thread(lambda: asyncio.run(is_async()))
    in_a_thread(unlimited)
    main()

    assert warnings(caplog) == []
