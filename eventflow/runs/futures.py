"""The futures that `submit` and `map` return."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from eventflow.errors import DeadlockError
from eventflow.interrupts.portals import required_loop, running_loop
from eventflow.interrupts.waiting import Wakeup, check_timeout, deadline_in, remaining
from eventflow.interrupts.waiting import wait as block_until
from eventflow.primitives.forks import renewed
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import TaskRun
from eventflow.states.constructors import Pending
from eventflow.states.state import AnyState

__all__ = [
    "DoneAndNotDone",
    "Future",
    "FutureList",
    "as_completed",
    "wait",
]

T = TypeVar("T")

_lock = threading.Lock()
renewed(globals(), "_lock", threading.Lock)
_logger: Final = get_logger("futures")


class Helper(Protocol):
    """Executes a task run in the thread of a worker that waits for it."""

    def is_possible(self) -> bool:
        """Return whether the calling thread may execute it."""
        ...

    def upstream(self) -> list[Future[Any]]:
        """Return the futures that the task run waits for."""
        ...

    def help(self) -> None:
        """Execute the task run now, unless another thread has begun to."""
        ...

    def extra_worker(self) -> AbstractContextManager[None]:
        """Return the block in which the calling worker waits, and another works in its place."""
        ...


class Future(Generic[T]):
    """The result of a submitted task run, which may not have ended yet.

    Blocking methods serve sync code; in async code write `await future`.
    """

    __slots__ = ("__weakref__", "_callbacks", "_ended", "_helper", "_loop", "run")

    def __init__(self, run: TaskRun) -> None:
        self.run = run
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self._callbacks: list[Callable[[Future[T]], object]] | None = None
        self._helper: Helper | None = None

    @property
    def task_run_id(self) -> UUID:
        """The id of the task run."""
        return self.run.id

    @property
    def state(self) -> AnyState:
        """The present state of the task run."""
        return self.run.state or Pending()

    def done(self) -> bool:
        """Return whether the task run has ended and its hooks have run."""
        return self._ended

    def needs(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Return whether that event loop must go on running for this future to end."""
        return not self._ended and loop is not None and self._loop is loop

    def cancel(self) -> bool:
        """Request its cancellation; return False if it has ended or is being cancelled already."""
        return self.run.cancel()

    def add_done_callback(self, callback: Callable[[Future[T]], object]) -> None:
        """Call a function with this future once it has ended, at once if it has.

        It is called in the thread that ends the future; what it raises is logged.
        """
        with _lock:
            if not self._ended:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                return
        self._call(callback)

    def remove_done_callback(self, callback: Callable[[Future[T]], object]) -> None:
        """Remove a function that has not been called yet."""
        with _lock:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)

    @property
    def calls_users(self) -> bool:
        """Whether its end calls anything else than what wakes those who wait for it."""
        with _lock:
            modules = [getattr(each, "__module__", None) or "" for each in self._callbacks or ()]

        return any(not module.startswith("eventflow.runs.") for module in modules)

    def finish(self) -> None:
        """Mark the task run as ended, and call the callbacks. May be repeated."""
        with _lock:
            self._ended = True
            callbacks, self._callbacks = self._callbacks, None
            self._helper = None
        for callback in callbacks or ():
            self._call(callback)

    def _call(self, callback: Callable[[Future[T]], object]) -> None:
        try:
            callback(self)
        except Exception:
            _logger.exception("A done callback of the task run %r failed", self.run.name)

    def produced_on(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Set the event loop that must go on running for this future to end."""
        self._loop = loop

    def offer(self, helper: Helper) -> None:
        """Allow a worker that waits for this task run to execute it."""
        self._helper = helper

    def help(self) -> None:
        """Execute the task run now, if this thread is a worker that may do so.

        Its upstream is executed first, in a loop: a long chain must not become a deep recursion.
        """
        if self._helper is None or not self._helper.is_possible():
            return
        helpers: dict[Future[Any], Helper] = {}
        to_visit: list[Future[Any]] = [self]
        while to_visit:
            future = to_visit.pop()
            helper = future._helper  # noqa: SLF001 - its own kind
            if helper is not None and future not in helpers:
                helpers[future] = helper
                to_visit += helper.upstream()
        for helper in reversed(helpers.values()):
            helper.help()

    def extra_worker(self) -> AbstractContextManager[None]:
        """Return the block in which a worker waits for some time, and one thread more works."""
        return nullcontext() if self._helper is None else self._helper.extra_worker()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the task run has ended or `timeout` seconds have passed.

        Return whether it has ended.

        Raises:
            ValueError: `timeout` is negative.
            DeadlockError: this thread's event loop has to produce the result.
        """
        check_timeout(timeout)
        if self._ended:
            return True
        if self.needs(running_loop()):
            raise DeadlockError(f"the task run {self.run.name!r}")
        if timeout is None:
            self.help()
            return self._wait(None)
        with self.extra_worker():
            return self._wait(timeout)

    def _wait(self, timeout: float | None) -> bool:
        wakeup = Wakeup()
        wake = _Wake(wakeup)
        deadline = deadline_in(timeout)
        self.add_done_callback(wake)
        try:
            while not self._ended:
                seconds = remaining(deadline)
                if seconds == 0:
                    break
                block_until(wakeup, seconds)
                # It is also set to interrupt a body of this thread, perhaps one around this one.
                wakeup.clear()
        finally:
            self.remove_done_callback(wake)

        return self._ended

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> T:  # noqa: FBT001, FBT002 - as in Prefect
        """Block until the task run has ended and return its result.

        With `raise_on_failure=False` the data of a task run that failed is returned as it is.

        Raises:
            ValueError: `timeout` is negative.
            TimeoutError: `timeout` seconds have passed.
            DeadlockError: this thread's event loop has to produce the result.
            Exception: the task run has no result: as `State.result`.
        """
        if not self.wait(timeout):
            raise TimeoutError(
                f"The task run {self.run.name!r} did not end within {timeout} s; "
                f"it is {self.state.name}."
            )

        result: T = self.state.result(raise_on_failure=raise_on_failure)
        return result

    async def ended(self) -> None:
        """Wait, in async code, until the task run has ended."""
        if self._ended:
            return
        loop = required_loop(f"Awaiting the task run {self.run.name!r}")
        waiter: asyncio.Future[None] = loop.create_future()

        def wake(_: object) -> None:
            if running_loop() is loop:
                _set(waiter)
            else:
                with suppress(RuntimeError):  # the loop is closed, and nothing waits there
                    loop.call_soon_threadsafe(_set, waiter)

        self.add_done_callback(wake)
        try:
            await waiter
        finally:
            self.remove_done_callback(wake)

    async def _result(self) -> T:
        await self.ended()

        result: T = self.state.result()
        return result

    def __await__(self) -> Generator[Any, None, T]:
        """Wait, in async code, for the result; raises what `result` raises."""
        return self._result().__await__()

    def __repr__(self) -> str:
        return f"Future(run={self.run.name!r}, state={self.state.name})"


class _Wake:
    """A done callback that wakes a thread."""

    __slots__ = ("_wakeup",)

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup

    def __call__(self, _: object) -> None:
        self._wakeup.set()


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class FutureList(list[Future[T]]):
    """The futures of one `map`, in the order of its arguments."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all have ended or `timeout` seconds have passed; return whether they have."""
        return not wait(self, timeout).not_done

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[T]:  # noqa: FBT001, FBT002 - as in Prefect
        """Block until all have ended and return their results; raises as `Future.result` does."""
        deadline = deadline_in(timeout)

        return [future.result(remaining(deadline), raise_on_failure) for future in self]

    async def _results(self) -> list[T]:
        return [await future for future in self]

    def __await__(self) -> Generator[Any, None, list[T]]:
        """Wait, in async code, for all results."""
        return self._results().__await__()


class DoneAndNotDone(NamedTuple, Generic[T]):
    """What `wait` returns: the futures that have ended, and those that have not."""

    done: set[Future[T]]
    not_done: set[Future[T]]


def wait(futures: Iterable[Future[T]], timeout: float | None = None) -> DoneAndNotDone[T]:
    """Block until all futures have ended or `timeout` seconds have passed.

    Raises:
        ValueError: `timeout` is negative.
    """
    futures = list(futures)
    deadline = deadline_in(timeout)
    for future in futures:
        if not future.wait(remaining(deadline)):
            break
    done = {future for future in futures if future.done()}

    return DoneAndNotDone(done, set(futures) - done)


class as_completed(Generic[T]):  # noqa: N801 - used like a function, as in Prefect
    """Yields futures in the order in which they end, in `for` and in `async for`.

    Raises:
        ValueError: `timeout` is negative.
        TimeoutError: while iterating, when `timeout` seconds have passed since the start.
        DeadlockError: plain `for` was used on the event loop that has to produce the results.
    """

    def __init__(self, futures: Iterable[Future[T]], timeout: float | None = None) -> None:
        check_timeout(timeout)
        self._futures = list(futures)
        self._timeout = timeout

    def __iter__(self) -> Iterator[Future[T]]:
        loop = running_loop()
        blocked = next((future for future in self._futures if future.needs(loop)), None)
        if blocked is not None:
            raise DeadlockError(f"the task run {blocked.run.name!r}")

        return self._ended_first()

    def _ended_first(self) -> Iterator[Future[T]]:
        ended: deque[Future[T]] = deque()
        wakeup = Wakeup()
        deadline = deadline_in(self._timeout)

        def note_end(future: Future[T]) -> None:
            ended.append(future)
            wakeup.set()

        for future in self._futures:
            future.add_done_callback(note_end)
        to_help = iter(self._futures if self._timeout is None else ())
        for count in range(len(self._futures)):
            while not ended:
                helped = next(to_help, None)
                if helped is not None:
                    helped.help()
                elif remaining(deadline) == 0:
                    raise self._timed_out(count)
                else:
                    with self._extra_worker():
                        block_until(wakeup, remaining(deadline))
                    wakeup.clear()
            yield ended.popleft()

    def _extra_worker(self) -> AbstractContextManager[None]:
        waiting = next((future for future in self._futures if not future.done()), None)

        return nullcontext() if waiting is None or self._timeout is None else waiting.extra_worker()

    async def __aiter__(self) -> AsyncIterator[Future[T]]:
        ended: asyncio.Queue[Future[T]] = asyncio.Queue()
        loop = required_loop("`async for` over as_completed()")
        deadline = deadline_in(self._timeout)
        for future in self._futures:
            future.add_done_callback(
                lambda future: loop.call_soon_threadsafe(ended.put_nowait, future)
            )
        for count in range(len(self._futures)):
            try:
                yield await asyncio.wait_for(ended.get(), remaining(deadline))
            except TimeoutError:
                raise self._timed_out(count) from None

    def _timed_out(self, count: int) -> TimeoutError:
        return TimeoutError(
            f"{len(self._futures) - count} of {len(self._futures)} task runs "
            f"did not end within {self._timeout} s."
        )
