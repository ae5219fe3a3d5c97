"""Runs whose results are cached: what they give again, and how many of them compute at once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from eventflow import cancel, flow, runtime, task
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.runs.result_cache import results

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def same(*_: Any) -> str:
    return "same"


def joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def in_threads(*calls: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


# -- generators -----------------------------------------------------------------------------


def test_a_generator_yields_its_items_again() -> None:
    """Of its last attempt, and then returns what it returned; sync and async, beside each other."""
    calls: list[str] = []

    @task(cache_key_fn=same, retries=1)
    def pages() -> Generator[int, None, str]:
        calls.append("sync")
        yield 1
        if len(calls) == 1:
            raise ConnectionError("again")
        yield 2
        return "end"

    @task(cache_key_fn=lambda *_: "async")
    async def apages() -> AsyncIterator[int]:
        calls.append("async")
        yield 3
        yield 4

    @task(cache_key_fn=same)
    def plain() -> str:
        return "a result"

    def again() -> Iterator[Any]:
        yield (yield from pages())

    async def read() -> list[int]:
        return [page async for page in apages()]

    assert list(again()) == [1, 1, 2, "end"]
    assert list(again()) == list(again()) == [1, 2, "end"]
    assert plain() == plain() == "a result"
    assert list(again()) == [1, 2, "end"]
    assert asyncio.run(read()) == asyncio.run(read()) == [3, 4]
    assert calls == ["sync", "sync", "async"]


def test_what_a_consumer_did_not_take_whole_is_not_cached() -> None:
    """The next run yields every item."""

    @task(cache_key_fn=same)
    def pages() -> Iterator[int]:
        yield 1
        yield 2

    first = pages()
    assert next(first) == 1
    first.close()  # type: ignore[attr-defined]
    assert list(pages()) == [1, 2]
    assert list(zip(pages(), pages(), strict=True)) == [(1, 1), (2, 2)]


def test_generators_at_once_do_not_wait_for_each_other() -> None:
    """Their consumer may need an item of one before it goes on with the other."""

    @task(cache_key_fn=same)
    def pages() -> Iterator[int]:
        yield 1
        yield 2

    assert list(zip(pages(), pages(), strict=True)) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("make", [lambda: (n for n in (1, 2)), lambda: map(int, "12"), Ellipsis])
def test_an_iterator_that_is_returned_gives_its_items_again(make: Any) -> None:
    """One that is more than that is not cached: the body is called again."""
    calls: list[int] = []

    class Reader:
        def __init__(self) -> None:
            self._items = iter([1, 2])

        def __iter__(self) -> Reader:
            return self

        def __next__(self) -> int:
            return next(self._items)

    @task(cache_key_fn=same)
    def pages() -> Any:
        calls.append(1)
        return Reader() if make is Ellipsis else make()

    assert [list(pages()) for _ in range(3)] == [[1, 2]] * 3
    assert len(calls) == (3 if make is Ellipsis else 1)


def test_results_are_handed_out_as_they_are() -> None:
    """Not copied; and two tasks with one key function share them."""
    one = task(cache_key_fn=same)(lambda: ["one"])
    two = task(cache_key_fn=same)(lambda: ["two"])

    assert one() is one() is two()


# -- at once --------------------------------------------------------------------------------


class Computing:
    """A body that notes its calls, and goes on when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> int:
        self.calls += 1
        self.begun.set()
        self.go.wait(60)
        return self.calls


def waiting_for(run_count: int) -> Callable[[], bool]:
    return lambda: len(results()._waiting) == run_count


def wait_until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


def test_called_submitted_and_async_runs_compute_once() -> None:
    """In threads, in a pool and on loops: all have the result of the first."""
    body = Computing()
    work = task(cache_key_fn=same)(body)
    got: list[Any] = []

    @task(cache_key_fn=same)
    async def awork() -> Any:
        return body()

    @flow(task_runner=ThreadPoolTaskRunner(2))
    def submitting() -> tuple[Any, Any]:
        return work.submit().result(), awork.submit().result()

    threads = in_threads(lambda: got.append(work()))
    body.begun.wait()
    threads += in_threads(
        lambda: got.append(work()),
        lambda: got.extend(submitting()),
        lambda: got.append(asyncio.run(awork())),
    )
    wait_until(waiting_for(3))
    body.go.set()
    joined(threads)

    assert got == [1] * 5
    assert body.calls == 1


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
def test_when_the_computing_run_has_no_result_one_other_computes(end: str) -> None:
    """Not all that waited do."""
    body = Computing()
    ids: list[Any] = []
    got: list[Any] = []

    @task(cache_key_fn=same)
    def work() -> int:
        ids.append(runtime.task_run.id)
        body()
        if body.calls == 1 and end == "fails":
            raise ValueError("no")
        if body.calls == 1:
            cancel(ids[0])
        return body.calls

    def call() -> None:
        got.append(work(return_state=True).result(raise_on_failure=False))

    threads = in_threads(call)
    body.begun.wait()
    threads += in_threads(call, call, call)
    wait_until(waiting_for(3))
    body.go.set()
    joined(threads)

    assert sorted(result for result in got if isinstance(result, int)) == [2, 2, 2]
    assert body.calls == 2


def test_a_run_that_waits_can_be_cancelled() -> None:
    """It is cancelled before its body began, and the other goes on."""
    body = Computing()
    work = task(cache_key_fn=same)(body)
    states: list[Any] = []

    @flow
    def submitting() -> None:
        first = work.submit()
        body.begun.wait()
        second = work.submit()
        wait_until(waiting_for(1))
        second.cancel()
        second.wait()
        states.append(second.state)
        body.go.set()
        states.append(first.result())

    submitting()
    assert states[0].message == "The run was cancelled before its body began."
    assert states[1] == 1


@pytest.mark.parametrize("way", ["called", "submitted", "over another"])
def test_a_task_that_calls_itself_with_its_key(way: str) -> None:
    """Also over a task with another key that calls it back: it waits for nobody."""
    depth: list[int] = []

    @task(cache_key_fn=same)
    def work() -> int:
        depth.append(1)
        if len(depth) > 1:
            return 7
        if way == "submitted":
            return work.submit().result()
        return work() if way == "called" else other()

    @task(cache_key_fn=lambda *_: "other")
    def other() -> int:
        return work()

    @flow
    def main() -> int:
        return work()

    assert main() == 7
    assert len(depth) == 2


def test_tasks_that_need_each_other_s_keys() -> None:
    """Two that compute, each calling what the other computes, do not wait for ever."""
    both = threading.Barrier(2)
    first_calls: list[str] = []

    def key(_context: Any, parameters: Any) -> str:
        return str(parameters["name"])

    @task(cache_key_fn=key)
    def work(name: str, ask: str | None) -> str:
        first_calls.append(name)
        if ask is not None:
            both.wait()
            return name + work(ask, None)
        return name

    got: list[str] = []
    joined(in_threads(lambda: got.append(work("a", "b")), lambda: got.append(work("b", "a"))))

    assert all(result[0] in "ab" for result in got)
    assert len(got) == 2


def test_a_pool_that_is_full_of_waiting_runs() -> None:
    """They lend their places: the run that they wait for needs them for its own tasks."""
    body = Computing()

    @task
    def part() -> int:
        return 5

    @task(cache_key_fn=same)
    def work(kind: str) -> int:
        if kind == "called":
            body()
            return part.submit().result()
        return 0

    @flow(task_runner=ThreadPoolTaskRunner(1))
    def main() -> list[int]:
        futures: list[Any] = []

        def submit() -> None:
            body.begun.wait()
            futures.append(runs.submit(context.run, work.submit, "submitted"))
            wait_until(waiting_for(1))
            body.go.set()

        context = contextvars.copy_context()
        with ThreadPoolExecutor(1) as runs:
            threads = in_threads(submit)
            first = work("called")
            joined(threads)
            return [first, futures[0].result().result()]

    assert main() == [5, 5]
