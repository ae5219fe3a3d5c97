"""Submitted sync tasks on executors: process pools, and whatever else is an `Executor`."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from eventflow.primitives.forks import in_children
from eventflow.primitives.loading import load
from eventflow.runners.threads import default

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from eventflow.runners.frames import HomeAddress
    from eventflow.runners.lines import HomeLines, Line
    from eventflow.runners.pools import Pools, Shipment

__all__ = ["ExecutorTaskRunner", "ProcessPoolTaskRunner", "ShippedRun"]

_runners: Final[weakref.WeakSet[ExecutorTaskRunner]] = weakref.WeakSet()


class ShippedRun(Protocol):
    """A run whose body is executed by a worker, as the runner knows it."""

    def receive(self, line: Line, values: list[Any]) -> None:
        """Take what a worker says of the attempt."""
        ...

    def line_ended(self, line: Line) -> None:
        """Take notice that the worker that executes the attempt is gone."""
        ...


class ExecutorTaskRunner:
    """Executes the bodies of submitted sync tasks on an executor of `concurrent.futures`.

    Only bodies are shipped. States, retries, caching, hooks and the journal stay in this process,
    and so do async tasks. A worker keeps a line to this process: over it an attempt asks leave to
    begin, which is given once, however often the executor repeats the call; logs, prints and own
    events come home at once; a cancellation reaches the body. If a worker dies, the attempt that it
    executed has failed, and is retried or ends the run as Crashed; attempts that had not begun are
    shipped again, to a new executor if that one is broken.

    Functions and arguments are pickled, by cloudpickle. A function is found by its name where it
    can be imported; else it is sent as it is when it is first submitted.

    Args:
        executor: an executor, or a function that makes one. Only one that was made is replaced when
            it is broken, and shut down by `close`.
        pools: how many executors are made. With more than one, each must have one worker: its death
            then takes no other worker with it.
        host: the name or address of the interface by which workers on other machines reach this
            process; by default workers are on this machine.

    Raises:
        ValueError: `pools` is less than 1, or more than 1 for an executor that is made already.
    """

    def __init__(
        self,
        executor: Executor | Callable[[], Executor],
        *,
        pools: int = 1,
        host: str | None = None,
    ) -> None:
        if pools < 1:
            raise ValueError(f"pools must be 1 or more, but is {pools}.")
        given = None if callable(executor) else executor
        if given is not None and pools > 1:
            raise ValueError(f"pools is {pools}, which needs a function that makes the executors.")
        self._factory = executor if callable(executor) else partial(_given, executor)
        self._owns = given is None
        self._count = pools
        self._host = host
        self.reset()
        _runners.add(self)

    def reset(self) -> None:
        """Begin without executors and lines: in a forked child, those are the parent's."""
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._pools: Pools | None = None
        self._lines: HomeLines | None = None
        self._runs: dict[int, ShippedRun] = {}

    # -- what concerns home -----------------------------------------------------------------

    def submit(self, work: Callable[[], object]) -> None:
        """Execute work of the engine in a thread of this process."""
        default.submit(work)

    def is_worker(self) -> bool:
        """Return whether the calling thread is one that executes the engine's work."""
        return default.is_worker()

    # -- what is shipped --------------------------------------------------------------------

    def expect(self, run: ShippedRun) -> int:
        """Return the number under which workers speak of a new attempt of a run."""
        ticket = next(self._numbers)
        self._runs[ticket] = run

        return ticket

    def forget(self, ticket: int) -> None:
        """Refuse from now on what workers ask for this attempt."""
        self._runs.pop(ticket, None)

    @property
    def home_address(self) -> HomeAddress:
        """How workers reach this process."""
        return self._opened().home_address

    def ship(self, entry: Callable[[Any], Any], shipment: Shipment) -> None:
        """Have an executor call the entry of workers with what is shipped."""
        pools = self._pools
        if pools is None:
            with self._lock:
                pools = self._pools = self._pools or self._new_pools(entry)
        pools.ship(shipment)

    def _new_pools(self, entry: Callable[[Any], Any]) -> Pools:
        # Loaded by the first use: programs without such a runner do not need it.
        kind: type[Pools] = load("eventflow.runners.pools").Pools

        return kind(repr(self), entry, self._factory, self._count, own=self._owns)

    def withdraw(self, shipment: Shipment) -> None:
        """Do not have it called any more, if it has not been called yet."""
        if self._pools is not None:
            self._pools.withdraw(shipment)

    def _opened(self) -> HomeLines:
        lines = self._lines
        if lines is None:
            with self._lock:
                lines = self._lines = self._lines or self._new_lines()

        return lines

    def _new_lines(self) -> HomeLines:
        # The thread that reads must not keep the runner: it ends with it.
        own: weakref.ref[ExecutorTaskRunner] = weakref.ref(self)
        kind: type[HomeLines] = load("eventflow.runners.lines").HomeLines
        lines = kind(self._host, partial(_receive, own), _ended)
        weakref.finalize(self, lines.close)

        return lines

    def receive(self, line: Line, values: list[Any]) -> None:
        """Pass on what a worker says to the run that it is about."""
        kind, ticket = values[0], values[1]
        if kind == "worker":
            line.host, line.pid = values[2], values[3]
            return
        run = self._runs.get(ticket)
        if run is not None:
            run.receive(line, values)
        elif kind == "leave":
            line.answer(b"n", ticket)

    def close(self, *, wait: bool = True) -> None:
        """Shut down the executors that were made here; the runner can be used again afterwards."""
        with self._lock:
            pools, self._pools = self._pools, None
        if pools is not None:
            pools.close(wait=wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ProcessPoolTaskRunner(ExecutorTaskRunner):
    """Executes the bodies of submitted sync tasks in `max_workers` processes of this machine.

    They are started when they are needed, by `spawn`, and live until the runner is closed or the
    program ends. Each is a pool of its own: one that dies takes no other with it, and is replaced.
    By default there are as many as processors. Everything else is as in `ExecutorTaskRunner`.

    Raises:
        ValueError: `max_workers` is less than 1.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        if max_workers is not None and max_workers < 1:
            raise ValueError(f"max_workers must be 1 or more, but is {max_workers}.")
        self.max_workers = max_workers or os.cpu_count() or 1
        super().__init__(_process_pool, pools=self.max_workers)

    def __repr__(self) -> str:
        return f"ProcessPoolTaskRunner(max_workers={self.max_workers})"


def _process_pool() -> Executor:
    # Loaded by the first use: it takes longer to import than all of this.
    context = load("multiprocessing").get_context("spawn")
    kind: Callable[..., Executor] = load("concurrent.futures").ProcessPoolExecutor

    return kind(1, mp_context=context, initializer=_begin_worker)


ORPHANED_SECONDS: Final = 1.0
"""How long a body has to clean up that is stopped because its process at home is gone."""


def _begin_worker() -> None:
    """Leave Ctrl-C to the process at home, which cancels what executes here, and end after it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_home, name="eventflow-home", daemon=True).start()


def _end_with_home() -> None:
    """End this process once that which has started it is gone: a pool waits for calls for ever."""
    parent = load("multiprocessing").parent_process()
    if parent is not None:
        parent.join()
        time.sleep(ORPHANED_SECONDS)
        os._exit(1)


def _given(executor: Executor) -> Executor:
    return executor


def _receive(own: weakref.ref[ExecutorTaskRunner], line: Line, values: list[Any]) -> None:
    runner = own()
    if runner is not None:
        runner.receive(line, values)


def _ended(line: Line) -> None:
    if line.granted is not None:
        line.granted.line_ended(line)


def _after_fork() -> None:
    for runner in _runners:
        runner.reset()


in_children(_after_fork)
