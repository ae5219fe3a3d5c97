"""The recorder: writes every transition on a bus to the journal before it is published.

A transition is held back for a moment, and written together with later ones, if no listener and no
hook receives it, and no hook is lost with it if the process dies.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.subscriptions import Subscription, watch_hooks
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.hooks.sets import Guard, HookSets
from eventflow.journal.contract import Fence, Journal
from eventflow.journal.encoder import (
    Entry,
    encode_line,
    encode_settlement,
    encoder_of,
    has_immutable_parameters,
)
from eventflow.journal.format import Values
from eventflow.journal.rows import Settlement
from eventflow.primitives.ids import delivery_id
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import Run, Transition
from eventflow.states import StateType
from eventflow.states.kinds import RUNNING

__all__ = ["LineSink", "Recorder"]

HELD_LIMIT: Final = 32
"""How many transitions, or outcomes of hooks, are held back at most."""

_CRASHED: Final = frozenset({StateType.CRASHED, "Crashed"})
"""The type and the name of the state that another process enters for the runs of a dead one."""

Place = tuple[UUID, int]
"""Identifies a delivery of a run: the event, and the ordinal of the hook among the owed."""


class LineSink(Protocol):
    """Where lines are written in the name of an owner."""

    @property
    def journal(self) -> Journal:
        """The journal that the lines are committed to."""
        ...

    @property
    def owner(self) -> str:
        """The id of the owner."""
        ...

    @property
    def begun(self) -> bool:
        """Whether `begin` was called."""
        ...

    @property
    def guarding(self) -> Guard | None:
        """What guards the hooks of the owner, if anything can."""
        ...

    @property
    def lock(self) -> AbstractContextManager[object]:
        """What a line is made and appended under, so that its owner stays the same; reentrant."""
        ...

    @property
    def waits(self) -> bool:
        """Whether a line is durable only after a `wait`."""
        ...

    def begin(self) -> None:
        """Set the owner up, before its first line."""
        ...

    def append(self, line: bytes) -> None:
        """Add a line; calls nothing else, so that it may be called under a lock."""
        ...

    def notify(self) -> None:
        """Have all lines committed within a moment, also those that recorders hold back."""
        ...

    def register(self, recorder: Recorder) -> None:
        """Have a recorder write what it holds back before each commit."""
        ...

    def wait(self) -> bool:
        """Return when all lines are durable; return False if they are not."""
        ...

    def flush(self) -> bool:
        """Commit all lines; return False if that failed."""
        ...

    def fence(self) -> Fence:
        """Return the fence under which the owner writes."""
        ...


class Recorder:
    """Records the transitions on one bus, and the outcomes of their hooks.

    If something cannot be recorded, that is logged, and no run fails.
    """

    def __init__(self, sink: LineSink, bus: EventBus) -> None:
        self.sink = sink
        self._bus = bus
        self._sets: HookSets | None = HookSets(bus)
        self._held: deque[Transition] = deque()
        self._settled: deque[Values] = deque()
        sink.register(self)
        watch_hooks(self)

    def continue_runs(self) -> None:
        """Go on with the runs of other owners: what hooks they are subject to is recorded."""
        self._sets = None

    @property
    def journal(self) -> Journal:
        """The journal that is written to."""
        return self.sink.journal

    @property
    def owner_id(self) -> str:
        """The owner in whose name it is written."""
        return self.sink.owner

    def record(self, fact: Transition, owed: Sequence[Subscription], *, observed: bool) -> bool:
        """Write a transition; return True if `wait` has to be called before it is published.

        Without hooks and listeners these are held back: the first transition of a run, and all
        transitions of a task run if no hook selects its crash.
        """
        sink = self.sink
        fact.journal = self
        if self.has_given_up(fact.run):
            return False
        try:
            if fact.sequence == 0:
                self._begin(fact)
            deferrable = not (owed or observed or sink.waits)
            if deferrable and (fact.sequence == 0 or self._may_be_lost(fact)):
                self._hold_back(fact)
                sink.notify()
                return False
            self._write(fact, owed)
            sink.notify()
        except Exception as error:  # noqa: BLE001 - the journal never fails a run
            fact.journal = None
            _log_failure("A transition", error)
            return False

        return sink.waits and (bool(owed) or (_is_boundary(fact) and self._may_have_hooks(fact)))

    def _hold_back(self, fact: Transition) -> None:
        """Keep a transition, to be written within a moment, or at once if there are many."""
        with self.sink.lock:
            if self.has_given_up(fact.run):
                return
            if fact.entered.type is RUNNING and not has_immutable_parameters(fact.run):
                # As they are now: the body may change them.
                encoder_of(fact.run, self.sink.owner).update(fact.run)
            self._held.append(fact)
            if len(self._held) >= HELD_LIMIT:
                self.flush_held()

    def _write(self, fact: Transition, owed: Sequence[Subscription]) -> None:
        """Write a transition and what it owes, after the ones that are held back."""
        with self.sink.lock:
            encoder = encoder_of(fact.run, self.sink.owner)
            if encoder.owner != self.sink.owner:
                # It was given up since `record` has looked.
                return
            # First: they may be of the same run.
            held = [*self._held]
            entries = self._encode(held)
            entries.append(encoder.entry(fact))
            hooks = [subscription.hook for subscription in owed]
            self._append(held, entries, encoder.deliveries(fact, hooks) if owed else None)

    def flush_held(self) -> None:
        """Write everything that is held back."""
        with self.sink.lock:
            if self._held or self._settled:
                held = [*self._held]
                self._append(held, self._encode(held))

    def _encode(self, held: Iterable[Transition]) -> list[Entry]:
        """Encode transitions; one that cannot be encoded is logged and left out."""
        entries: list[Entry] = []
        for fact in held:
            try:
                entries.append(encoder_of(fact.run, self.sink.owner).entry(fact))
            except Exception as error:  # noqa: BLE001 - the journal never fails a run
                _log_failure("A transition", error)
                with suppress(ValueError):
                    self._held.remove(fact)

        return entries

    def _append(
        self,
        held: Sequence[Transition],
        entries: Sequence[Entry],
        owed: list[Values] | None = None,
    ) -> None:
        """Write entries, among them the held ones, with what the last of them owes."""
        settled, sets = [*self._settled], self._sets
        if sets is not None and sets.owner != self.sink.owner:
            sets.begin(self.sink.owner, self.sink.guarding)
        line = encode_line(entries, owed, settled, sets)
        self.sink.append(line)
        # Afterwards: what interrupts this call must not write later transitions without these. A
        # second copy does no harm. It may itself have written and removed some of these.
        _remove_written(self._held, held)
        _remove_written(self._settled, settled)
        if sets is not None and (sets.sets or sets.changes):
            _remove_written(sets.sets, line.rows.get("hook_sets", ()))
            _remove_written(sets.changes, line.rows.get("hook_changes", ()))

    def discard_held(self) -> None:
        """Drop what is held back: in a forked child, since the parent writes it."""
        for fact in self._held:
            # Now they are known as runs of the parent.
            encoder_of(fact.run, self.sink.owner)
        self._held.clear()
        self._settled.clear()

    def wait(self, fact: Transition, owed: Sequence[Subscription]) -> None:
        """Return when a recorded transition is durable, or cannot be written now."""
        self.sink.wait()
        run = fact.run
        if fact.sequence == 0 and self.has_given_up(run) and self._is_unknown(run):
            # Others took this process for dead before the run began: no one else has it.
            run.encoder = None
            if self.record(fact, owed, observed=True):
                self.sink.wait()

    def _is_unknown(self, run: Run) -> bool:
        """Return whether the journal has no such run; False if it cannot be read."""
        try:
            return self.journal.run(run.id) is None
        except JournalError:
            return False

    def flush(self) -> bool:
        """Commit all that was recorded; return False if that failed."""
        return self.sink.flush()

    def _may_be_lost(self, fact: Transition) -> bool:
        """Return whether this transition may be lost: no hook can be owed the crash of its run."""
        if fact.run_type != "task" or self._bus.hook_count:
            return False
        declared = fact.run.definition.origin.declared

        return not declared or not any(map(_may_select_crashed, declared))

    def _may_have_hooks(self, fact: Transition) -> bool:
        return bool(self._bus.hook_count or fact.run.definition.origin.declared)

    def _begin(self, fact: Transition) -> None:
        """Set the owner up, and have the hooks that the run may owe guarded."""
        sink = self.sink
        if not sink.begun:
            sink.begin()
        origin, sets = fact.run.definition.origin, self._sets
        if sets is None or (sets.owner == sink.owner and not origin.declared):
            return
        with self.sink.lock:
            if sets.owner != sink.owner:
                # A forked child, for example, which has a guardian of its own.
                sets.begin(sink.owner, sink.guarding)
            if origin.declared:
                sets.of(origin)

    def hooks_changed(self, definition: Any) -> None:
        """Record, for the runs that execute, hooks that were declared or cancelled meanwhile."""
        sets = self._sets
        if sets is None or not sets.owner or sets.owner != self.sink.owner:
            return
        try:
            with self.sink.lock:
                sets.refresh(definition)
                if not sets.changes:
                    return
                self._append((), ())
            self.sink.notify()
        except Exception as error:  # noqa: BLE001 - the journal never fails a run
            _log_failure("A change of hooks", error)

    def repeat_hook_sets(self) -> None:
        """Record the sets of hooks once more, since lines were lost."""
        sets = self._sets
        if sets is not None and sets.owner:
            with self.sink.lock:
                sets.repeat()
                self._append((), ())

    # -- deliveries -------------------------------------------------------------------------

    def has_given_up(self, run: Run) -> bool:
        """Return whether another owner has the run, and runs its hooks.

        That is so if it began in the name of another than the present one: others took this process
        for dead since, or it is a forked child, and the run its parent's.
        """
        encoder = run.encoder

        return encoder is not None and encoder.owner != self.sink.owner

    def settle(
        self,
        run: Run,
        place: Place,
        status: DeliveryStatus,
        attempts: int,
        *,
        error: str | None = None,
        delay: float = 0.0,
        at_once: bool = True,
    ) -> None:
        """Record the beginning or the outcome of an attempt.

        Unless it is needed at once it is held back and written with later lines: a line for each
        hook that has ended would cost more than most hooks.
        """
        try:
            row = encode_settlement((run.id, *place), status, attempts, error, delay)
            with self.sink.lock:
                if self.has_given_up(run):
                    return
                self._settled.append(row)
                if at_once or len(self._settled) >= HELD_LIMIT:
                    self.flush_held()
            self.sink.notify()
        except Exception as problem:  # noqa: BLE001 - the journal never fails a run
            _log_failure("The outcome of a hook", problem)

    def transaction(self, run: Run, place: Place, attempts: int) -> AbstractContextManager[Any]:
        """Return a transaction of the journal, which is committed with the delivery's settlement.

        Raises:
            JournalError: the delivery is not in the journal, or is acknowledged already, or the run
                was taken over by another process.
        """
        self.sink.flush()
        fence = self.sink.fence()
        # In this order: the fence is that of the run's owner, or of a later one.
        if self.has_given_up(run):
            raise JournalError(f"The run {run.id} was taken over by another process.")
        delivered = Settlement(
            run.id,
            delivery_id(*place),
            DeliveryStatus.DELIVERED,
            attempts,
            datetime.now(UTC),
        )

        return self.journal.transaction(delivered, fence)


def _may_select_crashed(subscription: Subscription) -> bool:
    """Return whether a hook may be owed the crash of a run; True if in doubt."""
    states = subscription.hook.state
    if states is None:
        return True
    selected = (states,) if isinstance(states, str) else states

    return not isinstance(selected, tuple) or not _CRASHED.isdisjoint(selected)


def _is_boundary(fact: Transition) -> bool:
    """Return whether this is the first transition of a run, or one that ended it."""
    return fact.sequence == 0 or fact.run.ended_at is not None


def _remove_written(held: deque[Any] | list[Any], written: Iterable[Any]) -> None:
    for item in written:
        if held and held[0] is item:
            del held[0]


def _log_failure(what: str, error: Exception) -> None:
    get_logger("journal").error(f"{what} could not be recorded", exc_info=error)
