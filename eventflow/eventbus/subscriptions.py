"""Subscriptions: who receives which events, and in which order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Awaitable, Callable, Sequence
from enum import IntEnum
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from eventflow.eventbus.filters import Filter
from eventflow.events import Event
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.forks import renewed
from eventflow.runs.run import Transition

__all__ = [
    "Listener",
    "Phase",
    "Receiver",
    "Subscription",
    "TransitionRecorder",
]

Listener: TypeAlias = Callable[[Any], object]
"""What takes one event: a function, sync or async, or anything callable."""


class Phase(IntEnum):
    """The order in which kinds of subscribers receive one event."""

    LISTENER = 0
    HOOK = 1


class Receiver(Protocol):
    """Takes events in one of two ways, for publishers that can await and for those that cannot.

    A hook's receiver is given the transition itself: it needs no event, and none is built for it.
    """

    def receive(self, event: Any) -> None:
        """Take an event from sync code; may block."""
        ...

    def areceive(self, event: Any) -> Awaitable[None] | None:
        """Take an event from async code; gives what is left to be awaited, if anything."""
        ...

    def end(self) -> None:
        """Nothing will come any more; what waits is still wanted."""
        ...

    def close(self) -> None:
        """Let go of what is held; nothing will come any more, and nothing is wanted."""
        ...


class TransitionRecorder(Protocol):
    """Keeps account of transitions, and of the hooks they are owed to, before anyone hears of them.

    A bus has one at most: the journal's.
    """

    def record(self, fact: Transition, owed: Sequence[Subscription], *, observed: bool) -> bool:
        """Write a transition down; says whether `wait` has to be called before going on.

        `observed` says whether there are listeners to it, besides the hooks that it is owed to.
        """
        ...

    def wait(self) -> None:
        """Come back when what was recorded is as durable as it is to be; may block."""
        ...


# Of all, as it is held for a moment only. Reentrant: a signal handler may cancel one, or publish.
_lock = threading.RLock()
renewed(globals(), "_lock", threading.RLock)


class Counter:
    """Counts for many threads without a lock on their way: a step of `count` is a single one."""

    __slots__ = ("_looks", "_steps", "count")

    def __init__(self) -> None:
        self._steps = itertools.count()
        self.count: Callable[[], int] = self._steps.__next__
        self._looks = 0

    def total(self) -> int:
        """Give what has been counted; each look is a step too, and taken off again."""
        with _lock:
            total = next(self._steps) - self._looks
            self._looks += 1

        return total


class Subscription:
    """A listener's place on a bus. Cancel it, or use it as a context manager."""

    __slots__ = (
        "_claimed",
        "_on_cancel",
        "active",
        "filter",
        "late",
        "listener",
        "once",
        "order",
        "phase",
        "priority",
        "receiver",
        "serial",
        "tally",
    )

    def __init__(
        self,
        listener: object,
        receiver: Receiver,
        selection: Filter,
        *,
        serial: int,
        phase: Phase = Phase.LISTENER,
        priority: float = 0,
        once: bool = False,
        on_cancel: Callable[[Subscription], None] | None = None,
    ) -> None:
        self.listener = listener
        self.receiver = receiver
        self.filter = selection
        self.late = selection.late
        self.phase = phase
        self.priority = priority
        self.serial = serial
        self.order = (phase, -priority, serial)
        self.once = once
        self.active = True
        self.tally = Counter()
        self._claimed = False
        self._on_cancel = on_cancel

    @property
    def delivered(self) -> int:
        """How many events the listener was given; an async one may not have come to them yet."""
        return self.tally.total()

    @property
    def dropped(self) -> int:
        """How many events were dropped because the listener was too slow."""
        return getattr(self.receiver, "dropped", 0)

    @property
    def pending(self) -> int:
        """How many events wait for the listener."""
        return getattr(self.receiver, "pending", 0)

    def takes(self, subject: object) -> bool:
        """Say whether an event about this run is wanted now; a `once` is used up by it."""
        if not self.active or (self.late and not self._meets(subject)):
            return False

        return not self.once or self._claim()

    def _meets(self, subject: object) -> bool:
        return all(check.admits(subject) for check in self.late)

    def _claim(self) -> bool:
        with _lock:
            if self._claimed:
                return False
            self._claimed = True

        return True

    def used_up(self) -> None:
        """End a `once`, whose event it has been given."""
        self._leave()
        self.receiver.end()

    def cancel(self) -> None:
        """End the subscription; events that still wait for it are dropped. May be repeated."""
        self._leave()
        self.receiver.close()

    def _leave(self) -> None:
        with _lock:
            active, self.active = self.active, False
        if active and self._on_cancel is not None:
            self._on_cancel(self)

    def __call__(self, event: Event) -> None:
        """Hand an event over from sync code."""
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
