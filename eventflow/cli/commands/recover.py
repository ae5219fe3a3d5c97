"""`eventflow recover`: recover dead owners, once or as a service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import click
from rich.text import Text

from eventflow.cli.display.tables import as_json, print_json, print_line, show_table
from eventflow.client.journals import journal_file
from eventflow.errors import EventflowError
from eventflow.interrupts.waiting import until_stopped
from eventflow.owners.folders import owners_folder
from eventflow.primitives.escapes import escaped
from eventflow.recovery.owner import Report
from eventflow.recovery.supervisor import recover as recover_all
from eventflow.settings import EVENTFLOW_JOURNAL_URL

__all__ = ["recover"]

EVERY_SECONDS: Final = 2.0

DEAD: Final = 1
LEFT: Final = 3
"""The exit codes if a hook ended among the dead, and if an owner could not be recovered."""

TITLES: Final = ("process", ">crashed", ">delivered", ">dead", "outcome")


@click.command(short_help="Finish what dead processes left behind.")
@click.option("--watch", is_flag=True, help="Go on until it is stopped: for a service.")
@click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    default=EVERY_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How often to look, with --watch.",
)
@as_json
@click.pass_context
def recover(ctx: click.Context, *, watch: bool, every: float, as_json: bool) -> None:
    """Finish what dead processes left: Crashed is entered, and the hooks that are owed are run.

    The guardian of each process does the same on its own, and so does the next process that runs
    a flow. This is for when there is neither, and, with --watch, for a service that sees to it.
    With --watch and --json every line is a document.

    Ends with 0 if nothing is left, with 1 if a hook is dead, with 3 if a process is not recovered.
    """
    if watch:
        _watch(every, as_json=as_json)
        return
    reports = _recovered()
    if as_json:
        print_json([report._asdict() for report in reports])
    elif not reports:
        click.echo("No dead process has left anything behind.")
    else:
        show_table(TITLES, [_row(report) for report in reports])
    ctx.exit(_exit_code(reports))


def _exit_code(reports: Sequence[Report]) -> int:
    if any(report.problem is not None for report in reports):
        return LEFT

    return DEAD if any(report.dead for report in reports) else 0


def _row(report: Report) -> list[Text | str]:
    process = f"{report.pid} on {report.host}" if report.host else report.owner
    outcome = Text("recovered", "green")
    if report.problem is not None:
        outcome = Text(report.problem, "red")
    elif report.dead:
        outcome = Text("see: eventflow deliveries ls", "yellow")

    numbers = (report.crashed, report.delivered, report.dead)

    return [process, *(f"{number:,}" for number in numbers), outcome]


def _recovered() -> list[Report]:
    url = EVENTFLOW_JOURNAL_URL.value()
    file, folder = journal_file(), owners_folder(url)
    # A journal that does not exist must not be made.
    if file is not None and not file.exists() and not (folder is not None and folder.is_dir()):
        return []

    return recover_all(url)


def _watch(every: float, *, as_json: bool) -> None:
    shown: set[str] = set()
    with until_stopped() as stopped:
        if not as_json:
            click.echo("Watching for dead processes; Ctrl-C ends it.", err=True)
        while True:
            try:
                reports = _recovered()
            except (EventflowError, OSError) as error:
                # A service goes on while its journal fails.
                reports = []
                _show_once(str(error), shown)
            else:
                shown &= {report.problem for report in reports if report.problem}
            for report in reports:
                if report.problem is None or report.problem not in shown:
                    shown |= {report.problem} if report.problem else set()
                    click.echo(json.dumps(report._asdict())) if as_json else print_line(
                        _line(report)
                    )
            if stopped.wait(every):
                return


def _show_once(text: str, shown: set[str]) -> None:
    if text not in shown:
        shown.add(text)
        click.echo(escaped(text), err=True)


def _line(report: Report) -> Text:
    owner = Text.assemble((f"process {report.pid} on {report.host}", "bold"), f" ({report.owner})")
    if report.problem is not None:
        return Text.assemble(("✗ ", "red"), owner, ": ", (report.problem, "red"))
    done = [
        f"{_count(report.crashed, 'run')} Crashed",
        f"{_count(report.delivered, 'hook')} delivered",
    ]
    if report.dead:
        done.append(f"{_count(report.dead, 'hook')} dead (see: eventflow deliveries ls)")

    return Text.assemble(("✓ ", "green"), owner, f": {', '.join(done)}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"
