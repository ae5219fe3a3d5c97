"""Which hooks a dead owner's run is owed because a state lasted, or because it is overdue."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from types import SimpleNamespace

from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import LASTED
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.primitives.ids import delivery_id
from eventflow.states import StateType

__all__ = ["due_deliveries", "next_due", "timed"]


def timed(hooks: Iterable[Hook]) -> list[Hook]:
    """Return the hooks that are owed a state because it has lasted, in the order of ordinals."""
    return [hook for hook in hooks if hook.filter().lasting is not None]


def due_deliveries(
    row: RunRow,
    hooks: Iterable[Hook],
    events: Sequence[EventRow],
    known: Iterable[DeliveryRow],
    until: datetime,
) -> Iterator[DeliveryRow]:
    """Yield what was due by a moment and that nobody has begun to deliver."""
    if row.ended is not None:
        return
    begun = {(each.sequence, each.ordinal) for each in known}
    for ordinal, hook in enumerate(timed(hooks), LASTED):
        entered = _entered(row, hook, events)
        if entered is None or (entered.sequence, ordinal) in begun:
            continue
        if entered.occurred + timedelta(seconds=hook.filter().lasting or 0) <= until:
            yield DeliveryRow(
                id=delivery_id(row.id.int, entered.sequence, ordinal),
                event_id=entered.id,
                run_id=row.id,
                sequence=entered.sequence,
                ordinal=ordinal,
                hook=hook.id,
                importable=True,
            )


def next_due(row: RunRow, hooks: Iterable[Hook], after: datetime | None = None) -> datetime | None:
    """Return when an unfinished run first owes one of these hooks a state that lasts.

    Of those that are due `after` a moment, if it is given; None if there is none.
    """
    found = None
    for hook in timed(hooks):
        since = row.started if hook.filter().until_end else row.state_at
        if since is None or not _selects(hook, row, row.state_type, row.state_name):
            continue
        due = since + timedelta(seconds=hook.filter().lasting or 0)
        if (after is None or due > after) and (found is None or due < found):
            found = due

    return found


def _entered(row: RunRow, hook: Hook, events: Sequence[EventRow]) -> EventRow | None:
    """Return the event since which a hook's time counts, if the hook selects it."""
    if hook.filter().until_end:
        started = (each for each in events if each.state_type is StateType.RUNNING)
        event = next(started, None)
    else:
        event = events[-1] if events else None
    if event is None or not _selects(hook, row, event.state_type, event.state_name):
        return None

    return event


def _selects(hook: Hook, row: RunRow, kind: StateType, name: str) -> bool:
    """Return whether a hook selects such a state of a run; if it is overdue, any."""
    state = SimpleNamespace(type=StateType.RUNNING if hook.filter().until_end else kind, name=name)
    facts = {"run_type": row.run_type, "definition_name": row.definition, "run_id": row.id}

    return hook.filter().admits_fact(
        SimpleNamespace(**facts, tags=frozenset(row.tags), to_state=state)
    )
