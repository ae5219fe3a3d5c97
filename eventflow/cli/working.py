"""`eventflow work`: run the hooks that flows leave to workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import click
from rich.text import Text

from eventflow.cli.display.styles import first_line, run_label
from eventflow.cli.display.tables import as_json, print_line
from eventflow.cli.lookup import short_id
from eventflow.errors import EventflowError
from eventflow.interrupts.waiting import Wakeup, until_stopped
from eventflow.primitives.escapes import escaped
from eventflow.recovery.workers.worker import Attempted, Worker
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_LEASE_SECONDS,
    temporary_settings,
)

__all__ = ["work"]

EVERY_SECONDS: Final = 1.0

DEAD: Final = 1
"""The exit code if a hook ended among the dead, with --once."""


@click.command(short_help="Run the hooks that flows leave to workers.")
@click.option(
    "--hooks",
    multiple=True,
    metavar="GLOB",
    help="Only these hooks; * and ? match. Repeatable.",
)
@click.option("--journal", metavar="URL", help="The journal; EVENTFLOW_JOURNAL_URL by default.")
@click.option("--once", is_flag=True, help="End as soon as no hook is due.")
@click.option(
    "--every",
    type=click.FloatRange(0, min_open=True),
    default=EVERY_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How often to look while no hook is due.",
)
@as_json
@click.pass_context
def work(
    ctx: click.Context,
    *,
    hooks: tuple[str, ...],
    journal: str | None,
    once: bool,
    every: float,
    as_json: bool,
) -> None:
    """Run hooks of Hook(where="worker"), one at a time: the oldest first, in order per run.

    Any number of workers, on any machines, share what is owed in one journal. One that is killed
    loses its claim after EVENTFLOW_LEASE_SECONDS, and another worker makes the next attempt. The
    first Ctrl-C or SIGTERM ends it once the present hook has ended.

    With --json every line is a document; what hooks print goes to stderr. With --once it ends with
    1 if a hook is dead.
    """
    with ExitStack() as stack:
        if journal is not None:
            stack.enter_context(temporary_settings({EVENTFLOW_JOURNAL_URL: journal}))
        worker = stack.enter_context(
            Worker(
                EVENTFLOW_JOURNAL_URL.value(),
                EVENTFLOW_DURABILITY.value(),
                hooks,
                EVENTFLOW_LEASE_SECONDS.value(),
            )
        )
        stopped = stack.enter_context(until_stopped())
        if not (as_json or once):
            click.echo("Waiting for hooks to run; Ctrl-C ends it.", err=True)
        dead = _work(worker, stopped, None if once else every, as_json=as_json)
    ctx.exit(DEAD if dead and once else 0)


def _work(worker: Worker, stopped: Wakeup, every: float | None, *, as_json: bool) -> int:
    """Run hooks until it is stopped, or none is due without `every`; return how many died."""
    dead, pause, shown = 0, 0.0, ""
    before: Attempted | None = None
    while not stopped.wait(pause):
        attempted = None
        try:
            attempted = worker.attempt()
            shown = ""
        except (EventflowError, OSError) as error:
            if every is None:
                raise
            # A service goes on while its journal fails; it says so once.
            if str(error) != shown:
                shown = str(error)
                click.echo(escaped(shown), err=True)
        if attempted is not None:
            dead += attempted.status == "dead"
            click.echo(_document(attempted)) if as_json else print_line(_line(attempted))
        is_idle = attempted is None or _is_in_vain(attempted, before)
        if is_idle and every is None:
            break
        before, pause = attempted, (every or 0.0) if is_idle else 0.0

    return dead


def _is_in_vain(attempted: Attempted, before: Attempted | None) -> bool:
    """Return whether an attempt did not even begin, twice: its process cannot be started, say."""
    return (
        before is not None
        and attempted.status == before.status == "lost"
        and attempted.delivery == before.delivery
    )


def _document(attempted: Attempted) -> str:
    delivery, run = attempted.delivery, attempted.run
    facts = {
        "delivery": str(delivery.id),
        "hook": delivery.hook,
        "run": str(run.id),
        "attempt": delivery.attempts + 1,
        "status": attempted.status,
        "error": attempted.error,
        "seconds": round(attempted.seconds, 6),
    }

    return json.dumps(facts)


_MARKS: Final = {"delivered": ("✓ ", "green"), "failed": ("↻ ", "yellow")}


def _line(attempted: Attempted) -> Text:
    delivery, run = attempted.delivery, attempted.run
    parts: Sequence[tuple[str, str] | str | Text] = (
        _MARKS.get(attempted.status, ("✗ ", "red")),
        (delivery.hook, "bold"),
        " for ",
        run_label(run.definition, run.name),
        f" ({short_id(delivery.id)}, attempt {delivery.attempts + 1}, {attempted.seconds:.2f} s)",
    )
    why = "" if attempted.error is None else f": {first_line(attempted.error)}"

    return Text.assemble(*parts, why)
