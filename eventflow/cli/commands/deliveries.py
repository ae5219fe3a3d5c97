"""`eventflow deliveries`: list, show and redrive the deliveries of hooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import click
from rich.text import Text

from eventflow.cli.display.styles import first_line, run_label, status_text
from eventflow.cli.display.tables import (
    as_json,
    print_block,
    print_facts,
    print_json,
    print_line,
    show_table,
)
from eventflow.cli.display.times import ago, at
from eventflow.cli.lookup import (
    find_delivery,
    find_run,
    optional_archive,
    required_archive,
    short_id,
)
from eventflow.client.archive import Archive
from eventflow.client.records import DeliveryRecord
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery
from eventflow.states.records import ErrorInfo

__all__ = ["deliveries"]

LIMIT: Final = 25
NO_LIMIT: Final = 2**31


@click.group(short_help="See what hooks are owed; redrive dead ones.")
def deliveries() -> None:
    """List what hooks are owed, show one delivery, and try dead ones again."""


@deliveries.command("ls")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([str(status) for status in DeliveryStatus]),
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
    records: list[DeliveryRecord] = []
    with optional_archive() as archive:
        if archive is not None:
            query = DeliveryQuery(
                run_id=find_run(archive, run).id if run else None,
                statuses=tuple(map(DeliveryStatus, statuses)),
                hook=hook,
                newest=True,
                limit=limit + 1,
            )
            records = archive.deliveries(query)
    if as_json:
        print_json([record.model_dump(mode="json") for record in records[:limit]])
    elif records:
        _show(records[:limit])
        if len(records) > limit:
            click.echo(f"There are more; see --limit (now {limit}).", err=True)
    elif archive is not None:
        filtered = statuses or run or hook
        click.echo("No deliveries match." if filtered else "There are no deliveries.", err=True)


def _show(records: Sequence[DeliveryRecord]) -> None:
    now = datetime.now(UTC)
    show_table(
        ["Id", "Status", "Hook", "On", "Run", ">Attempts", ">Updated", "Error"],
        [
            [
                Text(short_id(record.id), "bright_black"),
                status_text(record.status),
                record.hook,
                record.occasion,
                run_label(record.definition_name, record.run_name),
                str(record.attempts),
                _age(record, now),
                first_line(str(record.error or record.note or "")),
            ]
            for record in records
        ],
    )


def _age(delivery: DeliveryRecord, now: datetime) -> str:
    moment = delivery.updated or delivery.occurred

    return "" if moment is None else ago(moment, now)


@deliveries.command("show")
@click.argument("delivery", metavar="ID")
@as_json
def show_delivery(*, delivery: str, as_json: bool) -> None:
    """Show a delivery: whom it is owed, what for, and its last error in full.

    ID is an id, or the beginning or the end of one.
    """
    with required_archive() as archive:
        record = find_delivery(archive, delivery)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    now = datetime.now(UTC)
    print_line(Text.assemble(status_text(record.status), "  ", (record.hook, "bold")))
    print_facts(
        {
            "id": str(record.id),
            "run": f"{record.definition_name or '?'}/{record.run_name or '?'}  {record.run_id}",
            "on": record.occasion,
            "occurred": at(record.occurred, now),
            "attempts": str(record.attempts),
            "updated": at(record.updated, now),
            "due": at(record.due, now),
            "run by": record.note or f"{'a' if record.where == 'worker' else 'its'} {record.where}",
            "survives": _survives(record),
        }
    )
    if record.error is not None:
        click.echo()
        print_block(_in_full(record.error), "red")


def _survives(delivery: DeliveryRecord) -> str:
    if delivery.importable or delivery.where == "worker":
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
    runs a flow; the others by the process that executes the run, when it ends. Those that workers
    make are made by the next one.
    """
    if bool(ids) + bool(run) + every != 1:
        raise click.UsageError("Name deliveries by their ids, or give --run RUN, or --all.")
    with required_archive() as archive:
        dead = _dead(archive, ids, run)
        count = archive.journal.redrive([record.id for record in dead]) if dead else 0
    if as_json:
        print_json({"redriven": count, "deliveries": [str(record.id) for record in dead]})
    elif count == 0:
        click.echo("There is no dead delivery to try again.")
    else:
        thing = "1 delivery is" if count == 1 else f"{count:,} deliveries are"
        commands = {"work" if each.where == "worker" else "recover" for each in dead}
        now = " and ".join(f"eventflow {command}" for command in sorted(commands))
        click.echo(f"{thing} pending again; to have them made now: {now}")


def _dead(archive: Archive, ids: Sequence[str], run: str | None) -> list[DeliveryRecord]:
    if not ids:
        run_id: UUID | None = None if run is None else find_run(archive, run).id
        query = DeliveryQuery(run_id=run_id, statuses=(DeliveryStatus.DEAD,), limit=NO_LIMIT)
        return archive.deliveries(query)
    records = [find_delivery(archive, text) for text in ids]
    for record in records:
        if record.status is not DeliveryStatus.DEAD:
            name = short_id(record.id)
            raise click.UsageError(
                f"The delivery {name} is {record.status}; only dead ones are tried again."
            )

    return records
