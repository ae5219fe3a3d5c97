"""`eventflow deliveries`: which hooks are owed what, what came of it, and trying again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.display.styles import named, one_line, status_text
from eventflow.cli.display.tables import as_json, describe, print_json, printed, show_table
from eventflow.cli.display.times import ago, at
from eventflow.cli.lookup import delivery_named, reading, run_named, short, the_archive
from eventflow.client.archive import Archive
from eventflow.client.records import DeliveryRecord
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from eventflow.primitives.records import ErrorInfo

__all__ = ["deliveries"]

LIMIT: Final = 25
EVERY: Final = 2**31


@click.group(short_help="See what hooks are owed; redrive dead ones.")
def deliveries() -> None:
    """List what hooks are owed, show one delivery, and try dead ones again."""


@deliveries.command("ls")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([str(one) for one in DeliveryStatus]),
    multiple=True,
    help="Only these; repeatable.",
)
@click.option("--run", "run", metavar="RUN", help="Only those of this run.")
@click.option("--hook", metavar="PATTERN", help="Only those of these hooks; * and ? match.")
@click.option("-n", "--limit", type=click.IntRange(1), default=LIMIT, show_default=True)
@as_json
def list_deliveries(
    *, statuses: tuple[str, ...], run: str | None, hook: str | None, limit: int, as_json: bool
) -> None:
    """List deliveries, newest first.

    A delivery goes pending → running → delivered, or failed → (again) → dead.
    """
    found: list[DeliveryRecord] = []
    with reading() as archive:
        if archive is not None:
            query = DeliveryQuery(
                run_id=run_named(archive, run).id if run else None,
                statuses=tuple(DeliveryStatus(one) for one in statuses),
                hook=hook,
                newest=True,
                limit=limit + 1,
            )
            found = archive.deliveries(query)
    if as_json:
        print_json([one.model_dump(mode="json") for one in found[:limit]])
    elif found:
        _show(found[:limit])
        if len(found) > limit:
            click.echo(f"There are more; see --limit (now {limit}).", err=True)
    elif archive is not None:
        chosen = statuses or run or hook
        click.echo("No deliveries match." if chosen else "There are no deliveries.", err=True)


def _show(found: Sequence[DeliveryRecord]) -> None:
    now = datetime.now(UTC)
    show_table(
        ["Id", "Status", "Hook", "On", "Run", ">Attempts", ">Updated", "Error"],
        [
            [
                Text(short(one.id), "bright_black"),
                status_text(one.status),
                one.hook,
                one.state_name or "?",
                named(one.definition_name, one.run_name),
                str(one.attempts),
                _when(one, now),
                one_line(str(one.error or "")),
            ]
            for one in found
        ],
    )


def _when(delivery: DeliveryRecord, now: datetime) -> str:
    moment = delivery.updated or delivery.occurred

    return "" if moment is None else ago(moment, now)


@deliveries.command("show")
@click.argument("delivery", metavar="ID")
@as_json
def show_delivery(*, delivery: str, as_json: bool) -> None:
    """Show a delivery: whom it is owed, what for, and its last error in full.

    ID is an id, or the beginning or the end of one.
    """
    with the_archive() as archive:
        found = delivery_named(archive, delivery)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    now = datetime.now(UTC)
    printed(Text.assemble(status_text(found.status), "  ", (found.hook, "bold")))
    describe(
        {
            "id": str(found.id),
            "run": f"{found.definition_name or '?'}/{found.run_name or '?'}  {found.run_id}",
            "on": found.state_name,
            "occurred": at(found.occurred, now),
            "attempts": str(found.attempts),
            "updated": at(found.updated, now),
            "due": at(found.due, now),
            "survives": _reach(found),
        }
    )
    if found.error is not None:
        click.echo()
        printed(Text(_in_full(found.error), "red"))


def _reach(delivery: DeliveryRecord) -> str:
    if delivery.importable:
        return "any end of its process, and a reboot"

    return "the end of its process only: it cannot be imported (see: eventflow hooks check)"


def _in_full(error: ErrorInfo | str) -> str:
    return error if isinstance(error, str) else error.traceback.rstrip() or str(error)


@deliveries.command("redrive")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--run", "run", metavar="RUN", help="All dead deliveries of this run.")
@click.option("--all", "every", is_flag=True, help="All dead deliveries.")
@as_json
def redrive(*, ids: tuple[str, ...], run: str | None, every: bool, as_json: bool) -> None:
    """Make dead deliveries pending again, with all their attempts.

    Those of runs that have ended are made by `eventflow recover`, or by the next process that
    runs a flow; the others by the process that executes the run, when it ends.
    """
    if bool(ids) + bool(run) + every != 1:
        raise click.UsageError("Name deliveries by their ids, or give --run RUN, or --all.")
    with the_archive() as archive:
        wanted = _wanted(archive, ids, run)
        count = archive.journal.redrive([one.id for one in wanted]) if wanted else 0
    if as_json:
        print_json({"redriven": count, "deliveries": [str(one.id) for one in wanted]})
    elif count == 0:
        click.echo("There is no dead delivery to try again.")
    else:
        thing = "1 delivery is" if count == 1 else f"{count:,} deliveries are"
        click.echo(f"{thing} pending again; to have them made now: eventflow recover")


def _wanted(archive: Archive, ids: Sequence[str], run: str | None) -> list[DeliveryRecord]:
    if not ids:
        run_id: UUID | None = None if run is None else run_named(archive, run).id
        dead = DeliveryQuery(run_id=run_id, statuses=(DeliveryStatus.DEAD,), limit=EVERY)
        return archive.deliveries(dead)
    found = [delivery_named(archive, one) for one in ids]
    for one in found:
        if one.status is not DeliveryStatus.DEAD:
            raise click.UsageError(
                f"The delivery {short(one.id)} is {one.status}; only dead ones are tried again."
            )

    return found
