"""`eventflow runs` and `eventflow events`: which runs there were, and what happened to one."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.text import Text

from eventflow.cli.display.styles import counts_line, named, one_line, state_text, status_text
from eventflow.cli.display.tables import as_json, describe, print_json, printed, show_table
from eventflow.cli.display.times import SINCE, ago, at, clock
from eventflow.cli.lookup import reading, run_named, short, the_archive
from eventflow.client.archive import RunTransition
from eventflow.client.client import selected_states
from eventflow.client.records import DeliveryRecord, RunRecord
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.states import KNOWN_NAMES, AnyState, StateType
from eventflow.tracing import in_words

__all__ = ["STATES", "events", "rows_of_events", "runs"]

LIMIT: Final = 25
CHILDREN: Final = 15
EVERY: Final = 2**31

_TITLES: Final = {kind.capitalize(): kind for kind in StateType}


class _State(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """A state: the name of one, or of a type, which stands for all names of that type."""

    name = "STATE"

    def convert(self, value: Any, param: Any, ctx: Any) -> str | StateType:
        """Read it from text, in any case; a name of the user's own is taken as it is."""
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
    chosen = bool(run_type or states or name or unfinished or within)
    with reading() as archive:
        found: list[RunRecord] = []
        if archive is not None:
            parent = run_named(archive, within).id if within else None
            query = RunQuery(
                run_type=run_type,
                definition=name,
                **selected_states(states),
                unfinished=unfinished,
                top=not (chosen or every),
                parent_run_id=parent,
                since=since,
                limit=limit + 1,
            )
            found = archive.runs(query)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found[:limit]])
    elif found:
        _show_runs(found[:limit])
        if len(found) > limit:
            click.echo(f"There are more; see --limit (now {limit}).", err=True)
    elif archive is not None:
        click.echo("No runs match." if chosen or since else "There are no runs.", err=True)


def _show_runs(found: Sequence[RunRecord]) -> None:
    now = datetime.now(UTC)
    show_table(
        ["Id", "State", "Run", "Type", ">Began", ">Took"],
        [
            [
                Text(short(one.id), "bright_black"),
                state_text(one.state),
                named(one.definition_name, one.name),
                one.run_type,
                ago(one.created, now),
                in_words(_seconds(one, now)),
            ]
            for one in found
        ],
    )


def _seconds(run: RunRecord, now: datetime) -> float:
    return max(((run.end_time or now) - run.created).total_seconds(), 0.0)


@runs.command("show")
@click.argument("run", metavar="RUN")
@as_json
def show_run(*, run: str, as_json: bool) -> None:
    """Show a run: its parameters, its transitions, what it called, and its hooks.

    RUN is an id, the beginning or the end of one, or a run's name.
    """
    with the_archive() as archive:
        found = run_named(archive, run)
        happened = archive.events(found.id)
        children = archive.runs(RunQuery(parent_run_id=found.id, limit=EVERY))[::-1]
        owed = archive.deliveries(DeliveryQuery(run_id=found.id, limit=EVERY))
    if as_json:
        document = found.model_dump(mode="json")
        document["events"] = [one.model_dump(mode="json") for one in happened]
        document["children"] = [one.model_dump(mode="json") for one in children]
        document["deliveries"] = [one.model_dump(mode="json") for one in owed]
        print_json(document)
        return
    _show_facts(found, happened)
    _section("Transitions")
    show_table(["At", ">After", "State", "Message"], rows_of_events(happened))
    if children:
        _show_children(children)
    if owed:
        _show_hooks(owed)


def _section(title: str) -> None:
    click.echo()
    printed(Text(title, "bold"))


def _show_facts(run: RunRecord, happened: Sequence[RunTransition]) -> None:
    now = datetime.now(UTC)
    took = in_words(_seconds(run, now))
    head = Text.assemble(
        *(state_text(run.state), "  ", named(run.definition_name, run.name)),
        (f"  {f'in {took}' if run.is_finished else f'for {took}'}", "bright_black"),
    )
    printed(head)
    describe(
        {
            "id": str(run.id),
            run.run_type: f"{run.definition}{f', version {run.version}' if run.version else ''}",
            "tags": ", ".join(run.tags),
            "parameters": _parameters(run.parameters),
            "began": at(run.created, now),
            "ended": at(run.end_time, now),
            "attempts": str(run.run_count) if run.run_count > 1 else None,
            "in body": in_words(run.total_run_time.total_seconds()) if run.run_count else None,
            "parent": str(run.parent_run_id or ""),
            "owner": run.owner,
            "cause": _cause(run.state, happened),
        }
    )


def _parameters(values: Any) -> str | None:
    if not isinstance(values, dict):
        return None if values is None else str(values)

    return ", ".join(
        f"{name}={json.dumps(one, ensure_ascii=False)}" for name, one in values.items()
    )


def _cause(state: AnyState, happened: Sequence[RunTransition]) -> Text | None:
    if state.is_completed or not happened:
        return None
    error = happened[-1].to_state.error
    cause = str(error) if error is not None else state.message

    return Text(one_line(cause), "red") if cause else None


def rows_of_events(happened: Sequence[RunTransition]) -> list[list[Text | str]]:
    """Give the rows of a run's events: when, how long after the one before, what, and why."""
    rows: list[list[Text | str]] = []
    for event in happened:
        gone = event.duration
        state = event.to_state
        rows.append(
            [
                Text(clock(event.occurred), "bright_black"),
                Text("" if gone is None else in_words(max(gone, 0.0)), "bright_black"),
                state_text(state),
                one_line(str(state.error or state.message or "")),
            ]
        )

    return rows


def _show_children(children: Sequence[RunRecord]) -> None:
    counts = Counter(one.state_name for one in children)
    click.echo()
    printed(Text.assemble(("Called", "bold"), "  ", counts_line(counts)))
    now = datetime.now(UTC)
    # What went wrong is what is looked for.
    ordered = sorted(children, key=lambda one: one.state.is_completed)
    show_table(
        ["Id", "State", "Run", ">Took"],
        [
            [
                Text(short(one.id), "bright_black"),
                state_text(one.state),
                named(one.definition_name, one.name),
                in_words(_seconds(one, now)),
            ]
            for one in ordered[:CHILDREN]
        ],
    )
    if len(children) > CHILDREN:
        printed(Text(f"… and {len(children) - CHILDREN:,} more", "bright_black"))


def _show_hooks(owed: Sequence[DeliveryRecord]) -> None:
    _section("Hooks")
    show_table(
        ["Id", "Status", "On", "Hook", ">Attempts", "Error"],
        [
            [
                Text(short(one.id), "bright_black"),
                status_text(one.status),
                one.state_name or "?",
                one.hook,
                str(one.attempts),
                one_line(str(one.error or "")),
            ]
            for one in owed
        ],
    )


@click.command(short_help="List the events of a run.")
@click.argument("run", metavar="RUN")
@as_json
def events(*, run: str, as_json: bool) -> None:
    """List the events of a run, in order.

    RUN is an id, the beginning or the end of one, or a run's name.
    """
    with the_archive() as archive:
        found = run_named(archive, run)
        happened = archive.events(found.id)
    if as_json:
        print_json([one.model_dump(mode="json") for one in happened])
        return
    show_table(["At", ">After", "State", "Message"], rows_of_events(happened))
