"""The executors of a task runner: what is shipped to which, and what if one breaks."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from functools import partial
from typing import Any, Final

from eventflow.primitives.loggers import get_logger

__all__ = ["Pools", "Shipment"]

_logger: Final = get_logger("runners")

AHEAD: Final = 2
"""How many attempts a worker of its own pool has: the one that it executes, and the next."""

BARREN: Final = 3
"""How many pools may break in a row before an attempt has begun on one."""


class Shipment:
    """One attempt on its way to a worker: the call, and who is told of its end.

    It may be shipped more than once; a copy is known by its number. `done` is called with that and
    the executor's future, or with None if there is no pool to ship it to, and the reason.
    """

    __slots__ = ("args", "begun", "copies", "done", "entry", "futures", "granted", "withdrawn")

    def __init__(
        self,
        entry: Callable[..., Any],
        args: tuple[Any, ...],
        done: Callable[[int, Future[Any] | None, str], None],
    ) -> None:
        self.entry = entry
        self.args = args
        self.done = done
        self.begun = False
        self.withdrawn = False
        self.copies = 0
        # The number of the copy that was given leave to begin.
        self.granted = 0
        self.futures: list[Future[Any]] = []


class _Slot:
    """One executor, which is made when it is needed, and replaced when it is broken."""

    __slots__ = ("barren", "executor", "shipped")

    def __init__(self) -> None:
        self.executor: Executor | None = None
        self.shipped: list[Shipment] = []
        # How many executors of this slot have broken since an attempt has begun on one.
        self.barren = 0


class Pools:
    """Ships attempts to executors.

    With one executor everything is shipped to it at once. With several each has one worker: it is
    shipped the attempt that it executes and the next one, and what waits behind a long body is
    shipped to another that has nothing to do. A worker that dies then takes no other with it.

    Args:
        factory: makes an executor.
        count: how many there are.
        own: whether they are shut down when they are not needed any more.
    """

    def __init__(self, factory: Callable[[], Executor], count: int, *, own: bool) -> None:
        self._factory = factory
        self._own = own
        self._lock = threading.RLock()
        self._slots = [_Slot() for _ in range(count)]
        self._waiting: deque[Shipment] = deque()

    def ship(self, shipment: Shipment) -> None:
        """Ship an attempt as soon as a worker is to have it."""
        with self._lock:
            if len(self._slots) == 1:
                slot = self._slots[0]
            else:
                slot = min(self._slots, key=lambda each: len(each.shipped))
                if len(slot.shipped) >= AHEAD:
                    self._waiting.append(shipment)
                    return
        self._submit(slot, shipment)

    def withdraw(self, shipment: Shipment) -> None:
        """Do not ship an attempt that no worker has begun, if that is still possible."""
        shipment.withdrawn = True
        with self._lock, contextlib.suppress(ValueError):
            self._waiting.remove(shipment)
        for future in tuple(shipment.futures):
            future.cancel()

    def _submit(self, slot: _Slot, shipment: Shipment) -> None:
        reason = ""
        for _ in range(BARREN):
            executor: Executor | None = None
            with self._lock:
                copy = shipment.copies = shipment.copies + 1
                slot.shipped.append(shipment)
            try:
                executor = self._executor_of(slot)
                future = executor.submit(shipment.entry, *shipment.args, copy)
            except Exception as error:  # noqa: BLE001 - a function that makes executors may do anything
                # It is broken, or somebody has shut it down, or none can be made.
                reason = f"{type(error).__name__}: {error}"
                with self._lock:
                    slot.shipped.remove(shipment)
                if executor is not None:
                    self._broke(slot, executor)
            else:
                shipment.futures.append(future)
                future.add_done_callback(partial(self._done, slot, executor, shipment, copy))
                return
        shipment.done(shipment.copies, None, reason)

    def _executor_of(self, slot: _Slot) -> Executor:
        with self._lock:
            if slot.executor is None:
                slot.executor = self._factory()

            return slot.executor

    def _broke(self, slot: _Slot, executor: Executor) -> None:
        """Have another executor made in the place of one that is broken."""
        with self._lock:
            if slot.executor is not executor:
                return
            slot.executor = None
            slot.barren += 1
        if self._own:
            executor.shutdown(wait=False)

    def _done(
        self, slot: _Slot, executor: Executor, shipment: Shipment, copy: int, future: Future[Any]
    ) -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, BrokenExecutor):
            self._broke(slot, executor)
        elif error is None and not future.cancelled():
            slot.barren = 0
        with self._lock, contextlib.suppress(ValueError):
            slot.shipped.remove(shipment)
        shipment.futures.remove(future)
        if slot.barren >= BARREN and not shipment.begun:
            shipment.done(copy, None, str(error or CancelledError()))
        else:
            shipment.done(copy, future, "")
        if len(self._slots) > 1:
            self._fill(slot)

    def _fill(self, slot: _Slot) -> None:
        """Ship to a worker what waits, or what waits behind a long body of another worker."""
        while True:
            with self._lock:
                if len(slot.shipped) >= AHEAD:
                    return
                if self._waiting:
                    shipment = self._waiting.popleft()
                elif slot.shipped or (found := self._behind_another()) is None:
                    return
                else:
                    shipment = found
            self._submit(slot, shipment)

    def _behind_another(self) -> Shipment | None:
        for slot in self._slots:
            if len(slot.shipped) >= AHEAD:
                last = slot.shipped[-1]
                # A second copy only: the worker that asks first is given leave.
                if not (last.begun or last.withdrawn) and last.copies == 1:
                    return last

        return None

    def close(self, *, wait: bool) -> None:
        """Shut the executors down that were made here."""
        with self._lock:
            executors = [slot.executor for slot in self._slots if slot.executor is not None]
            futures = [each for slot in self._slots for one in slot.shipped for each in one.futures]
            for slot in self._slots:
                slot.executor = None
        # Not by the executors, some of which cannot do it.
        for future in futures:
            future.cancel()
        for executor in executors if self._own else ():
            executor.shutdown(wait=wait)
