"""Deadlines: one timer for all runs of the process tells of states that last too long.

A deadline is set when a run enters a state that a subscription selects with `lasting`. It is
dropped when the run leaves that state before it is due, or, for one that counts until the end of
the run, when the run ends before.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakSet

from eventflow.eventbus.filters import Filter
from eventflow.eventbus.publication import FailureHandler, Publication, lasted_event
from eventflow.eventbus.subscriptions import Subscription
from eventflow.eventbus.watchers import overdue_reporters
from eventflow.events import Event, StateLasted
from eventflow.interrupts.portals import OrderedCalls, timer_portal
from eventflow.interrupts.scopes import active_runs
from eventflow.primitives.forks import in_children, renewed
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Run, Transition

__all__ = [
    "Deadline",
    "Span",
    "TimedSubscriptions",
    "Timer",
    "TimerWatcher",
    "report_overdue",
    "set_deadlines",
    "set_for_present_runs",
    "timer",
    "workers",
]

THREADS: Final = 8
"""How many deadlines at once are told of: a hook that hangs holds up no more than one thread."""

UNSORTED: Final = 1_000
"""From how many new deadlines on those are dropped that are not needed any more."""


class PublishingBus(Protocol):
    """What a deadline needs of its bus."""

    def listens_for(self, kind: type[Event]) -> bool:
        """Return whether events of a class have subscribers."""
        ...

    def publish(self, event: Any) -> Any:
        """Publish an event."""
        ...

    @property
    def listener_failed(self) -> FailureHandler:
        """Called when a listener raises."""
        ...


class TimerWatcher(Protocol):
    """Is told when the timer will look for deadlines that are due."""

    def timer_planned(self, due: float, *, earlier: bool) -> None:
        """Take note of the time, on the timer's clock; infinity stands for never.

        If it is `earlier`, it comes before the last one.
        """
        ...


class Span(NamedTuple):
    """Subscriptions that are told after the same time, which counts until the run ends or not."""

    seconds: float
    until_end: bool
    subscriptions: tuple[Subscription, ...]


def spans_of(timed: Iterable[Subscription]) -> tuple[Span, ...]:
    """Return the spans of time after which subscriptions are told, the shortest first."""
    found: dict[tuple[float, bool], list[Subscription]] = {}
    for subscription in timed:
        chosen = subscription.filter
        found.setdefault((chosen.lasting or 0.0, chosen.until_end), []).append(subscription)

    return tuple(Span(*key, tuple(found[key])) for key in sorted(found))


class Deadline:
    """What is told of a state that a run has entered, if it lasts.

    `due` is when the next of the `spans` is over, on the timer's clock, and `since` when they
    began. `outer` is an earlier deadline of the run, which counts until its end.
    """

    __slots__ = ("context", "due", "fact", "outer", "since", "spans")

    def __init__(
        self, fact: Transition, spans: tuple[Span, ...], since: float, outer: Deadline | None
    ) -> None:
        self.outer = outer
        self.fact: Transition | None = fact
        self.spans = spans
        self.since = since
        self.due = since + spans[0][0]
        self.context: Context | None = copy_context()

    def leave(self, state: LazyState | None, *, ended: bool) -> Deadline | None:
        """Take note that the run has left a state; return the deadlines that still count."""
        outer = self.outer
        if outer is not None:
            outer = self.outer = outer.leave(state, ended=ended)
        now = timer.clock()
        if now >= self.due:
            # The timer is late: it lasted so long.
            self.expire(now, state)
        if not ended and self._goes_on():
            return self
        # It may wait in the timer still, and must hold nothing there.
        self.fact = self.context = None
        timer.drop(self)

        return outer

    def _goes_on(self) -> bool:
        """Drop all spans but those that count until the end of the run."""
        with _lock:
            self.spans = tuple(each for each in self.spans if each.until_end)
            if self.spans:
                self.due = self.since + self.spans[0].seconds

        return bool(self.spans)

    def expire(self, now: float, state: LazyState | None = None) -> None:
        """Have the subscriptions told whose time is over, in another thread.

        Hooks of a run that is overdue are given the state that it is in, or has been in until now.
        """
        with _lock:
            fact, spans, context = self.fact, self.spans, self.context
            over = sum(self.since + each.seconds <= now for each in spans)
            self.spans = spans[over:]
            if not self.spans:
                self.fact = None
            else:
                self.due = self.since + self.spans[0].seconds
        if fact is not None and context is not None:
            for span in spans[:over]:
                _expire(fact, span, state, context)


def _expire(fact: Transition, span: Span, state: LazyState | None, context: Context) -> None:
    told, run = copy.copy(fact), fact.run
    told.bus = run.bus
    if span.until_end:
        told.entered = state or run.entered or fact.entered
    accepted = [each for each in span.subscriptions if each.accepts(told)]
    listeners = [each for each in accepted if each.hook is None]
    owed = [each for each in accepted if each.hook is not None]
    journal = fact.journal or run.recorder
    if owed and journal is not None:
        # Before it is left to another thread: this process may end.
        told.journal, hooks = journal, journal.owe_lasted(told, owed)
    else:
        hooks = [*zip(owed, itertools.count(fact.next_ordinal))]
    deliver = partial(_deliver, fact, told, span, listeners, hooks)
    workers.put(run.number, lambda: context.copy().run(deliver))


def _deliver(
    fact: Transition,
    told: Transition,
    span: Span,
    listeners: Sequence[Subscription],
    hooks: Sequence[tuple[Subscription, int]],
) -> None:
    bus: PublishingBus = told.bus
    if span.until_end and hooks:
        report_overdue(fact.run, span.seconds)
    if listeners or bus.listens_for(StateLasted):
        event = lasted_event(fact, span.seconds, told.to_state, is_overdue=span.until_end)
        publication = Publication(event, bus.listener_failed, event)
        for listener in listeners:
            publication.deliver(listener, event)
        bus.publish(event)
        publication.raise_deferred()
    publication = Publication(told, bus.listener_failed)
    for hook, told.next_ordinal in hooks:
        publication.deliver(hook, told)
    publication.raise_deferred()


def report_overdue(run: Run, seconds: float) -> None:
    """Report once, for however many hooks, that a run has not ended in time."""
    for report in overdue_reporters:
        report(run, seconds)


# A deadline is told of by the timer, or by the thread of the run that leaves the state. Reentrant:
# a signal handler may run flows.
_lock = threading.RLock()
renewed(globals(), "_lock", threading.RLock)


class Timer:
    """Tells of deadlines when they are due: on `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.watchers: WeakSet[TimerWatcher] = WeakSet()
        """Who is told when the timer will look again."""
        self._serials = itertools.count()
        self.reset()

    def reset(self) -> None:
        """Drop all deadlines: in a forked child, where they are the parent's."""
        # Set by any thread; only the timer's own thread sorts them.
        self._new: deque[Deadline] = deque()
        self._heap: list[tuple[float, int, Deadline]] = []
        self._kept = 0
        self._planned = float("inf")
        self._cancel: Callable[[], None] | None = None

    def add(self, deadline: Deadline) -> None:
        """Have a deadline told of, unless it is dropped before."""
        self._new.append(deadline)
        # In this order: the timer plans first, and then looks for new ones.
        if deadline.due < self._planned:
            self._plan(deadline.due)

    def drop(self, deadline: Deadline) -> None:
        """Take note that a deadline is not needed any more.

        Where runs follow each other it is the last one, and nothing is left for the timer's thread.
        """
        new = self._new
        try:
            is_last = new[-1] is deadline
            last = new.pop() if is_last else deadline
        except IndexError:
            return
        if last is not deadline:
            # Another thread has added one meanwhile.
            self.add(last)
        elif not is_last and len(new) >= UNSORTED and self._planned > (now := self.clock()):
            self._plan(now)

    @property
    def waiting(self) -> int:
        """How many deadlines it keeps."""
        return len(self._new) + len(self._heap)

    def _plan(self, due: float) -> None:
        self._planned = due
        self._tell_watchers(due, earlier=True)
        timer_portal.call_later(max(0.0, due - self.clock()), self.run)

    def run(self) -> None:
        """Tell of what is due, and plan when to look again."""
        self._planned = float("-inf")
        while True:
            self._sort_new()
            heap, now = self._heap, self.clock()
            while heap and heap[0][0] <= now:
                deadline = heapq.heappop(heap)[2]
                if deadline.due <= now:
                    deadline.expire(now)
                if deadline.fact is not None:
                    self._push(deadline)
            due = heap[0][0] if heap else float("inf")
            self._planned = due
            if not self._new:
                break
        self._tell_watchers(due)
        if heap:
            if self._cancel is not None:
                self._cancel()
            self._cancel = timer_portal.call_later(max(0.0, due - now), self.run)

    def _tell_watchers(self, due: float, *, earlier: bool = False) -> None:
        for watcher in list(self.watchers):
            watcher.timer_planned(due, earlier=earlier)

    def _sort_new(self) -> None:
        new = self._new
        while new:
            try:
                deadline = new.popleft()
            except IndexError:
                # A run has left its state meanwhile.
                break
            if deadline.fact is not None:
                self._push(deadline)
        if len(self._heap) > 2 * self._kept + UNSORTED:
            # Most runs leave a state long before it is due.
            self._heap = [entry for entry in self._heap if entry[2].fact is not None]
            heapq.heapify(self._heap)
            self._kept = len(self._heap)

    def _push(self, deadline: Deadline) -> None:
        heapq.heappush(self._heap, (deadline.due, next(self._serials), deadline))


timer: Final = Timer()


def set_deadlines(fact: Transition, timed: TimedSubscriptions) -> None:
    """Set a deadline for each span of time after which subscriptions are told of this state."""
    run = fact.run
    spans = timed.first if run.run_count < 2 else timed.later  # noqa: PLR2004 - the first Running
    if timed.conditional:
        timely = (each for span in spans for each in span.subscriptions)
        spans = spans_of(each for each in timely if each.selects(fact))
    if spans and run.ended_at is None:
        run.deadlines = deadline = Deadline(fact, spans, timer.clock(), run.deadlines)
        timer.add(deadline)


class TimedSubscriptions(NamedTuple):
    """Subscriptions that are told of a state if it lasts: at its `first` entering, and `later`."""

    first: tuple[Span, ...]
    later: tuple[Span, ...]
    conditional: bool
    subscriptions: tuple[Subscription, ...]

    @classmethod
    def of(cls, subscriptions: tuple[Subscription, ...]) -> TimedSubscriptions | None:
        """Compile what is known before a run enters the state; None if nobody is told."""
        if not subscriptions:
            return None
        later = (each for each in subscriptions if not each.filter.until_end)
        conditional = any(each.per_run_checks for each in subscriptions)

        return cls(spans_of(subscriptions), spans_of(later), conditional, subscriptions)


def set_for_present_runs(
    subscription: Subscription, *, bus: PublishingBus | None = None, origin: Any = None
) -> None:
    """Set the deadlines of a new subscription for the runs that are in such a state already.

    Those of runs on a bus, or of runs of a definition.
    """
    chosen = subscription.filter
    runs: list[Any] = list(active_runs.values())
    for run in runs:
        entered = run.started_at if chosen.until_end else run.entered
        if run.ended_at is not None or entered is None:
            continue
        if run.bus is not bus if origin is None else run.definition.origin is not origin:
            continue
        fact = Transition(run, None, entered)
        fact.sequence = entered.sequence
        fact.journal, fact.bus = run.recorder, run.bus
        if not chosen.admits_fact(fact):
            continue
        elapsed = max(0.0, time.time() - entered.at / 1e9)
        since = timer.clock() - elapsed
        run.deadlines = deadline = Deadline(fact, spans_of([subscription]), since, run.deadlines)
        timer.add(deadline)
        # The run may have gone on meanwhile, and have missed this one.
        if _has_left(run, entered, chosen):
            deadline.leave(entered, ended=True)


def _has_left(run: Run, entered: LazyState, chosen: Filter) -> bool:
    return run.ended_at is not None or not (chosen.until_end or run.entered is entered)


workers: Final = OrderedCalls("eventflow-deadline", THREADS)
in_children(timer.reset)
