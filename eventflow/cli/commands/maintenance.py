"""`eventflow prune` and `eventflow verify`: maintenance of the journal."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.text import Text

from eventflow.cli.display.styles import run_label
from eventflow.cli.display.tables import as_json, print_json, print_line, show_table
from eventflow.cli.display.times import BYTES, DURATION, ago, bytes_in_words
from eventflow.cli.lookup import dead_owners, optional_archive, short_id
from eventflow.client.archive import Archive
from eventflow.client.records import FailingHook
from eventflow.journal.contract import RunQuery
from eventflow.journal.rows import Finding, Pruned, Statistics
from eventflow.primitives.escapes import one_line
from eventflow.settings import EVENTFLOW_RETENTION_BYTES, EVENTFLOW_RETENTION_DAYS

__all__ = ["prune", "verify"]


@click.command(short_help="Delete what is old and done with.")
@click.option("--older-than", type=DURATION, help="Delete what ended longer ago: 12h, 30d.")
@click.option("--max-bytes", type=BYTES, help="Then the oldest until it is no larger: 500MB, 1GB.")
@as_json
def prune(*, older_than: timedelta | None, max_bytes: int | None, as_json: bool) -> None:
    """Delete runs that have ended and are owed nothing any more, with their events.

    Without options by the settings EVENTFLOW_RETENTION_DAYS and EVENTFLOW_RETENTION_BYTES.
    A run that has not ended, or of which a hook is still owed, is never deleted.
    """
    if older_than is None and max_bytes is None:
        older_than = timedelta(days=EVENTFLOW_RETENTION_DAYS.value())
        max_bytes = EVENTFLOW_RETENTION_BYTES.value()
    pruned, size = Pruned(0, 0, 0, 0), 0
    with optional_archive() as archive:
        if archive is not None:
            cutoff = None if older_than is None else datetime.now(UTC) - older_than
            pruned = archive.journal.prune(older_than=cutoff, max_bytes=max_bytes)
            size = archive.journal.statistics().size
    if as_json:
        print_json({**asdict(pruned), "size": size})
    elif archive is not None:
        click.echo(
            f"Deleted {_count(pruned.runs, 'run')} with {_count(pruned.events, 'event')} and "
            f"{_count(pruned.deliveries, 'delivery', 'deliveries')}; the journal holds "
            f"{bytes_in_words(size)}."
        )
        if max_bytes is not None and size > max_bytes:
            click.echo("It could not be made smaller: the rest is still owed, or in use.", err=True)


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


@click.command(short_help="Check that nothing is missing or left behind.")
@as_json
@click.pass_context
def verify(ctx: click.Context, *, as_json: bool) -> None:
    """Check the journal: gaps, orphans, and runs without end whose process is gone.

    Ends with 1 if something is wrong, and lists it. Hooks whose last deliveries are all dead are
    listed as well.
    """
    findings: list[Finding] = []
    facts: Statistics | None = None
    names: dict[object, Text] = {}
    failing: list[FailingHook] = []
    with optional_archive() as archive:
        if archive is not None:
            findings = [*archive.journal.verify(), *_orphans(archive)]
            facts = archive.journal.statistics()
            names = {finding.run_id: _name(archive, finding) for finding in findings}
            failing = archive.failing_hooks()
    if as_json:
        print_json(
            {
                "clean": not findings,
                "findings": [_document(finding) for finding in findings],
                "failing_hooks": [hook.model_dump(mode="json") for hook in failing],
                "journal": None if facts is None else asdict(facts),
            }
        )
    elif findings:
        rows: list[list[Text | str]] = [
            [
                Text(finding.kind, "red"),
                short_id(finding.run_id),
                names[finding.run_id],
                finding.message,
            ]
            for finding in findings
        ]
        show_table(["Finding", "Id", "Run", "What"], rows)
    elif facts is not None:
        print_line(_clean(facts))
    if failing and not as_json:
        click.echo()
        _show_failing(failing)
    ctx.exit(1 if findings else 0)


def _document(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "run_id": str(finding.run_id)}


def _orphans(archive: Archive) -> list[Finding]:
    """Return a finding for each unfinished run of a dead owner that was not recovered yet."""
    journal = archive.journal

    return [
        Finding("left behind", row.id, f"has no end, and its process ({owner}) is gone")
        for owner in sorted(dead_owners(journal))
        for row in journal.runs(RunQuery(keeper=owner, unfinished=True, limit=2**31))
    ]


def _show_failing(failing: list[FailingHook]) -> None:
    rows: list[list[Text | str]] = [
        [
            Text(hook.hook, "red"),
            f"{hook.dead:,}",
            short_id(hook.last.id),
            "" if hook.since is None else ago(hook.since),
            one_line(str(hook.last.error)),
        ]
        for hook in failing
    ]
    show_table(["Hook that fails", ">Dead", "Last", "Since", "Error"], rows)


def _name(archive: Archive, finding: Finding) -> Text:
    row = archive.row(finding.run_id)

    return Text("?") if row is None else run_label(row.definition, row.name)


def _clean(facts: Statistics) -> Text:
    contents = (
        f"{_count(facts.runs, 'run')} ({facts.unfinished:,} without end), "
        f"{_count(facts.events, 'event')}, "
        f"{_count(sum(facts.deliveries.values()), 'delivery', 'deliveries')}, "
        f"{bytes_in_words(facts.size)}."
    )

    return Text.assemble(("Nothing is wrong", "green"), ": ", contents)
