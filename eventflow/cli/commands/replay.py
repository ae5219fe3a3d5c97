"""`eventflow replay`: giving past events to a hook that was not there when they happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import reduce
from typing import Any, Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.commands.runs import STATES
from eventflow.cli.display.styles import named, one_line, state_text, status_text
from eventflow.cli.display.tables import as_json, print_json, printed
from eventflow.cli.display.times import SINCE, clock
from eventflow.cli.history import Past
from eventflow.cli.lookup import run_named, short, the_archive
from eventflow.cli.targets import TargetError, load, split
from eventflow.client.archive import Archive, RunTransition
from eventflow.context import current_run
from eventflow.eventbus.bus import current_bus
from eventflow.eventbus.filters import Filter
from eventflow.events import HookDeadLettered, HookOutcome, HookSucceeded
from eventflow.hooks.declaration import Hook
from eventflow.hooks.receiver import HookReceiver
from eventflow.states import StateType
from eventflow.tracing import in_words

__all__ = ["replay"]

CHUNK: Final = 500
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
    wanted = Filter.of({"run_type": run_type, "state": states or None, "name": name})
    replayed = _Replay(hook, dry_run=dry_run, as_json=as_json)
    with the_archive() as archive:
        events = _of_run(archive, run, within=within) if run else _since(archive, since)
        past = Past(archive)
        for event in events:
            if wanted.admits(event) and any(one.admits(event) for one in declared):
                replayed.one(event, past)
    replayed.tell()
    ctx.exit(1 if replayed.counts["failed"] else 0)


def _hook_of(target: str) -> tuple[Hook, list[Filter]]:
    """Load the hook; gives it with what it selects, as a Hook or as declared with @hook."""
    at = split(target)
    if at.attribute is None:
        raise TargetError(f"Name the function in it that is the hook: {target}:FUNCTION.")
    try:
        found: Any = reduce(getattr, at.attribute.split("."), load(at))
    except AttributeError:
        raise TargetError(f"{at.source} has no {at.attribute!r}.") from None
    if isinstance(found, Hook):
        return found, [found.filter()]
    if not callable(found) or isinstance(found, type):
        raise TargetError(f"{target} is of type {type(found).__name__}, not a function.")
    declared = [one for one in current_bus().subscriptions if one.hook is not None]
    mine = [one for one in declared if one.listener is found]
    if mine:
        return mine[0].hook, [one.filter for one in mine]

    return Hook(found), [Hook(found).filter()]


def _of_run(archive: Archive, run: str, *, within: bool) -> Iterator[RunTransition]:
    found = run_named(archive, run)
    ids: list[UUID] = list(archive.below(found.id)) if within else [found.id]
    every = [event for one in ids for event in archive.events(one)]
    # Stable: of one run they stay in their order, whatever the clock did.
    yield from sorted(every, key=lambda event: event.occurred) if within else every


def _since(archive: Archive, since: datetime | None) -> Iterator[RunTransition]:
    cursor = archive.journal.cursor(since)
    end = archive.journal.cursor()
    while cursor < end:
        some, onward = archive.events_after(cursor, CHUNK)
        if onward == cursor:
            return
        cursor = onward
        yield from (one for one in some if since is None or one.occurred >= since)


class _Replay:
    """Runs the hook for one event after another, and says what came of it."""

    def __init__(self, hook: Hook, *, dry_run: bool, as_json: bool) -> None:
        self._hook = hook
        self._receiver = HookReceiver(hook)
        self._dry_run = dry_run
        self._as_json = as_json
        self._said: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()

    def one(self, event: RunTransition, past: Past) -> None:
        """Run the hook for one event."""
        outcome = None if self._dry_run else self._run(event, past)
        status = WOULD if self._dry_run else _status(outcome)
        self.counts[status] += 1
        if self._as_json:
            self._said.append(_document(event, status, outcome))
        else:
            printed(_line(event, status, outcome))

    def _run(self, event: RunTransition, past: Past) -> HookOutcome | None:
        outcomes: list[HookOutcome] = []
        fact = past.transition(event)
        token = current_run.set(past.context(fact.run))
        try:
            with current_bus().subscribe(outcomes.append, event_type=HookOutcome):
                self._receiver.receive(fact)
        finally:
            current_run.reset(token)
        last = (one for one in outcomes if isinstance(one, HookSucceeded | HookDeadLettered))

        return next(last, None)

    def tell(self) -> None:
        """Say what was done altogether."""
        if self._as_json:
            print_json({"hook": self._hook.id, "dry_run": self._dry_run, "events": self._said})
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
    why = one_line(_error(outcome))
    took = "" if outcome is None else f" in {in_words(outcome.duration)}"

    return Text.assemble(
        (f"{clock(event.occurred)}  {short(event.run_id)}  ", "bright_black"),
        *(state, "  ", named(event.definition_name, event.run_name), "  "),
        *(done, (took, "bright_black"), f"  {why}" if why else ""),
    )
