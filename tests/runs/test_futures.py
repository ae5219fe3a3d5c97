"""Futures: results, waiting with and without a bound, callbacks, and clear errors for deadlocks."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from eventflow import as_completed, flow, task, wait
from eventflow.errors import DeadlockError
from eventflow.runs.futures import Future, FutureList

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Blocked:
    """A task that waits for an event before it ends."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.task = task(name="blocked")(self._wait)

    def _wait(self, number: int = 0) -> int:
        self.may_end.wait(10)
        return number


@task
def double(number: Any) -> Any:
    return number * 2


@task
async def adouble(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@task
def fail() -> None:
    raise ValueError("no")


@task
async def never_end() -> None:
    await asyncio.sleep(3600)


def test_results_and_failures() -> None:
    """A result raises what the task raised, or returns it."""

    @flow
    def main() -> None:
        broken = fail.submit()
        with pytest.raises(ValueError, match="no"):
            broken.result()
        assert isinstance(broken.result(raise_on_failure=False), ValueError)
        with pytest.raises(ValueError, match="no"):
            FutureList[Any]([double.submit(1), broken]).result()
        assert FutureList([double.submit(1), double.submit(2)]).result() == [2, 4]

    main()


@pytest.mark.parametrize(
    ("timeout", "error", "words"),
    [
        (-1, ValueError, "timeout must be 0 or more seconds, .* but got -1"),
        (-0.001, ValueError, "but got -0.001"),
        (float("nan"), ValueError, "but got nan"),
        ("1", TypeError, "timeout must be a number of seconds, or None, but got '1'"),
    ],
)
def test_wrong_timeouts(timeout: Any, error: type[Exception], words: str) -> None:
    """They are refused at once, whether or not there is something to wait for."""
    waits: list[Any] = [
        lambda future: future.wait(timeout),
        lambda future: future.result(timeout),
        lambda future: future.result(timeout=timeout, raise_on_failure=False),
        lambda future: wait([future], timeout),
        lambda future: wait([], timeout=timeout),
        lambda future: as_completed([future], timeout),
        lambda future: FutureList([future]).wait(timeout),
        lambda future: FutureList([future]).result(timeout),
        lambda future: FutureList([]).result(timeout=timeout),
    ]

    @flow
    def main() -> None:
        blocked = Blocked()
        running, ended = blocked.task.submit(), double.submit(1)
        ended.wait()
        for call in waits:
            for future in (running, ended):
                with pytest.raises(error, match=words):
                    call(future)
        blocked.may_end.set()
        assert running.wait()

    main()


def test_timeouts() -> None:
    """A wait with a timeout names what has not ended; the task goes on."""
    blocked = Blocked()

    @flow
    def main() -> None:
        future = blocked.task.submit(7)
        assert not future.wait(0.01)
        assert not future.wait(0)
        with pytest.raises(TimeoutError, match=r"did not end within 0\.01 s; it is"):
            future.result(0.01)
        both = wait([future, ended], timeout=0.01) if (ended := double.submit(1)).wait() else None
        assert both is not None
        assert both.done == {ended}
        assert both.not_done == {future}
        assert not FutureList([future]).wait(0.01)
        with pytest.raises(TimeoutError, match=r"1 of 1 task runs did not end within 0\.01 s"):
            list(as_completed([future], timeout=0.01))
        blocked.may_end.set()
        assert future.result(10) == 7
        assert wait([future]).not_done == set()
        assert future.wait(0)
        # Repeated waits leave no callbacks.
        assert future._callbacks is None

    main()


def test_waiting_leaves_no_callbacks() -> None:
    """A wait whose timeout has passed removes its callback."""
    blocked = Blocked()

    @flow
    def main() -> None:
        future = blocked.task.submit()
        before = len(future._callbacks or ())
        for _ in range(3):
            future.wait(0.001)
        assert len(future._callbacks or ()) == before
        blocked.may_end.set()

    main()


def test_callbacks(caplog: pytest.LogCaptureFixture) -> None:
    """Callbacks are called with the ended future, at once if it has ended; errors are logged."""
    blocked = Blocked()
    called: list[Future[Any]] = []

    def broken(future: Future[Any]) -> None:
        raise RuntimeError("broken callback")

    @flow
    def main() -> None:
        future = blocked.task.submit()
        future.add_done_callback(broken)
        future.add_done_callback(called.append)
        future.add_done_callback(called.append)
        future.remove_done_callback(called.append)
        assert called == []
        blocked.may_end.set()
        future.wait()
        wait([double.submit(1)])
        future.add_done_callback(called.append)
        assert called[-1] is future

    main()
    assert len(called) == 2
    assert "broken callback" in caplog.text


def test_as_completed() -> None:
    """Futures are yielded in the order in which they end, in sync and in async code."""
    first, second = Blocked(), Blocked()

    @flow
    def main() -> list[int]:
        futures = [first.task.submit(1), second.task.submit(2)]
        order: list[int] = []
        second.may_end.set()
        for future in as_completed(futures):
            order.append(future.result())
            first.may_end.set()
        return order

    @flow
    async def amain() -> list[int]:
        futures = [first.task.submit(1), second.task.submit(2)]
        order: list[int] = []
        second.may_end.set()
        async for future in as_completed(futures):
            order.append(await future)
            first.may_end.set()
        return order

    assert main() == [2, 1]
    first.may_end.clear()
    second.may_end.clear()
    assert asyncio.run(amain()) == [2, 1]


def test_as_completed_out_of_time() -> None:
    """An async wait for the next future has the timeout, too."""

    @flow
    async def main() -> None:
        future = never_end.submit()
        both: list[Future[Any]] = [future, adouble.submit(1)]
        with pytest.raises(TimeoutError, match="1 of 2 task runs"):
            async for _ in as_completed(both, timeout=0.05):
                pass
        future.cancel()

    asyncio.run(main())


def test_deadlocks() -> None:
    """Blocking on the loop that has to produce the result is an error that says what to write."""

    @flow
    async def main() -> None:
        future = adouble.submit(1)
        dependent = double.submit(adouble.submit(2))
        for blocking in (
            future.result,
            future.wait,
            dependent.result,
            lambda: wait([future]),
            lambda: list(as_completed([future])),
            lambda: double(future),
        ):
            with pytest.raises(DeadlockError, match="Write `await future`"):
                blocking()
        assert await future == 2
        assert future.result() == 2
        assert await dependent == 8
        blocked: Future[Any] = double.submit(3)
        assert blocked.result() == 6
        every: list[Future[Any]] = [blocked, future]
        assert [ended.result() for ended in as_completed(every)] == [6, 2]

    asyncio.run(main())


def test_awaiting() -> None:
    """Futures can be awaited many times, one by one and in lists."""

    @flow
    async def main() -> None:
        futures = adouble.map([1, 2, 3])
        assert await futures == [2, 4, 6]
        assert [await future for future in futures] == [2, 4, 6]
        assert await double.map([1, 2]) == [2, 4]
        with pytest.raises(ValueError, match="no"):
            await fail.submit()

    asyncio.run(main())


def test_a_cancelled_wait_leaves_no_callback() -> None:
    """A task that is cancelled while it awaits a future removes its callback."""

    @flow
    async def main() -> None:
        future = never_end.submit()
        before = len(future._callbacks or ())
        waiting = asyncio.ensure_future(future.ended())
        await asyncio.sleep(0)
        assert len(future._callbacks or ()) == before + 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(future._callbacks or ()) == before
        future.cancel()

    asyncio.run(main())


def test_awaiting_a_result_of_another_thread() -> None:
    """A future that ends in a worker wakes the loop that awaits it."""
    blocked = Blocked()

    @flow
    async def main() -> int:
        future = blocked.task.submit(3)
        asyncio.get_running_loop().call_later(0.01, blocked.may_end.set)
        return await future

    assert asyncio.run(main()) == 3
