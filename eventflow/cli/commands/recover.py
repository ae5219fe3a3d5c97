"""`eventflow recover`: finishing what dead processes left behind, once or for ever."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import click
from rich.text import Text

from eventflow.cli.display.tables import as_json, print_json, printed
from eventflow.client.journals import journal_file
from eventflow.errors import JournalError
from eventflow.owners.folders import owners_folder
from eventflow.recovery.owner import Report
from eventflow.recovery.supervisor import recover as recover_all
from eventflow.settings import EVENTFLOW_JOURNAL_URL

__all__ = ["recover"]

EVERY_SECONDS: Final = 2.0


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

    Ends with 1 if something could not be finished.
    """
    if watch:
        _watch(every, as_json=as_json)
        return
    reports = _recovered()
    if as_json:
        print_json([one._asdict() for one in reports])
    elif not reports:
        click.echo("No dead process has left anything behind.")
    else:
        for one in reports:
            printed(_line(one))
    ctx.exit(1 if any(one.problem for one in reports) else 0)


def _recovered() -> list[Report]:
    url = EVENTFLOW_JOURNAL_URL.value()
    file, folder = journal_file(), owners_folder(url)
    # Looking for what was left must not make what is not there.
    if file is not None and not file.exists() and not (folder is not None and folder.is_dir()):
        return []

    return recover_all(url)


def _watch(every: float, *, as_json: bool) -> None:
    said: set[str] = set()
    with _until_stopped() as stopped:
        if not as_json:
            click.echo("Watching for dead processes; Ctrl-C ends it.", err=True)
        while not stopped.is_set():
            try:
                reports = _recovered()
            except JournalError as error:
                # A service outlives the trouble of its journal.
                reports = []
                _say_once(str(error), said)
            else:
                said = {one for one in said if any(one == report.problem for report in reports)}
            for one in reports:
                if one.problem is None or one.problem not in said:
                    said |= {one.problem} if one.problem else set()
                    click.echo(json.dumps(one._asdict())) if as_json else printed(_line(one))
            stopped.wait(every)


def _say_once(text: str, said: set[str]) -> None:
    if text not in said:
        said.add(text)
        click.echo(text, err=True)


@contextmanager
def _until_stopped() -> Iterator[threading.Event]:
    """Give what is set by Ctrl-C and by SIGTERM: neither breaks off a recovery in the middle."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _line(report: Report) -> Text:
    whose = Text.assemble((f"process {report.pid} on {report.host}", "bold"), f" ({report.owner})")
    if report.problem is not None:
        return Text.assemble(("✗ ", "red"), whose, ": ", (report.problem, "red"))
    done = [
        f"{_count(report.crashed, 'run')} Crashed",
        f"{_count(report.delivered, 'hook')} delivered",
    ]
    if report.dead:
        done.append(f"{_count(report.dead, 'hook')} dead (see: eventflow deliveries ls)")

    return Text.assemble(("✓ ", "green"), whose, f": {', '.join(done)}")


def _count(number: int, one: str) -> str:
    return f"{number:,} {one if number == 1 else f'{one}s'}"
