"""The ledger of deliveries: acknowledges hooks in the record of a run, or by further records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from time import time_ns
from typing import Any
from uuid import UUID

from eventflow.errors import JournalError
from eventflow.eventbus.subscriptions import Subscription
from eventflow.hooks.ledger import (
    DEAD,
    DELIVERED,
    LASTED,
    OWED,
    PENDING,
    RUNNING,
    Attempt,
    DeliveryStatus,
    Failure,
)
from eventflow.hooks.sets import hook_columns
from eventflow.journal.encoder import RunEncoder, cut
from eventflow.journal.records import COUNTED, Acknowledged, Settled, pack, run_hex
from eventflow.journal.rows import DeliveryRow, micros
from eventflow.journal.sink import RecordSink, log_failure
from eventflow.primitives.ids import delivery_id
from eventflow.primitives.texts import printable
from eventflow.runs.run import Run

__all__ = ["DeliveryLedger", "settled_of"]


class DeliveryLedger:
    """Records the beginning and the outcome of each delivery, in the name of the sink's owner."""

    def __init__(self, sink: RecordSink) -> None:
        self.sink = sink

    @property
    def has_workers(self) -> bool:
        """Whether hooks are left to workers."""
        return self.sink.has_workers

    def has_given_up(self, run: Run) -> bool:
        """Return whether another owner has the run, and runs its hooks.

        That is so if it began in the name of another than the present one: others took this process
        for dead since, or it is a forked child, and the run its parent's.
        """
        encoder = run.encoder
        if encoder is None or encoder.owner == self.sink.owner or not encoder.next:
            return False
        # Perhaps the session becomes another owner just now, which goes on with the run.
        with self.sink.turns.free(), self.sink.turns:
            encoder = run.encoder
            return encoder is not None and encoder.owner != self.sink.owner and encoder.next > 0

    def adopt(self, run: Run, sequence: int, deliveries: Sequence[DeliveryRow]) -> None:
        """Go on with a run of another owner, and with what it owes.

        `sequence` is that of its last transition, `deliveries` are those of all, in order.
        """
        encoder = run.encoder = RunEncoder()
        encoder.owner = self.sink.owner
        encoder.next, encoder.sequence, encoder.adopted = sequence + 1, sequence, True
        owed = [row for row in deliveries if row.sequence == sequence and row.ordinal < LASTED]
        encoder.hooks = [(row.hook, int(row.importable)) for row in owed[:COUNTED]]
        encoder.owed = len(encoder.hooks)
        undone = [row.ordinal for row in owed if row.status in OWED]
        encoder.settled = {row.ordinal: b"" for row in owed if row.status not in OWED}
        encoder.done = encoder.begun = min([encoder.owed, *undone])
        moments = (row.updated for row in deliveries if row.updated is not None)
        encoder.updated = max(map(micros, moments), default=0)

    def acknowledge_all(self, run: Run) -> None:
        """Note that all hooks are done that the last transition of an adopted run is owed to."""
        encoder: RunEncoder | None = run.encoder
        if encoder is not None and encoder.owed:
            encoder.begun = encoder.done = encoder.owed
            _updated(encoder, time_ns() // 1000)
            self._acknowledge(run, encoder)

    def settle(self, attempt: Attempt, status: DeliveryStatus, why: Failure | None = None) -> None:
        """Record the beginning or the outcome of an attempt.

        The first one is acknowledged in the record of the run itself, in place, if it succeeds.
        """
        encoder: RunEncoder | None = attempt.run.encoder
        try:
            if (
                encoder is None
                or encoder.sequence != attempt.sequence
                or encoder.owner is not self.sink.owner
                or attempt.attempt != 1
                or why is not None
                or encoder.settled
                or encoder.adopted
            ):
                self._settle(attempt, status, why)
                return
            ordinal = attempt.ordinal
            if status is DELIVERED and ordinal == encoder.done < encoder.begun:
                encoder.done = ordinal + 1
            elif status is RUNNING and ordinal == encoder.begun < encoder.owed:
                encoder.begun = ordinal + 1
            else:
                self._settle(attempt, status, why)
                return
            encoder.updated = at = time_ns() // 1000
            segment, offset = encoder.segment, encoder.offset
            if (
                segment is None
                or not self.sink.writer.acknowledge(
                    segment, offset, encoder.begun, encoder.done, at
                )
                # Others took this process for dead meanwhile: it may be noted where nobody reads.
                or attempt.run.encoder is not encoder
            ):
                self._acknowledge(attempt.run, encoder)
        except Exception as problem:  # noqa: BLE001 - the journal never fails a run
            log_failure("The outcome of a hook", problem)

    def _settle(self, attempt: Attempt, status: DeliveryStatus, why: Failure | None) -> None:
        """Write a record of the status of a delivery."""
        sink = self.sink
        with sink.turns.free(), sink.turns:
            encoder: RunEncoder | None = attempt.run.encoder
            if self.has_given_up(attempt.run):
                return
            now = time_ns() // 1000
            settled = settled_of(attempt, status, now)
            if why is not None:
                due = now + int(why.delay * 1e6) if why.delay else None
                settled = settled._replace(due=due, error=cut(printable(why.error)))
            record = pack("S", settled)
            sink.writer.append(record)
            if encoder is not None and encoder.sequence == attempt.sequence:
                ordinal = attempt.ordinal
                encoder.settled = {**encoder.settled, ordinal: record}
                if ordinal < encoder.owed:
                    if ordinal == encoder.done and (status is DELIVERED or status is DEAD):
                        encoder.done = ordinal + 1
                    encoder.begun = max(encoder.begun, ordinal + 1)
                    self._acknowledge(attempt.run, encoder)
        if attempt.ordinal >= LASTED and (status is DELIVERED or status is DEAD) and sink.guarding:
            sink.guarding.release(_delivery(attempt).hex)
        sink.writer.notify()

    def _acknowledge(self, run: Run, encoder: RunEncoder) -> None:
        """Write a record of how far the hooks are: no more in place."""
        with self.sink.turns.free(), self.sink.turns:
            self._release(encoder)
            if self.has_given_up(run):
                return
            self._append_progress(run, encoder)
        self.sink.writer.notify()

    def _append_progress(self, run: Run, encoder: RunEncoder) -> None:
        content = (run_hex(run.number), encoder.sequence, encoder.owed)
        progress = (encoder.begun, encoder.done, encoder.updated)
        self.sink.writer.append(pack("A", Acknowledged(*content, *progress)))

    def transaction(self, attempt: Attempt) -> AbstractContextManager[Any]:
        """Return a transaction of the journal, which is committed with the delivery's settlement.

        Raises:
            JournalError: the delivery is not in the journal, or is acknowledged already, or the run
                was taken over by another process.
        """
        self.sink.flush()
        fence = self.sink.fence()
        run = attempt.run
        # In this order: the fence is that of the run's owner, or of a later one.
        if self.has_given_up(run):
            raise JournalError(f"The run {run.id} was taken over by another process.")

        return self.sink.journal.transaction(
            settled_of(attempt, DELIVERED, time_ns() // 1000), fence
        )

    def claim(self, run: Run, sequence: int, hook: Subscription, ordinal: int) -> bool:
        """Note that a state has lasted for a hook; return False if the guardian delivers it."""
        guard = self.sink.guarding
        key = delivery_id(run.number, sequence, ordinal).hex
        is_own = guard is None or guard.claim(key)
        # The guardian may have been killed before it recorded anything: then a recovery finds this
        # one, and if not, whatever it has recorded is later.
        at = None if is_own else run.encoder.created
        self.owe(run, sequence, [hook_columns(hook.hook)], ordinal, at)

        return is_own

    def owe(
        self,
        run: Run,
        sequence: int,
        hooks: Sequence[tuple[str, int]],
        first: int = COUNTED,
        at: int | None = None,
    ) -> None:
        """Note what a transition is owed to hooks that its record does not count.

        When those that it counts are done, the run would not be found any more.
        """
        key, moment = run_hex(run.number), time_ns() // 1000 if at is None else at
        for ordinal, hook in enumerate(hooks, first):
            pending = Settled(key, sequence, ordinal, *hook, PENDING._value_, 0, moment)
            self.sink.writer.append(pack("S", pending))

    def leave(self, run: Run, encoder: RunEncoder) -> None:
        """Give each hook that is not done a record of its own: the next one of the run counts anew.

        That is so where an interrupt has ended the hooks of a transition.
        """
        for ordinal in range(encoder.done, encoder.owed):
            if ordinal not in encoder.settled:
                hook, importable = encoder.hooks[ordinal]
                begun = ordinal < encoder.begun
                status = RUNNING if begun else PENDING
                where = (run_hex(run.number), encoder.sequence, ordinal, hook, importable)
                now = _updated(encoder, time_ns() // 1000)
                self.sink.writer.append(pack("S", Settled(*where, status._value_, int(begun), now)))
        if encoder.done < encoder.owed:
            self._release(encoder)

    @staticmethod
    def _release(encoder: RunEncoder) -> None:
        """Acknowledge no more in place."""
        segment, encoder.segment = encoder.segment, None
        if segment is not None:
            segment.open.pop(encoder.offset, None)


def settled_of(attempt: Attempt, status: DeliveryStatus, now: int) -> Settled:
    """Return the status of a delivery at a time, in microseconds since 1970, as it is recorded."""
    run, hook = attempt.run, hook_columns(attempt.hook)
    place = (run_hex(run.number), attempt.sequence, attempt.ordinal)

    return Settled(*place, *hook, status._value_, attempt.attempt, _updated(run.encoder, now))


def _updated(encoder: RunEncoder | None, now: int) -> int:
    """Return the time of a delivery's status: of two, the journal takes the later one."""
    if encoder is None:
        return now
    # The clock may have been set back.
    encoder.updated = max(encoder.updated, now)

    return encoder.updated


def _delivery(attempt: Attempt) -> UUID:
    return delivery_id(attempt.run.number, attempt.sequence, attempt.ordinal)
