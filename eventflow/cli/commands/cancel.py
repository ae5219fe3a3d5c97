"""`eventflow cancel`: request the cancellation of a run in any process, and wait for its end."""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.display.styles import run_label, state_text
from eventflow.cli.display.tables import as_json, print_json, print_line
from eventflow.cli.lookup import dead_owners, find_run, required_archive
from eventflow.client.archive import Archive
from eventflow.client.records import RunRecord
from eventflow.states import StateType

__all__ = ["cancel"]

TIMEOUT_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.05
NOT_CANCELLED: Final = 1
"""The exit code where the run goes on, or ended in another state."""


@click.command(short_help="Cancel a run, wherever it is executed.")
@click.argument("run", metavar="RUN")
@click.option("--wait/--no-wait", default=True, help="Wait for what comes of it, or only ask.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=TIMEOUT_SECONDS,
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
    with required_archive() as archive:
        record = find_run(archive, run)
        asked = archive.journal.ask_cancel(record.id)
        if asked and wait:
            record = _awaited(archive, record.id, timeout)
        orphaned = asked and not record.is_finished and _owner_is_dead(archive, record)
    outcome = _outcome(record, asked=asked, wait=wait)
    if as_json:
        print_json({"outcome": outcome, "asked": asked, "run": record.model_dump(mode="json")})
    else:
        _show(record, outcome, timeout, orphaned=orphaned)
    ctx.exit(0 if outcome in {"cancelled", "asked"} else NOT_CANCELLED)


def _awaited(archive: Archive, run_id: UUID, timeout: float) -> RunRecord:
    deadline = time.monotonic() + timeout
    while True:
        record = archive.run(run_id)
        assert record is not None  # noqa: S101 - an unfinished run is never pruned
        remaining = deadline - time.monotonic()
        if record.is_finished or remaining <= 0:
            return record
        time.sleep(min(POLL_SECONDS, remaining))


def _owner_is_dead(archive: Archive, run: RunRecord) -> bool:
    alive = {owner.id for owner in archive.journal.owners(alive=True)}

    return run.owner not in alive - dead_owners(archive.journal)


def _outcome(run: RunRecord, *, asked: bool, wait: bool) -> str:
    if not asked:
        return "had ended"
    if not wait:
        return "asked"
    if run.is_finished:
        return "cancelled" if run.state_type is StateType.CANCELLED else "ended otherwise"

    return "cancelling" if run.state_type is StateType.CANCELLING else "not heard"


def _show(run: RunRecord, outcome: str, timeout: float, *, orphaned: bool) -> None:
    name = run_label(run.definition_name, run.name)
    parts: dict[str, tuple[Any, ...]] = {
        "had ended": (name, " had ended before: ", state_text(run.state), "."),
        "asked": ("Asked ", name, " to end; it is ", state_text(run.state), " now."),
        "cancelled": (name, " is ", state_text(run.state), "."),
        "ended otherwise": (name, " was asked to end, but is ", state_text(run.state), "."),
        "cancelling": (name, f" is being cancelled, and not through after {timeout:g} s."),
        "not heard": (name, f" was asked to end, and is {run.state_name} after {timeout:g} s."),
    }
    print_line(Text.assemble(*parts[outcome]))
    if orphaned:
        click.echo("Its process is gone: eventflow recover brings it to an end.", err=True)
