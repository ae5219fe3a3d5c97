"""The executors of a task runner: what is shipped to which, and what if one breaks."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from eventflow.runners.failures import WorkersFailedError

__all__ = ["Pools", "Shipment"]

AHEAD: Final = 2
"""How many calls a worker of its own pool has: the one that it executes, and the next."""

MOST_BROKEN: Final = 3
"""How many pools may break in a row before an attempt has begun on one."""

SHORT_SECONDS: Final = 0.001
"""Attempts that take less than that are shipped several at a time."""

SEVERAL: Final = 64
"""How many, at most."""

STUCK_SECONDS: Final = 0.02
"""After how long what waits behind a body is shipped to another worker before anything else."""


class Done(Protocol):
    """Is told of the end of a copy: what the worker has returned, or why it has not."""

    def __call__(self, copy: int, returned: Any, error: BaseException | None) -> None:
        """Take notice."""
        ...


class Shipment:
    """One attempt on its way to a worker: what is sent, and who is told of its end.

    It may be shipped more than once; a copy is known by its number, and `granted` is that which was
    given leave to begin.
    """

    __slots__ = ("attempt", "begun", "copies", "done", "granted", "open", "withdrawn")

    def __init__(self, attempt: Any, done: Done) -> None:
        self.attempt = attempt
        self.done = done
        self.begun = False
        self.withdrawn = False
        self.copies = 0
        self.granted = 0
        # How many copies have not ended.
        self.open = 0


class _Call:
    """One call of an executor, for several attempts, each with the number of its copy."""

    __slots__ = ("copies", "executor", "future", "since")

    def __init__(self, shipments: list[Shipment]) -> None:
        self.copies: list[tuple[Shipment, int]] = []
        for shipment in shipments:
            shipment.copies += 1
            shipment.open += 1
            self.copies.append((shipment, shipment.copies))
        self.executor: Executor | None = None
        self.future: Future[Any] | None = None
        self.since = monotonic()

    def sent(self) -> tuple[tuple[Any, int], ...]:
        """Return what is sent to the worker."""
        return tuple([(shipment.attempt, copy) for shipment, copy in self.copies])


class _Slot:
    """One executor, which is made when it is needed, and replaced when it is broken."""

    __slots__ = ("broken", "calls", "executor", "size")

    def __init__(self) -> None:
        self.executor: Executor | None = None
        self.calls: list[_Call] = []
        # How many executors of this slot have broken since a call has ended well.
        self.broken = 0
        # How many attempts are shipped at a time.
        self.size = 1


class Pools:
    """Ships attempts to executors.

    With one executor everything is shipped to it at once, each attempt by a call of its own. With
    several each has one worker: it is shipped what it executes and what comes next. Of what takes
    very little time, several are shipped at a time. What waits behind a long body is shipped to
    another worker. A worker that dies takes no other with it.

    Args:
        name: the runner, for people.
        entry: what an executor is to call with the attempts.
        factory: makes an executor.
        count: how many there are.
        own: whether they are shut down when they are not needed any more.
    """

    def __init__(
        self,
        name: str,
        entry: Callable[[Any], Any],
        factory: Callable[[], Executor],
        count: int,
        *,
        own: bool,
    ) -> None:
        self._name = name
        self._entry = entry
        self._factory = factory
        self._own = own
        self._lock = threading.RLock()
        self._slots = [_Slot() for _ in range(count)]
        self._waiting: deque[Shipment] = deque()

    def ship(self, shipment: Shipment) -> None:
        """Ship an attempt as soon as a worker is to have it."""
        with self._lock:
            slot = self._slots[0]
            if len(self._slots) > 1:
                slot = min(self._slots, key=lambda each: len(each.calls))
                if len(slot.calls) >= AHEAD:
                    self._waiting.append(shipment)
                    return
            call = self._added(slot, [shipment])
        self._submit(slot, call)

    def withdraw(self, shipment: Shipment) -> None:
        """Do not ship an attempt that no worker has begun, if that is still possible."""
        shipment.withdrawn = True
        with self._lock:
            with contextlib.suppress(ValueError):
                self._waiting.remove(shipment)
            alone = [
                call.future
                for slot in self._slots
                for call in slot.calls
                if len(call.copies) == 1 and call.copies[0][0] is shipment
            ]
        for future in alone:
            if future is not None:
                future.cancel()

    def _added(self, slot: _Slot, shipments: list[Shipment]) -> _Call:
        call = _Call(shipments)
        slot.calls.append(call)

        return call

    def _submit(self, slot: _Slot, call: _Call) -> None:
        error: BaseException | None = None
        for _ in range(MOST_BROKEN):
            try:
                executor = call.executor = self._executor_of(slot)
                future = call.future = executor.submit(self._entry, call.sent())
            except Exception as raised:  # noqa: BLE001 - what makes executors may raise anything
                # It is broken, or somebody has shut it down, or none can be made.
                error = raised
                self._broke(slot, call.executor)
            else:
                future.add_done_callback(partial(self._done, slot, call))
                return
        self._remove(slot, call)
        for shipment, copy in call.copies:
            shipment.done(copy, None, self._failed(error))

    def _failed(self, error: BaseException | None) -> WorkersFailedError:
        return WorkersFailedError(self._name, MOST_BROKEN, f"{type(error).__name__}: {error}")

    def _executor_of(self, slot: _Slot) -> Executor:
        with self._lock:
            if slot.executor is None:
                slot.executor = self._factory()

            return slot.executor

    def _broke(self, slot: _Slot, executor: Executor | None) -> None:
        """Have another executor made in the place of one that is broken."""
        with self._lock:
            if executor is None or slot.executor is not executor:
                return
            slot.executor = None
            slot.broken += 1
        if self._own:
            executor.shutdown(wait=False)

    def _remove(self, slot: _Slot, call: _Call) -> None:
        with self._lock:
            slot.calls.remove(call)
            for shipment, _ in call.copies:
                shipment.open -= 1

    def _done(self, slot: _Slot, call: _Call, future: Future[Any]) -> None:
        """Tell how a call has ended; called in whichever thread the executor does this."""
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._remove(slot, call)
            self._returned(slot, call, *future.result())
            self._fill_if_own(slot)
        elif isinstance(error, BrokenExecutor):
            # Not in this thread: an executor may hold its lock while it says that it is broken, and
            # needs it to be shut down, or given another call.
            ended = partial(self._failed_call, slot, call, error)
            threading.Thread(target=ended, name="eventflow-broken-pool", daemon=True).start()
        else:
            self._failed_call(slot, call, error)

    def _failed_call(self, slot: _Slot, call: _Call, error: BaseException) -> None:
        self._remove(slot, call)
        if isinstance(error, BrokenExecutor):
            self._broke(slot, call.executor)
        given_up = slot.broken >= MOST_BROKEN
        for shipment, copy in call.copies:
            is_lost = given_up and not shipment.begun
            shipment.done(copy, None, self._failed(error) if is_lost else error)
        self._fill_if_own(slot)

    def _fill_if_own(self, slot: _Slot) -> None:
        if len(self._slots) > 1:
            self._fill(slot)

    def _returned(self, slot: _Slot, call: _Call, last: int, outcome: Any) -> None:
        """Tell of the last attempt that was begun, and ship again those behind it.

        Of those before it the worker has told itself.
        """
        slot.broken = 0
        seconds = (monotonic() - call.since) / (last + 1)
        slot.size = min(SEVERAL, 2 * slot.size) if seconds < SHORT_SECONDS else 1
        left = [each for each, _ in call.copies[last + 1 :] if not (each.begun or each.withdrawn)]
        with self._lock:
            self._waiting.extendleft(reversed([each for each in left if not each.open]))
        shipment, copy = call.copies[last]
        shipment.done(copy, outcome, None)

    def _fill(self, slot: _Slot) -> None:
        """Ship to a worker what waits, or what waits behind a long body of another worker."""
        while True:
            with self._lock:
                if len(slot.calls) >= AHEAD:
                    return
                shipments = self._next(slot)
                if not shipments:
                    return
                call = self._added(slot, shipments)
            self._submit(slot, call)

    def _next(self, slot: _Slot) -> list[Shipment]:
        stuck = self._behind_another(slot, monotonic() - STUCK_SECONDS)
        if stuck is not None:
            return [stuck]
        waiting = self._waiting
        if waiting:
            # The others are to have their part.
            count = min(slot.size, 1 + len(waiting) // (2 * len(self._slots)))
            return [waiting.popleft() for _ in range(count)]
        idle = None if slot.calls else self._behind_another(slot, monotonic())

        return [] if idle is None else [idle]

    def _behind_another(self, slot: _Slot, before: float) -> Shipment | None:
        """Return what waits at another worker for a call that was made before that time."""
        for other in self._slots:
            if other is slot or not other.calls or other.calls[0].since > before:
                continue
            for call in other.calls:
                for shipment, _ in call.copies:
                    # A second copy only: the worker that asks first is given leave.
                    if not (shipment.begun or shipment.withdrawn) and shipment.copies == 1:
                        return shipment

        return None

    def close(self, *, wait: bool) -> None:
        """Shut the executors down that were made here."""
        with self._lock:
            executors = [slot.executor for slot in self._slots if slot.executor is not None]
            futures = [call.future for slot in self._slots for call in slot.calls]
            for slot in self._slots:
                slot.executor = None
        # Not by the executors, some of which cannot do it.
        for future in futures:
            if future is not None:
                future.cancel()
        for executor in executors if self._own else ():
            executor.shutdown(wait=wait)
