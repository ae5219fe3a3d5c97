"""`eventflow logs`: show what was logged in a run, and follow it."""

from __future__ import annotations

import sys
import time
from typing import Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.display.styles import run_label
from eventflow.cli.display.tables import print_block, print_line
from eventflow.cli.display.times import clock
from eventflow.cli.lookup import find_run, required_archive
from eventflow.client.archive import Archive
from eventflow.client.journals import journal_file, take_in_ended
from eventflow.client.records import LogRecord, RunRecord
from eventflow.client.run_logs import RunLogs, level_of
from eventflow.hooks.ledger import OWED
from eventflow.journal.contract import DeliveryQuery
from eventflow.primitives.escapes import escaped_json

__all__ = ["logs"]

POLL_SECONDS: Final = 0.2
"""How often to look for further lines."""

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_STYLES: Final = {
    "DEBUG": "bright_black",
    "INFO": "green",
    "WARNING": "yellow",
    "ERROR": "red",
    "CRITICAL": "bold red",
}
_OWN: Final = "eventflow."


@click.command(short_help="Show what was logged in a run.")
@click.argument("run")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is logged; ends with the run.")
@click.option("--own", is_flag=True, help="Without the runs that it called.")
@click.option(
    "--level", type=click.Choice(LEVELS, case_sensitive=False), help="Only this one and above."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document on every line.")
def logs(*, run: str, follow: bool, own: bool, level: str | None, as_json: bool) -> None:
    """Show what was logged in a run and in all that it called, in the order of time.

    RUN is the name of a run, or its id, or some digits with which that begins or ends. Of a run
    that logs much the first 200 and the last 2,000 lines are kept. Ctrl-C ends --follow.
    """
    with required_archive() as archive:
        record = find_run(archive, run)
        lines = RunLogs(archive, record.id, own=own, level=level_of(level or 0))
        printer = _Printer(archive, record, own=own, as_json=as_json)
        try:
            if follow:
                _follow(archive, record, lines, printer)
            else:
                printer.print(lines)
        except KeyboardInterrupt:
            # The usual way to end it, and no error.
            return
    if not (printer.printed or as_json):
        click.echo(f"Nothing of what {record.name} has logged is in the journal.", err=True)


def _follow(archive: Archive, run: RunRecord, lines: RunLogs, printer: _Printer) -> None:
    file = journal_file()
    while file is None or file.is_file():
        # Checked before reading, so that all lines of an ended run are read.
        take_in_ended()
        over = _is_over(archive, run)
        printer.print(lines)
        if over:
            return
        time.sleep(POLL_SECONDS)


def _is_over(archive: Archive, run: RunRecord) -> bool:
    """Return whether a run has ended, and its hooks, which log as well."""
    row = archive.journal.run(run.id)
    owed = DeliveryQuery(run_id=run.id, statuses=OWED, of_workers=False, limit=1)

    return row is None or (row.ended is not None and not archive.journal.deliveries(owed))


class _Printer:
    """Prints lines as they come."""

    def __init__(self, archive: Archive, run: RunRecord, *, own: bool, as_json: bool) -> None:
        self._archive = archive
        self._own = own
        self._run = run
        self._as_json = as_json
        self.printed = False

    def print(self, lines: RunLogs) -> None:
        """Print what has come since."""
        for line in lines.lines():
            self.printed = True
            if self._as_json:
                click.echo(escaped_json(line.model_dump_json()))
            else:
                self._print(line)
        for run, count in lines.left_out.items():
            self.printed = True
            if not self._as_json:
                self._print_left_out(count, run)
        sys.stdout.flush()

    def _print(self, line: LogRecord) -> None:
        if line.left_out:
            self._print_left_out(line.left_out, line.run_id)
        style = _STYLES.get(line.level_name, "")
        logger = "" if line.logger.startswith(_OWN) else f"[{line.logger}] "
        first, *rest = line.message.split("\n")
        print_line(
            Text.assemble(
                (f"{clock(line.timestamp)}  ", "bright_black"),
                (f"{line.level_name:<8}  ", style),
                *self._label(line.run_id),
                (logger, "bright_black"),
                first,
            )
        )
        for block in ("\n".join(rest), line.traceback or ""):
            print_block(block, "bright_black")

    def _label(self, run_id: UUID) -> list[Text]:
        """Return the names of a run and a gap, if there may be lines of several."""
        row = None if self._own else self._archive.row(run_id)

        return [] if row is None else [run_label(row.definition, row.name), Text("  ")]

    def _print_left_out(self, count: int, run_id: UUID) -> None:
        lines = "1 line" if count == 1 else f"{count:,} lines"
        label = self._label(run_id)[:1]
        print_line(Text(" ").join([Text(f"… {lines} left out …", "bright_black"), *label]))
