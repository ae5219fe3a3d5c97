"""`eventflow cancel`: asking for the end of a run, in whichever process, and waiting for it."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.display.styles import named, state_text
from eventflow.cli.display.tables import as_json, print_json, printed
from eventflow.cli.lookup import dead_owners, run_named, the_archive
from eventflow.client.archive import Archive
from eventflow.client.records import RunRecord
from eventflow.states import StateType

__all__ = ["cancel"]

PATIENCE_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05
STILL: Final = 1
"""The exit code where the run goes on, or came to another end."""


@click.command(short_help="Cancel a run, wherever it is executed.")
@click.argument("run", metavar="RUN")
@click.option("--wait/--no-wait", default=True, help="Wait for what comes of it, or only ask.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=PATIENCE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)
@as_json
@click.pass_context
def cancel(ctx: click.Context, *, run: str, wait: bool, timeout: float, as_json: bool) -> None:
    """Cancel a run, and all that it called, in whichever process it is executed.

    RUN is an id, the beginning or the end of one, or a run's name.

    Ends with 0 if it was cancelled, or asked with --no-wait; with 1 if it had ended before, came
    to another end, or goes on still.
    """
    with the_archive() as archive:
        found = run_named(archive, run)
        asked = archive.journal.ask_cancel(found.id)
        if asked and wait:
            found = _awaited(archive, found.id, timeout)
        gone = asked and not found.is_finished and _owner_is_gone(archive, found)
    outcome = _outcome(found, asked=asked, wait=wait)
    if as_json:
        print_json({"outcome": outcome, "asked": asked, "run": found.model_dump(mode="json")})
    else:
        _tell(found, outcome, timeout, gone=gone)
    ctx.exit(0 if outcome in {"cancelled", "asked"} else STILL)


def _awaited(archive: Archive, run_id: UUID, timeout: float) -> RunRecord:
    deadline = time.monotonic() + timeout
    while True:
        found = archive.run(run_id)
        assert found is not None  # noqa: S101 - a run without end is never pruned
        left = deadline - time.monotonic()
        if found.is_finished or left <= 0:
            return found
        time.sleep(min(POLL_SECONDS, left))


def _owner_is_gone(archive: Archive, run: RunRecord) -> bool:
    alive = {one.id for one in archive.journal.owners(alive=True)}

    return run.owner not in alive - dead_owners(archive.journal)


def _outcome(run: RunRecord, *, asked: bool, wait: bool) -> str:
    if not asked:
        return "had ended"
    if not wait:
        return "asked"
    if run.is_finished:
        return "cancelled" if run.state_type is StateType.CANCELLED else "ended otherwise"

    return "cancelling" if run.state_type is StateType.CANCELLING else "not heard"


def _tell(run: RunRecord, outcome: str, timeout: float, *, gone: bool) -> None:
    name = named(run.definition_name, run.name)
    parts: dict[str, tuple[Any, ...]] = {
        "had ended": (name, " had ended before: ", state_text(run.state), "."),
        "asked": ("Asked ", name, " to end; it is ", state_text(run.state), " now."),
        "cancelled": (name, " is ", state_text(run.state), "."),
        "ended otherwise": (name, " was asked to end, but is ", state_text(run.state), "."),
        "cancelling": (name, f" is being cancelled, and not through after {timeout:g} s."),
        "not heard": (name, f" was asked to end, and is {run.state_name} after {timeout:g} s."),
    }
    printed(Text.assemble(*parts[outcome]))
    if gone:
        click.echo("Its process is gone: eventflow recover brings it to an end.", err=True)
