"""The journal's place on the bus: every transition is written down before anyone hears of it.

What nobody hears of, and leaves nothing to do to others if the process dies, is written a moment
later, together with more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from eventflow.errors import JournalError
from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.subscriptions import Phase, Subscription
from eventflow.hooks.declaration import Hook
from eventflow.hooks.handover import FOR_ALL
from eventflow.hooks.importability import reference_of
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Fence, Journal
from eventflow.journal.encoder import Entry, encoder_of, has_plain_parameters, line, settlement
from eventflow.journal.format import Values
from eventflow.journal.rows import Settlement
from eventflow.primitives.ids import delivery_id
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import Transition
from eventflow.states import RUNNING, StateType

__all__ = ["LineSink", "Recorder"]

MANY: Final = 32
"""How many transitions, or outcomes of hooks, are held back at most."""

_CRASHED: Final = frozenset({StateType.CRASHED, "Crashed"})
"""The type and the name of the state that others enter for a run whose process is dead."""

Key = tuple[UUID, UUID, int]
"""What tells a delivery from all others: its run, its event, the hook's place among the owed."""


class LineSink(Protocol):
    """Where lines are written, in the name of an owner."""

    @property
    def journal(self) -> Journal:
        """The journal that they go to."""
        ...

    @property
    def owner(self) -> str:
        """The owner in whose name they are written."""
        ...

    @property
    def begun(self) -> bool:
        """Whether the owner is entered."""
        ...

    @property
    def given_up(self) -> frozenset[int]:
        """The runs, by the number of their id, that belong to another owner by now."""
        ...

    @property
    def waits(self) -> bool:
        """Whether a line is durable only after a `wait`."""
        ...

    def begin(self) -> None:
        """Enter the owner, before the first line."""
        ...

    def put(self, line: bytes) -> None:
        """Write a line; calls nothing else, so that it may be called under a lock."""
        ...

    def ring(self) -> None:
        """Have what is put, or held back, in the journal within a moment."""
        ...

    def enlist(self, recorder: Recorder) -> None:
        """Ask a recorder for what it holds back before lines are committed."""
        ...

    def wait(self) -> bool:
        """Come back when all lines are as durable as they are to be; says whether they are."""
        ...

    def flush(self) -> bool:
        """Have all lines in the journal; says whether they are."""
        ...

    def fence(self) -> Fence:
        """Give what the owner proves itself with."""
        ...

    def guard(self, key: str, hooks: Sequence[Hook]) -> None:
        """Have hooks run even if this process dies; `key` names the definition they belong to."""
        ...


class Recorder:
    """Keeps account of the transitions on one bus, and of what became of their hooks.

    What cannot be recorded fails no run; it is said in the log.
    """

    def __init__(self, books: LineSink, bus: EventBus) -> None:
        self.books = books
        self._bus = bus
        self._for_all = 0
        self._guarded: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
        self._guarded_by = ""
        self.forget()
        books.enlist(self)

    @property
    def journal(self) -> Journal:
        """The journal that is written to."""
        return self.books.journal

    @property
    def owner_id(self) -> str:
        """The owner in whose name it is written."""
        return self.books.owner

    def record(self, fact: Transition, owed: Sequence[Subscription], *, heard: bool) -> bool:
        """Write a transition down; says whether `wait` has to be called before going on.

        What nobody hears of is held back for a moment, and written together with what comes
        after: the first transition of a run, and all those of a task run whose crash no hook is
        to hear of.
        """
        books = self.books
        if books.given_up and fact.run.number in books.given_up:
            return False
        fact.journal = self
        try:
            if fact.sequence == 0:
                self._begin(fact)
            quiet = not (owed or heard or books.waits)
            if quiet and (fact.sequence == 0 or self._is_minor(fact)):
                self._hold(fact)
                books.ring()
                return False
            self._write(fact, owed)
            books.ring()
        except Exception as error:  # noqa: BLE001 - the journal never fails a run
            fact.journal = None
            _say("A transition", error)
            return False

        return books.waits and (bool(owed) or (_is_edge(fact) and self._may_have_hooks(fact)))

    def _hold(self, fact: Transition) -> None:
        """Keep a transition, to be written within a moment, or sooner if there are many."""
        if fact.entered.type is RUNNING and not has_plain_parameters(fact.run):
            # As they are now: the body may change them.
            encoder_of(fact.run, self.books.owner).keep_up(fact.run)
        with self._lock:
            self._held.append(fact)
            if len(self._held) >= MANY:
                self.release()

    def _write(self, fact: Transition, owed: Sequence[Subscription]) -> None:
        """Write a transition, behind those that are held back, and what is owed."""
        with self._lock:
            # First: they may be of the same run.
            held = [*self._held]
            entries = self._entries(held)
            page = encoder_of(fact.run, self.books.owner)
            entries.append(page.entry(fact))
            self._put(held, entries, page.deliveries(fact, map(_hook, owed)) if owed else None)

    def release(self) -> None:
        """Write what is held back."""
        with self._lock:
            if self._held or self._settled:
                held = [*self._held]
                self._put(held, self._entries(held))

    def _entries(self, held: Iterable[Transition]) -> list[Entry]:
        """Put transitions down; what cannot be is said, and left out."""
        entries: list[Entry] = []
        for fact in held:
            try:
                entries.append(encoder_of(fact.run, self.books.owner).entry(fact))
            except Exception as error:  # noqa: BLE001 - the journal never fails a run
                _say("A transition", error)
                with suppress(ValueError):
                    self._held.remove(fact)

        return entries

    def _put(
        self,
        held: Sequence[Transition],
        entries: Sequence[Entry],
        owed: list[Values] | None = None,
    ) -> None:
        """Write some transitions, among them those that were held back, and what the last owes."""
        settled = [*self._settled]
        self.books.put(line(entries, owed, settled))
        # Only now: what interrupted this must not write later ones without these, and twice in
        # the journal is once. It may have written, and let go of, some of these itself.
        _let_go(self._held, held)
        _let_go(self._settled, settled)

    def forget(self) -> None:
        """Hold nothing back: in a forked child, it is the parent's to write."""
        self._held: deque[Transition] = deque()
        self._settled: deque[Values] = deque()
        # Reentrant: a signal handler or a finalizer may run flows.
        self._lock = threading.RLock()

    def wait(self) -> None:
        """Come back when what was recorded is in the journal, or cannot be written now."""
        self.books.wait()

    def flush(self) -> bool:
        """Have all that was recorded in the journal; says whether it is."""
        return self.books.flush()

    def _is_minor(self, fact: Transition) -> bool:
        """Whether nobody will miss this transition if the process dies: no hook hears of that."""
        if fact.run_type != "task" or self._bus.hook_count:
            return False
        declared = _declared(fact.run.definition)

        return not declared or not any(map(_hears_of_a_crash, declared))

    def _may_have_hooks(self, fact: Transition) -> bool:
        return bool(self._bus.hook_count or _declared(fact.run.definition))

    def _begin(self, fact: Transition) -> None:
        """Be entered as an owner, and see that the hooks which the run may have are safe."""
        books = self.books
        if not books.begun:
            books.begin()
        declared, for_all = _declared(fact.run.definition), self._bus.hook_count
        if not declared and not for_all:
            return
        if self._guarded_by != books.owner:
            # A forked child, say, which has a guardian of its own.
            self._guarded_by = books.owner
            self._guarded.clear()
            self._for_all = 0
        if for_all != self._for_all:
            self._for_all = for_all
            books.guard(FOR_ALL, _hooks(self._bus.subscriptions))
        origin = _origin(fact.run.definition)
        # Another tuple is the sign that hooks have been added.
        if self._guarded.get(origin) is not declared:
            self._guarded[origin] = declared
            books.guard(reference_of(origin), _hooks(declared))

    # -- deliveries -------------------------------------------------------------------------

    def settle(
        self,
        key: Key,
        status: DeliveryStatus,
        attempts: int,
        error: str | None = None,
        delay: float = 0.0,
        *,
        at_once: bool = True,
    ) -> None:
        """Note an attempt's beginning or outcome.

        What need not be written at once is held back for a moment, and written with what comes
        after: a line for each hook that has ended would cost more than most hooks.
        """
        if key[0].int in self.books.given_up:
            return
        try:
            row = settlement(key, status, attempts, error, delay)
            with self._lock:
                self._settled.append(row)
                if at_once or len(self._settled) >= MANY:
                    self.release()
            self.books.ring()
        except Exception as problem:  # noqa: BLE001 - the journal never fails a run
            _say("The outcome of a hook", problem)

    def transaction(self, key: Key, attempts: int) -> AbstractContextManager[Any]:
        """Give the journal's own transaction, which ends with this delivery's acknowledgement.

        Raises:
            JournalError: the delivery is not in the journal, or is acknowledged already, or the run
                was taken over by another process.
        """
        run_id, event_id, ordinal = key
        if run_id.int in self.books.given_up:
            raise JournalError(f"The run {run_id} was taken over by another process.")
        self.books.flush()
        done = Settlement(
            run_id,
            delivery_id(event_id, ordinal),
            DeliveryStatus.DELIVERED,
            attempts,
            datetime.now(UTC),
        )

        return self.journal.transaction(done, self.books.fence())


def _origin(definition: Any) -> Any:
    return getattr(definition, "origin", definition)


def _declared(definition: Any) -> tuple[Subscription, ...]:
    declared: tuple[Subscription, ...] = getattr(_origin(definition), "declared", ())

    return declared


def _hooks(subscriptions: Iterable[Subscription]) -> list[Hook]:
    return [_hook(one) for one in subscriptions if one.phase is Phase.HOOK]


def _hook(one: Subscription) -> Hook:
    hook: Hook = one.receiver.hook  # type: ignore[attr-defined]  # whatever receives for a hook has it

    return hook


def _hears_of_a_crash(one: Subscription) -> bool:
    """Whether a hook may be owed that a run has crashed; in doubt it is."""
    states = _hook(one).state
    if states is None:
        return True
    several = (states,) if isinstance(states, str) else states

    return not isinstance(several, tuple) or not _CRASHED.isdisjoint(several)


def _is_edge(fact: Transition) -> bool:
    return fact.sequence == 0 or fact.run.ended_at is not None


def _let_go(held: deque[Any], written: Iterable[Any]) -> None:
    for one in written:
        if held and held[0] is one:
            held.popleft()


def _say(what: str, error: Exception) -> None:
    get_logger("journal").error(f"{what} could not be recorded", exc_info=error)
