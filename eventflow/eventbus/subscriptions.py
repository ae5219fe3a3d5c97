"""Subscriptions: who receives which events, and in which order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from logging import LogRecord
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from eventflow.eventbus.filters import Filter
from eventflow.events import Event
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.forks import renewed
from eventflow.runs.run import Run, Transition

__all__ = [
    "Listener",
    "Receiver",
    "Subscription",
    "TransitionRecorder",
]

Listener: TypeAlias = Callable[[Any], object]
"""What takes one event: a function, sync or async, or anything callable."""


class Receiver(Protocol):
    """Takes events in one of two ways, from publishers that can await and from those that cannot.

    The receiver of a hook is given the transition itself, and no event is built for it.
    """

    def receive(self, event: Any) -> None:
        """Take an event from sync code; may block."""
        ...

    def areceive(self, event: Any) -> Awaitable[None] | None:
        """Take an event from async code; return what the publisher has to await, if anything."""
        ...

    def end(self) -> None:
        """Take no more events; those that wait are still delivered."""
        ...

    def close(self) -> None:
        """Take no more events, and drop those that wait."""
        ...


class TransitionRecorder(Protocol):
    """Records transitions, and the hooks that they are owed to, before they are delivered.

    Users' own events are recorded as well, for those who look on.

    A bus has one at most: the journal's.
    """

    def record(self, fact: Transition, owed: tuple[Subscription, ...], *, observed: bool) -> bool:
        """Record a transition; return whether `wait` has to be called before the delivery.

        `observed` says whether there are listeners to it, besides the hooks that it is owed to.
        """
        ...

    def wait(self) -> None:
        """Return when what was recorded is as durable as it is to be; may block."""
        ...

    def owe_lasted(
        self, fact: Transition, owed: Sequence[Subscription]
    ) -> list[tuple[Subscription, int]]:
        """Record which hooks are owed a state because it has lasted.

        Returns those that this process has to deliver, with their ordinals.
        """
        ...

    def record_event(self, event: Event) -> None:
        """Have an event of the user's own recorded some time later; never blocks."""
        ...

    def record_log(self, run: Run | None, number: int, record: LogRecord) -> None:
        """Record a line that was logged in the run of that number, if that is here; never waits."""
        ...


# One for all subscriptions, as it is held for a moment only. Reentrant: a signal handler may cancel
# a subscription, or publish.
_lock = threading.RLock()
renewed(globals(), "_lock", threading.RLock)


class Counter:
    """Counts for many threads without a lock: `increment` is a single step of an iterator."""

    __slots__ = ("_reads", "_steps", "increment")

    def __init__(self, begin: int = 0) -> None:
        self._steps = itertools.count(begin)
        self.increment: Callable[[], int] = self._steps.__next__
        self._reads = 0

    def total(self) -> int:
        """Return what has been counted; each read is a step too, and subtracted again."""
        with _lock:
            total = next(self._steps) - self._reads
            self._reads += 1

        return total

    def __reduce__(self) -> tuple[type[Counter], tuple[int]]:
        # Since Python 3.14 an iterator of itertools cannot be pickled.
        return Counter, (self.total(),)


class Subscription:
    """A listener's place on a bus. Cancel it, or use it as a context manager.

    `hook` is the `Hook` that it runs; None if it is a listener's. Hooks come after listeners.
    """

    __slots__ = (
        "_claimed",
        "_on_cancel",
        "active",
        "counter",
        "filter",
        "hook",
        "listener",
        "once",
        "order",
        "per_run_checks",
        "priority",
        "receiver",
        "serial",
    )

    def __init__(
        self,
        listener: object,
        receiver: Receiver,
        selection: Filter,
        *,
        serial: int,
        hook: Any = None,
        priority: float = 0,
        once: bool = False,
        on_cancel: Callable[[Subscription], None] | None = None,
    ) -> None:
        self.listener = listener
        self.receiver = receiver
        self.filter = selection
        self.per_run_checks = selection.per_run_checks
        self.hook = hook
        self.priority = priority
        self.serial = serial
        self.order = (hook is not None, -priority, serial)
        self.once = once
        self.active = True
        self.counter = Counter()
        self._claimed = False
        self._on_cancel = on_cancel

    @property
    def delivered(self) -> int:
        """How many events the listener was given; an async one may not have come to them yet."""
        return self.counter.total()

    @property
    def dropped(self) -> int:
        """How many events were dropped because the listener was too slow."""
        return getattr(self.receiver, "dropped", 0)

    @property
    def pending(self) -> int:
        """How many events wait for the listener."""
        return getattr(self.receiver, "pending", 0)

    def accepts(self, subject: object) -> bool:
        """Return whether an event about this run is to be delivered now; True uses up a `once`."""
        if not self.active or (self.per_run_checks and not self._admits(subject)):
            return False

        return not self.once or self._claim()

    def selects(self, subject: object) -> bool:
        """Return whether it is active and selects this run, among those of its definition."""
        return self.active and self._admits(subject)

    def _admits(self, subject: object) -> bool:
        return all(check.admits(subject) for check in self.per_run_checks)

    def _claim(self) -> bool:
        with _lock:
            if self._claimed:
                return False
            self._claimed = True

        return True

    def expire(self) -> None:
        """End a subscription for `once` after its event, which an async listener still receives."""
        self._deactivate()
        self.receiver.end()

    def cancel(self) -> None:
        """End the subscription; events that still wait for it are dropped. May be repeated."""
        self._deactivate()
        self.receiver.close()

    def _deactivate(self) -> None:
        with _lock:
            active, self.active = self.active, False
        if active and self._on_cancel is not None:
            self._on_cancel(self)

    def __call__(self, event: Event) -> None:
        """Deliver an event from sync code."""
        self.receiver.receive(event)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"Subscription({qualified_name(self.listener)}, {self.filter})"
