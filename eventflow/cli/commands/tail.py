"""`eventflow tail`: show transitions of all processes, and users' own events, as they happen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

import click
from pydantic_core import from_json
from rich.console import Console
from rich.text import Text

from eventflow.cli.commands.runs import STATES
from eventflow.cli.display.styles import escaped_text, first_line, run_label, state_text
from eventflow.cli.display.tables import print_line
from eventflow.cli.display.times import SINCE, clock
from eventflow.cli.lookup import find_run, short_id
from eventflow.client.archive import Archive, RunTransition
from eventflow.client.journals import journal_file, opened_journal, take_in_ended
from eventflow.client.timeline import Happening, Timeline
from eventflow.events import Event
from eventflow.journal.contract import Journal
from eventflow.journal.rows import OwnEvent
from eventflow.primitives.escapes import escaped_json
from eventflow.states import StateType

__all__ = ["tail"]

WAIT_SECONDS: Final = 1.0
"""How long one wait for an event lasts; the end of the run is checked in between."""

ABSENT_SECONDS: Final = 0.25
"""How often to check for a journal that does not exist yet."""

WIDEST: Final = 14
"""The width of the column of states: that of most names."""


BASE: Final = frozenset({*Event.model_fields, "type"})
"""What every event has, and is shown elsewhere in its line."""


@click.command(short_help="Show transitions as they happen.")
@click.option("--since", type=SINCE, help="Begin in the past: 15m, 12h, 30d, 2026-03-01.")
@click.option("--run", "run", metavar="RUN", help="Only this run and what it calls; ends with it.")
@click.option("--state", "states", type=STATES, multiple=True, help="Only these; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document on every line.")
def tail(
    *, since: datetime | None, run: str | None, states: tuple[str | StateType, ...], as_json: bool
) -> None:
    """Show transitions as they happen, in every process that shares the journal.

    With --run those of one run and of all that it calls, from its first on. Without --run and
    --state, also the events of your own that are published there. Ctrl-C ends it.
    """
    try:
        for event in _events(since, run):
            if not states or _is_in(event, states):
                _print(event, as_json=as_json)
    except KeyboardInterrupt:
        # The usual way to end it, and no error.
        return


def _is_in(event: Happening, states: tuple[str | StateType, ...]) -> bool:
    if isinstance(event, OwnEvent):
        return False

    return event.to_state.type in states or event.to_state.name in states


def _print(event: Happening, *, as_json: bool) -> None:
    if as_json:
        text = _document(event) if isinstance(event, OwnEvent) else event.model_dump_json()
        click.echo(escaped_json(text))
    elif isinstance(event, OwnEvent):
        print_line(_own_line(event))
    else:
        print_line(_line(event))
    sys.stdout.flush()


def _line(event: RunTransition) -> Text:
    state = event.to_state
    shown = state_text(state)
    shown.pad_right(max(0, WIDEST - shown.cell_len))
    message = str(state.error or state.message or "")

    return Text.assemble(
        _moment(event.occurred, event.run_id),
        *(shown, "  ", run_label(event.definition_name, event.run_name)),
        f"  {first_line(message)}" if message else "",
    )


def _moment(occurred: datetime, key: UUID) -> tuple[str, str]:
    return f"{clock(occurred)}  {short_id(key)}  ", "bright_black"


def _own_line(event: OwnEvent) -> Text:
    line = Text.assemble(_moment(event.occurred, event.id), (event.type, "magenta"))
    line.append(f"  {_fields(event)}")
    shown = escaped_text(line)
    if sys.stdout.isatty():
        shown.truncate(Console().width, overflow="ellipsis")

    return shown


def _fields(event: OwnEvent) -> str:
    """Return the JSON of those fields of an event that only its class has."""
    if not event.content:
        return "(too large for the journal)"
    given = from_json(event.content)
    if not isinstance(given, dict):
        return event.content
    fields = {name: value for name, value in given.items() if name not in BASE}

    return json.dumps(fields, ensure_ascii=False) if fields else ""


def _document(event: OwnEvent) -> str:
    """Return the JSON of an event, or of what is known of it."""
    known = {"id": str(event.id), "occurred": event.occurred.isoformat(), "type": event.type}

    return event.content or json.dumps(known)


def _events(since: datetime | None, run: str | None) -> Iterator[Happening]:
    """Yield events until the run has ended, also if the journal is deleted and created again."""
    notified = False
    while True:
        with opened_journal() as journal:
            if journal is not None:
                yield from _Follower(journal, since, run).events()
                if run is not None:
                    return
        if not notified:
            click.echo(f"There is no journal at {journal_file()} yet; waiting for it.", err=True)
            notified = True
        # All events of a new journal are new.
        since = since or datetime.fromtimestamp(0).astimezone()
        time.sleep(ABSENT_SECONDS)


class _Follower:
    """Reads one journal until it is deleted, or until the run has ended."""

    def __init__(self, journal: Journal, since: datetime | None, run: str | None) -> None:
        self._journal = journal
        archive = Archive(journal)
        self._run: UUID | None = None
        if run is not None:
            record = find_run(archive, run)
            self._run = record.id
            since = since or record.created
        self._timeline = Timeline(archive, since, self._run)

    def events(self) -> Iterator[Happening]:
        """Yield the events of the run, or of all runs."""
        while self._exists():
            # Checked before reading, so that all events of an ended run are read.
            take_in_ended()
            over = self._is_over()
            yield from self._timeline.events()
            if over:
                return
            self._journal.wait(self._timeline.cursor, WAIT_SECONDS)

    def _exists(self) -> bool:
        file = journal_file()

        return file is None or file.is_file()

    def _is_over(self) -> bool:
        if self._run is None:
            return False
        row = self._journal.run(self._run)

        return row is None or row.ended is not None
