"""`eventflow replay`: run a hook for past events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final

import click
from rich.text import Text

from eventflow.cli.commands.runs import STATES
from eventflow.cli.display.styles import first_line, run_label, state_text, status_text
from eventflow.cli.display.tables import as_json, print_json, print_line
from eventflow.cli.display.times import SINCE, clock
from eventflow.cli.history import History
from eventflow.cli.lookup import find_run, required_archive, short_id
from eventflow.cli.targets import TargetError, load, split
from eventflow.client.archive import Archive, RunTransition
from eventflow.client.timeline import past_of, past_within
from eventflow.context import current_run
from eventflow.eventbus.bus import current_bus
from eventflow.eventbus.filters import Filter
from eventflow.events import HookDeadLettered, HookOutcome, HookSucceeded
from eventflow.hooks.declaration import Hook
from eventflow.hooks.receiver import HookReceiver
from eventflow.primitives.durations import in_words
from eventflow.states import StateType

__all__ = ["replay"]

WOULD: Final = "would run"


@click.command(short_help="Run a hook for events of the past.")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--hook", "target", metavar="FILE.py:FN|MODULE:FN", required=True, help="The hook.")
@click.option("--since", type=SINCE, help="All events since: 15m, 12h, 30d, 2026-03-01.")
@click.option("--within", is_flag=True, help="With the events of what RUN called.")
@click.option("--state", "states", type=STATES, multiple=True, help="Only these; repeatable.")
@click.option("--type", "run_type", type=click.Choice(["flow", "task"]), help="Only these.")
@click.option("--name", metavar="PATTERN", help="Of flows and tasks of this name; * and ? match.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@as_json
@click.pass_context
def replay(
    ctx: click.Context,
    *,
    run: str | None,
    target: str,
    since: datetime | None,
    within: bool,
    states: tuple[str | StateType, ...],
    run_type: Any,
    name: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a hook for events of the past, in their order: those of one RUN, or all --since a time.

    The hook is called with the flow or task (or, where that cannot be imported, with what is
    known of it), the run as it stood then, and the state. What a Hook or @hook selects is
    respected. Nothing is written to the journal.

    Ends with 1 if the hook failed on an event.
    """
    if (run is None) == (since is None):
        raise click.UsageError("Name a RUN, or give --since TIME.")
    hook, declared = _hook_of(target)
    requested = Filter.of({"run_type": run_type, "state": states or None, "name": name})
    replayed = _Replay(hook, dry_run=dry_run, as_json=as_json)
    with required_archive() as archive:
        events = (
            _of_run(archive, run, within=within)
            if run
            else past_of(archive, since, datetime.now(UTC))
        )
        history = History(archive)
        for event in events:
            if requested.admits(event) and any(_selects(each, event, archive) for each in declared):
                replayed.add(event, history)
    replayed.show_summary()
    ctx.exit(1 if replayed.counts["failed"] else 0)


def _hook_of(target: str) -> tuple[Hook, list[Filter]]:
    """Load the hook; return it with its filters, those of a Hook or of its @hook declarations."""
    at = split(target)
    if at.attribute is None:
        raise TargetError(f"Name the function in it that is the hook: {target}:FUNCTION.")
    try:
        value: Any = reduce(getattr, at.attribute.split("."), load(at))
    except AttributeError:
        raise TargetError(f"{at.source} has no {at.attribute!r}.") from None
    if isinstance(value, Hook):
        return value, [value.filter()]
    if not callable(value) or isinstance(value, type):
        raise TargetError(f"{target} is of type {type(value).__name__}, not a function.")
    declared = [
        (subscription.hook, subscription.filter)
        for subscription in current_bus().subscriptions
        if subscription.hook is not None and subscription.listener is value
    ]
    if declared:
        return declared[0][0], [selection for _, selection in declared]

    return Hook(value), [Hook(value).filter()]


def _selects(selection: Filter, event: RunTransition, archive: Archive) -> bool:
    """Return whether a hook selects a past event, and, if it asks for that, the state lasted."""
    if not selection.admits(event):
        return False
    if selection.lasting is None:
        return True
    until = None
    if selection.until_end:
        record = archive.run(event.run_id)
        until = None if record is None else record.end_time
    else:
        later = (each for each in archive.events(event.run_id) if each.sequence > event.sequence)
        until = next((each.occurred for each in later), None)

    return ((until or datetime.now(UTC)) - event.occurred).total_seconds() >= selection.lasting


def _of_run(archive: Archive, run: str, *, within: bool) -> Iterable[RunTransition]:
    record = find_run(archive, run)

    return past_within(archive, record.id) if within else archive.events(record.id)


class _Replay:
    """Runs the hook for one event after another, and shows the outcomes."""

    def __init__(self, hook: Hook, *, dry_run: bool, as_json: bool) -> None:
        self._hook = hook
        self._receiver = HookReceiver(hook)
        self._dry_run = dry_run
        self._as_json = as_json
        self._documents: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def add(self, event: RunTransition, history: History) -> None:
        """Run the hook for one event."""
        outcome = None if self._dry_run else self._run(event, history)
        status = WOULD if self._dry_run else _status(outcome)
        self.counts[status] += 1
        if self._as_json:
            self._documents.append(_document(event, status, outcome))
        else:
            print_line(_line(event, status, outcome))

    def _run(self, event: RunTransition, history: History) -> HookOutcome | None:
        outcomes: list[HookOutcome] = []
        transition = history.transition(event)
        transition.bus = current_bus()
        token = current_run.set(history.context(transition.run))
        try:
            with current_bus().subscribe(outcomes.append, event_type=HookOutcome):
                self._receiver.receive(transition)
        finally:
            current_run.reset(token)
        final = (
            outcome for outcome in outcomes if isinstance(outcome, HookSucceeded | HookDeadLettered)
        )

        return next(final, None)

    def show_summary(self) -> None:
        """Print how many events the hook was run for, or the JSON document."""
        if self._as_json:
            print_json({"hook": self._hook.id, "dry_run": self._dry_run, "events": self._documents})
            return
        total = sum(self.counts.values())
        if not total:
            click.echo(f"No event is one for {self._hook.id}.", err=True)
            return
        events = "1 event" if total == 1 else f"{total:,} events"
        if self._dry_run:
            click.echo(f"{self._hook.id} would be run for {events}.")
            return
        parts = ", ".join(f"{count:,} {status}" for status, count in self.counts.items())
        click.echo(f"{self._hook.id} was run for {events}: {parts}.")


def _status(outcome: HookOutcome | None) -> str:
    return "delivered" if isinstance(outcome, HookSucceeded) else "failed"


def _error(outcome: HookOutcome | None) -> str:
    return str(outcome.error) if isinstance(outcome, HookDeadLettered) else ""


def _document(event: RunTransition, status: str, outcome: HookOutcome | None) -> dict[str, Any]:
    return {
        "event": event.model_dump(mode="json"),
        "status": status,
        "error": _error(outcome) or None,
        "seconds": None if outcome is None else outcome.duration,
    }


def _line(event: RunTransition, status: str, outcome: HookOutcome | None) -> Text:
    state = state_text(event.to_state)
    done = Text(status, "bright_black") if status == WOULD else status_text(status)
    why = first_line(_error(outcome))
    took = "" if outcome is None else f" in {in_words(outcome.duration)}"

    return Text.assemble(
        (f"{clock(event.occurred)}  {short_id(event.run_id)}  ", "bright_black"),
        *(state, "  ", run_label(event.definition_name, event.run_name), "  "),
        *(done, (took, "bright_black"), f"  {why}" if why else ""),
    )
