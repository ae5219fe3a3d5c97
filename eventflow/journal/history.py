"""The history of a run: its events and deliveries, read from what the journal stores of it.

The text of its events is that of `eventflow.journal.records`. Rows of their own have only those
deliveries whose status is not told by that text, or by how far the hooks are that the last
transition is owed to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any, Final, NamedTuple, TypeAlias

from pydantic_core import from_json, to_json

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.records import LETTERS, Settled, run_hex, state_words
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, StoredRun, maybe_moment, moment
from eventflow.primitives.ids import delivery_id, event_number, id_of
from eventflow.states import StateType

__all__ = [
    "HooksOf",
    "Transition",
    "delivery_row",
    "event_rows",
    "owed_by",
    "run_row",
    "transitions",
    "transitions_of",
]

HooksOf: TypeAlias = Callable[[str], Sequence[tuple[str, int]]]
"""Returns identity and importability of the hooks of a list, by its id; none if it is not known."""

_SHORT: Final = re.compile(f"([{''.join(LETTERS.values())}])(-?[0-9]+)")
_USUAL: Final = "[{}]"
_UNKNOWN: Final = "unknown"
_RUNNING: Final = LETTERS[StateType.RUNNING]
_NOBODY_OWED: Final = bytes(11)


class Transition(NamedTuple):
    """A transition of a run, which was owed to the hooks of a list; all were done by `done_at`."""

    sequence: int
    state: str
    at: int
    run_count: int
    message: str | None
    error: str | None
    id: int
    owed_to: str
    done_at: int | None = None


def transitions_of(stored: StoredRun) -> list[Transition]:
    """Return the transitions of a run, in order."""
    return transitions(stored.id, stored.created, stored.events)


def transitions(
    run: int, created: int, text: bytes, sequence: int = 0, run_count: int = 0
) -> list[Transition]:
    """Read the text of a run's events, which begins with this sequence, and so many runs before.

    A line that cannot be read is left out.
    """
    found: list[Transition] = []
    listed = -1
    for line in text.decode("utf-8", "replace").split("\n"):
        try:
            if line.startswith("!"):
                sequence = int(line[1:])
                continue
            if line.startswith("+"):
                if listed >= 0:
                    found[listed] = found[listed]._replace(done_at=int(line[1:]))
                continue
            for state, at, given, message, error, own, owed_to in _entered(line):
                run_count = run_count + state.startswith(_RUNNING) if given is None else given
                number = event_number(run, sequence) if own is None else int(own, 16)
                facts = (created + at, run_count, message, error, number, owed_to)
                found.append(Transition(sequence, state, *facts))
                sequence += 1
                if owed_to:
                    listed = len(found) - 1
        except (ValueError, TypeError, KeyError):
            continue

    return found


def _entered(line: str) -> Iterator[tuple[Any, ...]]:
    """Read a line of one or more transitions."""
    content, owed_to = line, ""
    if not line.startswith("["):
        content, _, owed_to = line.partition("@")
    elif not line.endswith("]"):
        content, _, owed_to = line.rpartition("@")
    if line.startswith("["):
        state, at, *rest = from_json(content)
        given, message, error, own = [*rest, None, None, None, None][:4]
        state_words(state)
        if not isinstance(error, str | None):
            error = to_json(error).decode()
        yield state, at, given, message, error, own, owed_to
        return
    short = _SHORT.findall(content)
    for place, (state, at) in enumerate(short, 1):
        yield state, int(at), None, None, None, None, owed_to if place == len(short) else ""


# -- rows ----------------------------------------------------------------------------------------


def run_row(stored: StoredRun) -> RunRow:
    """Return the row of a run."""
    events = transitions_of(stored)
    last = events[-1] if events else None
    kind, name = state_words(stored.state)
    parameters, flow_run, root = _facts(stored)

    return RunRow(
        id=id_of(stored.id),
        run_type="flow" if stored.run_type == "flow" else "task",
        name=name_of(stored),
        definition=stored.definition or _UNKNOWN,
        reference=stored.reference or _UNKNOWN,
        version=stored.version,
        tags=tuple(from_json(stored.tags or "[]")),
        parameters=parameters,
        parent_run_id=None if stored.parent is None else id_of(stored.parent),
        flow_run_id=None if flow_run is None else id_of(flow_run),
        root_flow_run_id=None if root is None else id_of(root),
        owner=stored.owner or "",
        created=moment(stored.created),
        started=next((moment(each.at) for each in events if each.state.startswith(_RUNNING)), None),
        ended=maybe_moment(stored.ended),
        seconds=_seconds(events),
        run_count=last.run_count if last else 0,
        sequence=stored.sequence,
        state_id=id_of(last.id if last else event_number(stored.id, stored.sequence)),
        state_type=kind,
        state_name=name,
        state_at=moment(last.at if last else stored.created),
        message=last.message if last else None,
        hooks=stored.hooks,
        global_hooks=stored.global_hooks,
        retries=stored.retries,
    )


def name_of(stored: StoredRun) -> str:
    """Return the name of a run: the usual one of a task run is not stored."""
    return stored.name or f"{stored.definition or _UNKNOWN}-{stored.id & 0xFFF:03x}"


def _facts(stored: StoredRun) -> tuple[str | None, int | None, int | None]:
    """Return the recorded parameters, and the ids of the flow run and of the root flow run."""
    own = stored.id if stored.run_type == "flow" else None
    try:
        facts = [] if stored.facts is None else from_json(stored.facts)
        above = [None if told is None else int(told or "0", 16) for told in facts[1:3]]
    except (ValueError, TypeError):
        facts, above = [None], []
    flow_run, root = [*above, None, None][:2]
    flow_run = own or (stored.parent if flow_run is None else flow_run)
    root = stored.parent or own if root is None else root
    parameters = facts[0] if facts else _USUAL
    if not isinstance(parameters, str | None):
        parameters = to_json(parameters).decode()

    return parameters, flow_run or None, root or None


def _seconds(events: Sequence[Transition]) -> float:
    steps = pairwise(events)
    running = (after.at - each.at for each, after in steps if each.state.startswith(_RUNNING))

    # The clock may have been set back.
    return sum(max(0, time) for time in running) / 1e6


def event_rows(
    run: int, events: Iterable[Transition], follows: int | None = None
) -> Iterator[EventRow]:
    """Yield the rows of transitions that follow each other; the first follows that event."""
    for each in events:
        kind, name = state_words(each.state)
        if follows is None and each.sequence:
            follows = event_number(run, each.sequence - 1)
        yield EventRow(
            id=id_of(each.id),
            run_id=id_of(run),
            sequence=each.sequence,
            state_type=kind,
            state_name=name,
            occurred=moment(each.at),
            run_count=each.run_count,
            message=each.message,
            error=each.error,
            follows=None if follows is None else id_of(follows),
        )
        follows = each.id


# -- deliveries ----------------------------------------------------------------------------------


def owed_by(
    stored: StoredRun,
    events: Sequence[Transition],
    hooks_of: HooksOf,
    settled: Iterable[Settled] = (),
) -> list[Settled]:
    """Return what a run owes or has owed to hooks, in order; `settled` are the rows of its own."""
    key = run_hex(stored.id)
    owed: dict[tuple[int, int], Settled] = {}
    for place, event in enumerate(events):
        if event.owed_to:
            statuses = _statuses(stored, events, place)
            for ordinal, (hook, importable) in enumerate(_hooks(stored, event, hooks_of)):
                owed[event.sequence, ordinal] = Settled(
                    *(key, event.sequence, ordinal, hook, importable, *next(statuses))
                )
    owed.update({(row.sequence, row.ordinal): row for row in settled})

    return [owed[place] for place in sorted(owed)]


def _hooks(stored: StoredRun, event: Transition, hooks_of: HooksOf) -> Sequence[tuple[str, int]]:
    hooks = hooks_of(event.owed_to)
    if hooks or event.sequence != stored.sequence:
        return hooks

    return [(_UNKNOWN, 0)] * (stored.acks or _NOBODY_OWED)[0]


def _statuses(
    stored: StoredRun, events: Sequence[Transition], place: int
) -> Iterator[tuple[str, int, int | None]]:
    """Yield status, attempts and time of the hooks that a transition is owed to."""
    event = events[place]
    if event.sequence == stored.sequence:
        acks = stored.acks or _NOBODY_OWED
        begun, done, at = acks[1], acks[2], int.from_bytes(acks[3:])
        yield from repeat((str(DeliveryStatus.DELIVERED), 1, at), done)
        yield from repeat((str(DeliveryStatus.RUNNING), 1, at), max(0, begun - done))
        yield from repeat((str(DeliveryStatus.PENDING), 0, None))
    # The next transition comes only when all are done.
    after = events[place + 1] if place + 1 < len(events) else event
    yield from repeat((str(DeliveryStatus.DELIVERED), 1, event.done_at or after.at))


def delivery_row(run: int, settled: Settled, event: int | None) -> DeliveryRow:
    """Return the row of a delivery; `event` is the id of the transition, if that is not usual."""
    return DeliveryRow(
        id=delivery_id(run, settled.sequence, settled.ordinal),
        event_id=id_of(event_number(run, settled.sequence) if event is None else event),
        run_id=id_of(run),
        sequence=settled.sequence,
        ordinal=settled.ordinal,
        hook=settled.hook,
        importable=bool(settled.importable),
        status=DeliveryStatus(settled.status),
        attempts=settled.attempts,
        due=maybe_moment(settled.due),
        error=settled.error,
        updated=maybe_moment(settled.updated),
    )
