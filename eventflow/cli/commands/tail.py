"""`eventflow tail`: show transitions of all processes as they happen."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.commands.runs import STATES
from eventflow.cli.display.styles import first_line, run_label, state_text
from eventflow.cli.display.tables import print_line
from eventflow.cli.display.times import SINCE, clock
from eventflow.cli.lookup import find_run, short_id
from eventflow.client.archive import Archive, RunTransition
from eventflow.client.journals import journal_file, opened_journal
from eventflow.journal.contract import START, Cursor, Journal
from eventflow.primitives.escapes import escaped_json
from eventflow.states import StateType

__all__ = ["tail"]

CHUNK: Final = 500
"""How many events are read at a time."""

WAIT_SECONDS: Final = 1.0
"""How long one wait for an event lasts; the end of the run is checked in between."""

ABSENT_SECONDS: Final = 0.25
"""How often to check for a journal that does not exist yet."""

WIDEST: Final = 14
"""The width of the column of states: that of most names."""


@click.command(short_help="Show transitions as they happen.")
@click.option("--since", type=SINCE, help="Begin in the past: 15m, 12h, 30d, 2026-03-01.")
@click.option("--run", "run", metavar="RUN", help="Only this run and what it calls; ends with it.")
@click.option("--state", "states", type=STATES, multiple=True, help="Only these; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document on every line.")
def tail(
    *, since: datetime | None, run: str | None, states: tuple[str | StateType, ...], as_json: bool
) -> None:
    """Show transitions as they happen, in every process that shares the journal.

    With --run those of one run and of all that it calls, from its first on. Ctrl-C ends it.
    """
    try:
        for event in _events(since, run):
            state = event.to_state
            if not states or state.type in states or state.name in states:
                _print(event, as_json=as_json)
    except KeyboardInterrupt:
        # The usual way to end it, and no error.
        return


def _print(event: RunTransition, *, as_json: bool) -> None:
    if as_json:
        click.echo(escaped_json(event.model_dump_json()))
    else:
        print_line(_line(event))
    sys.stdout.flush()


def _line(event: RunTransition) -> Text:
    state = event.to_state
    shown = state_text(state)
    shown.pad_right(max(0, WIDEST - shown.cell_len))
    message = str(state.error or state.message or "")

    return Text.assemble(
        (f"{clock(event.occurred)}  {short_id(event.run_id)}  ", "bright_black"),
        *(shown, "  ", run_label(event.definition_name, event.run_name)),
        f"  {first_line(message)}" if message else "",
    )


def _events(since: datetime | None, run: str | None) -> Iterator[RunTransition]:
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
        self._archive = Archive(journal)
        self._run: UUID | None = None
        if run is not None:
            record = find_run(self._archive, run)
            self._run = record.id
            since = since or record.created
        self._since = since
        self._cursor: Cursor = journal.cursor() if since is None else journal.cursor(since)
        if since is not None and since.timestamp() == 0:
            self._cursor = START

    def events(self) -> Iterator[RunTransition]:
        """Yield the events of the run, or of all runs."""
        while self._exists():
            # Checked before reading, so that all events of an ended run are read.
            over = self._is_over()
            yield from self._new()
            if over:
                return
            self._journal.wait(self._cursor, WAIT_SECONDS)

    def _exists(self) -> bool:
        file = journal_file()

        return file is None or file.is_file()

    def _is_over(self) -> bool:
        if self._run is None:
            return False
        row = self._journal.run(self._run)

        return row is None or row.ended is not None

    def _new(self) -> Iterator[RunTransition]:
        while True:
            chunk, after = self._archive.events_after(self._cursor, CHUNK)
            yield from filter(self._is_selected, chunk)
            if after == self._cursor:
                return
            self._cursor = after

    def _is_selected(self, event: RunTransition) -> bool:
        if self._since is not None and event.occurred < self._since:
            return False

        return self._run is None or self._archive.within(event.run_id, self._run)
