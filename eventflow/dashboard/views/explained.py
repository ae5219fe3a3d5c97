"""Why a hook of a run was owed an event of it, and a listener given it, or why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from eventflow.client.archive import Archive, RunTransition
from eventflow.client.records import DeliveryRecord
from eventflow.hooks.listeners import RecordedListener
from eventflow.hooks.sets import RecordedHook
from eventflow.journal.rows import RunRow
from eventflow.owners.leftovers import row_of
from eventflow.primitives.durations import in_words

__all__ = ["Explained", "Heard", "explain", "explain_listeners"]

ANY: Final = "any state"

GONE: Final = "its process had ended, and no other has the listener"


class Explained(NamedTuple):
    """A hook that a run is subject to: what it selects, what it got, and else why it got nothing.

    `scope` is whether it is of the definition, or for all runs of its process.
    """

    hook: RecordedHook
    scope: str
    selects: str
    deliveries: Sequence[DeliveryRecord]
    refusals: Sequence[tuple[str, str]]


def explain(
    archive: Archive,
    row: RunRow,
    events: Sequence[RunTransition],
    deliveries: Sequence[DeliveryRecord],
) -> list[Explained]:
    """Explain each hook that the run is subject to, for all of its events."""
    return [
        Explained(
            hook,
            scope,
            _selects(hook),
            [each for each in deliveries if each.hook == hook.id],
            [*_refusals(hook, events)],
        )
        for scope, hook in _hooks(archive, row)
    ]


class Heard(NamedTuple):
    """A listener of the run's process, the states it was told of, and why not of the others."""

    listener: RecordedListener
    states: Sequence[str]
    refusals: Sequence[tuple[str, str]]


def explain_listeners(
    archive: Archive, row: RunRow, events: Sequence[RunTransition]
) -> list[Heard]:
    """Explain each listener that the run's process had, for all of the run's events."""
    text = archive.journal.hook_sets(row.owner).get(row.global_hooks or "", "{}")
    try:
        listeners = RecordedListener.read(text)
    except ValueError:
        return []

    owner = row_of(archive.journal, row.owner) if listeners else None
    ended = None if owner is None else owner.ended

    return [_heard(listener, events, ended) for listener in listeners]


def _heard(
    listener: RecordedListener, events: Sequence[RunTransition], ended: datetime | None
) -> Heard:
    """Explain a listener of a process, which may have ended before another entered Crashed."""
    try:
        selected = listener.filter()
    except (TypeError, ValueError) as error:
        return Heard(listener, (), [(ANY, f"its selection cannot be read: {error}")])
    if selected is None:
        return Heard(listener, (), [(ANY, f"it listens for {listener.event_type} events only")])
    refusals = [
        (
            event.to_state.name,
            GONE if ended is not None and event.occurred > ended else selected.refusal(event),
        )
        for event in events
    ]
    states = [name for name, refusal in refusals if refusal is None]
    if listener.lasting is not None:
        lasting = f"only once that has lasted {in_words(listener.lasting)}"
        return Heard(listener, (), [(name, refusal or lasting) for name, refusal in refusals])

    return Heard(listener, states, [(name, why) for name, why in refusals if why is not None])


def _hooks(archive: Archive, row: RunRow) -> Iterator[tuple[str, RecordedHook]]:
    sets = archive.journal.hook_sets(row.owner)
    for scope, key in (("of the definition", row.hooks), ("for all runs", row.global_hooks)):
        try:
            hooks = RecordedHook.read(sets[key]) if key in sets else []
        except ValueError:
            continue
        for hook in hooks:
            yield scope, hook


def _selects(hook: RecordedHook) -> str:
    """Say in words which events a hook is for."""
    if hook.overdue_seconds is not None:
        return f"overdue after {in_words(hook.overdue_seconds)}"
    parts = [", ".join([*map(str.capitalize, hook.types), *hook.names]) or ANY]
    if hook.lasting is not None:
        parts.append(f"lasting {in_words(hook.lasting)}")
    if hook.run_type is not None:
        parts.append(f"of a {hook.run_type}")
    if hook.name is not None:
        parts.append(f"named {hook.name}")
    if hook.tags is not None:
        parts.append(f"tagged {', '.join(hook.tags)}")

    if hook.where == "worker":
        parts.append("by a worker")

    return " ".join(parts)


def _refusals(hook: RecordedHook, events: Sequence[RunTransition]) -> Iterator[tuple[str, str]]:
    """Yield the state and the reason of each event that a hook did not select."""
    try:
        selected = hook.unfetched().filter()
    except (TypeError, ValueError) as error:
        yield ANY, f"its selection cannot be read: {error}"
        return
    for event in events:
        refusal = selected.refusal(event)
        if refusal is not None:
            yield event.to_state.name, refusal
        elif hook.lasting is not None or hook.overdue_seconds is not None:
            yield event.to_state.name, _unlasting(hook, event)


def _unlasting(hook: RecordedHook, event: RunTransition) -> str:
    seconds = hook.overdue_seconds if hook.lasting is None else hook.lasting
    what = "the run" if hook.overdue_seconds is not None else event.to_state.name

    return f"only once {what} has lasted {in_words(seconds or 0.0)}"
