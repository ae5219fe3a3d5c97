"""`eventflow runs` and `eventflow events`: list runs, and show one with its events."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click
from rich.text import Text

from eventflow.cli.display.styles import (
    counts_line,
    first_line,
    run_label,
    state_text,
    status_text,
)
from eventflow.cli.display.tables import as_json, print_facts, print_json, print_line, show_table
from eventflow.cli.display.times import SINCE, ago, at, clock
from eventflow.cli.files import write_run
from eventflow.cli.lookup import find_run, optional_archive, required_archive, short_id
from eventflow.client.archive import RunTransition
from eventflow.client.client import selected_states
from eventflow.client.records import DeliveryRecord, RunRecord
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.primitives.durations import in_words
from eventflow.states import KNOWN_NAMES, StateType
from eventflow.states.state import AnyState

__all__ = ["STATES", "events", "rows_of_events", "runs"]

F = TypeVar("F", bound=Callable[..., Any])

LIMIT: Final = 25
CHILDREN: Final = 15
NO_LIMIT: Final = 2**31

_TITLES: Final = {kind.capitalize(): kind for kind in StateType}


class _State(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A state by name, or a state type, which stands for all names of that type."""

    name = "STATE"

    def convert(self, value: Any, param: Any, ctx: Any) -> str | StateType:
        """Read it from text, in any case; a custom name is kept as it is."""
        if isinstance(value, StateType):
            return value
        known = {name.casefold(): name for name in KNOWN_NAMES}
        name = known.get(str(value).casefold())
        if name is not None:
            return _TITLES.get(name, name)
        near = difflib.get_close_matches(str(value).casefold(), known, n=1, cutoff=0.75)
        if near:
            self.fail(f"there is no state {value!r}; did you mean {known[near[0]]}?", param, ctx)

        return str(value)


STATES: Final = _State()


@click.group()
def runs() -> None:
    """List runs, and show what happened to one."""


@runs.command("ls")
@click.option("--type", "run_type", type=click.Choice(["flow", "task"]), help="Only these.")
@click.option("--state", "states", type=STATES, multiple=True, help="In this state; repeatable.")
@click.option("--name", metavar="PATTERN", help="Of flows and tasks of this name; * and ? match.")
@click.option("--unfinished", is_flag=True, help="Only runs that have not ended.")
@click.option("--in", "within", metavar="RUN", help="Only runs that this run called.")
@click.option("--since", type=SINCE, help="Made since: 15m, 12h, 30d, 2026-03-01.")
@click.option("--all", "every", is_flag=True, help="With the runs that other runs called.")
@click.option("-n", "--limit", type=click.IntRange(1), default=LIMIT, show_default=True)
@as_json
def list_runs(
    *,
    run_type: Any,
    states: tuple[str | StateType, ...],
    name: str | None,
    unfinished: bool,
    within: str | None,
    since: datetime | None,
    every: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List runs, newest first.

    Unless some are asked for by --type, --state, --name, --unfinished or --in, those that other
    runs called are left out.
    """
    filtered = bool(run_type or states or name or unfinished or within)
    with optional_archive() as archive:
        records: list[RunRecord] = []
        if archive is not None:
            parent = find_run(archive, within).id if within else None
            query = RunQuery(
                run_type=run_type,
                definition=name,
                **selected_states(states),
                unfinished=unfinished,
                top=not (filtered or every),
                parent_run_id=parent,
                since=since,
                limit=limit + 1,
            )
            records = archive.runs(query)
    if as_json:
        print_json([record.model_dump(mode="json") for record in records[:limit]])
    elif records:
        _show_runs(records[:limit])
        if len(records) > limit:
            click.echo(f"There are more; see --limit (now {limit}).", err=True)
    elif archive is not None:
        click.echo("No runs match." if filtered or since else "There are no runs.", err=True)


def _show_runs(records: Sequence[RunRecord]) -> None:
    now = datetime.now(UTC)
    show_table(
        ["Id", "State", "Run", "Type", ">Began", ">Took"],
        [
            [
                Text(short_id(record.id), "bright_black"),
                _state(record),
                run_label(record.definition_name, record.name),
                record.run_type,
                ago(record.created, now),
                in_words(_seconds(record, now)),
            ]
            for record in records
        ],
    )


def _state(run: RunRecord) -> Text:
    """Return the state of a run, and whether it is overdue."""
    if run.overdue is None:
        return state_text(run.state)

    mark = ", was overdue" if run.is_finished else ", overdue"

    return Text.assemble(state_text(run.state), (mark, "red"))


def _seconds(run: RunRecord, now: datetime) -> float:
    return max(((run.end_time or now) - run.created).total_seconds(), 0.0)


def _file(name: str, text: str) -> Callable[[F], F]:
    """Make an option that names a file to write."""
    kind = click.Path(dir_okay=False, allow_dash=True)

    return click.option(f"--{name}", metavar="FILE", type=kind, help=f"{text}; - prints it.")


@runs.command("show")
@click.argument("run", metavar="RUN")
@_file("html", "Write all of it as one page to a file")
@_file("svg", "Write its timeline as a picture")
@_file("perfetto", "Write it as a trace for https://ui.perfetto.dev")
@as_json
def show_run(*, run: str, as_json: bool, **files: str | None) -> None:
    """Show a run: its parameters, its transitions, what it called, and its hooks.

    RUN is an id, the beginning or the end of one, or a run's name.
    """
    with required_archive() as archive:
        record = find_run(archive, run)
        wanted = {name: file for name, file in files.items() if file is not None}
        if wanted:
            write_run(archive, record, wanted)
            return
        transitions = archive.events(record.id)
        children = archive.runs(RunQuery(parent_run_id=record.id, limit=NO_LIMIT))[::-1]
        deliveries = archive.deliveries(DeliveryQuery(run_id=record.id, limit=NO_LIMIT))
    if as_json:
        document = record.model_dump(mode="json")
        document["events"] = [event.model_dump(mode="json") for event in transitions]
        document["children"] = [child.model_dump(mode="json") for child in children]
        document["deliveries"] = [delivery.model_dump(mode="json") for delivery in deliveries]
        print_json(document)
        return
    _show_facts(record, transitions)
    _show_title("Transitions")
    show_table(["At", ">After", "State", "Message"], rows_of_events(transitions))
    if children:
        _show_children(children)
    if deliveries:
        _show_deliveries(deliveries)


def _show_title(title: str) -> None:
    click.echo()
    print_line(Text(title, "bold"))


def _show_facts(run: RunRecord, transitions: Sequence[RunTransition]) -> None:
    now = datetime.now(UTC)
    took = in_words(_seconds(run, now))
    head = Text.assemble(
        *(_state(run), "  ", run_label(run.definition_name, run.name)),
        (f"  {f'in {took}' if run.is_finished else f'for {took}'}", "bright_black"),
    )
    print_line(head)
    print_facts(
        {
            "id": str(run.id),
            run.run_type: f"{run.definition}{f', version {run.version}' if run.version else ''}",
            "tags": ", ".join(run.tags),
            "parameters": _parameters(run.parameters),
            "began": at(run.created, now),
            "ended": at(run.end_time, now),
            "overdue": None if run.overdue is None else f"since {at(run.overdue, now)}",
            "attempts": f"{run.run_count} of {run.attempts}" if run.attempts > 1 else None,
            "in body": in_words(run.total_run_time.total_seconds()) if run.run_count else None,
            "parent": str(run.parent_run_id or ""),
            "owner": run.owner,
            "cause": _cause(run.state, transitions),
        }
    )


def _parameters(values: Any) -> str | None:
    if not isinstance(values, dict):
        return None if values is None else str(values)

    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in values.items()
    )


def _cause(state: AnyState, transitions: Sequence[RunTransition]) -> Text | None:
    if state.is_completed() or not transitions:
        return None
    error = transitions[-1].to_state.error
    cause = str(error) if error is not None else state.message

    return Text(first_line(cause), "red") if cause else None


def rows_of_events(transitions: Sequence[RunTransition]) -> list[list[Text | str]]:
    """Return a row for each event of a run: time, duration of the state before, state, message."""
    rows: list[list[Text | str]] = []
    for event in transitions:
        duration = event.duration
        state = event.to_state
        rows.append(
            [
                Text(clock(event.occurred), "bright_black"),
                Text("" if duration is None else in_words(max(duration, 0.0)), "bright_black"),
                state_text(state),
                first_line(str(state.error or state.message or "")),
            ]
        )

    return rows


def _show_children(children: Sequence[RunRecord]) -> None:
    counts = Counter(child.state_name for child in children)
    click.echo()
    print_line(Text.assemble(("Called", "bold"), "  ", counts_line(counts)))
    now = datetime.now(UTC)
    # Failures first.
    ordered = sorted(children, key=lambda child: child.state.is_completed())
    show_table(
        ["Id", "State", "Run", ">Took"],
        [
            [
                Text(short_id(child.id), "bright_black"),
                _state(child),
                run_label(child.definition_name, child.name),
                in_words(_seconds(child, now)),
            ]
            for child in ordered[:CHILDREN]
        ],
    )
    if len(children) > CHILDREN:
        print_line(Text(f"… and {len(children) - CHILDREN:,} more", "bright_black"))


def _show_deliveries(deliveries: Sequence[DeliveryRecord]) -> None:
    _show_title("Hooks")
    show_table(
        ["Id", "Status", "On", "Hook", ">Attempts", "Error"],
        [
            [
                Text(short_id(delivery.id), "bright_black"),
                status_text(delivery.status),
                delivery.occasion,
                delivery.hook,
                str(delivery.attempts),
                first_line(str(delivery.error or "")),
            ]
            for delivery in deliveries
        ],
    )


@click.command(short_help="List the events of a run.")
@click.argument("run", metavar="RUN")
@as_json
def events(*, run: str, as_json: bool) -> None:
    """List the events of a run, in order.

    RUN is an id, the beginning or the end of one, or a run's name.
    """
    with required_archive() as archive:
        record = find_run(archive, run)
        transitions = archive.events(record.id)
    if as_json:
        print_json([event.model_dump(mode="json") for event in transitions])
        return
    show_table(["At", ">After", "State", "Message"], rows_of_events(transitions))
