"""`eventflow run`: run a flow of a file or a module, show it, and end with its exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from rich.console import Console

from eventflow.cli.arguments import call_arguments, help_text
from eventflow.cli.display.progress import live_progress
from eventflow.cli.display.styles import first_line
from eventflow.cli.display.summary import summarise
from eventflow.cli.display.tally import Tally
from eventflow.cli.execution import execute, exit_code
from eventflow.cli.targets import find_flow, load, split
from eventflow.eventbus.bus import current_bus
from eventflow.events import StateTransition
from eventflow.flows import Flow
from eventflow.logs import configure, for_people
from eventflow.primitives.escapes import escaped
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.texts import traceback_text
from eventflow.runs.run import FlowRun
from eventflow.settings import EVENTFLOW_LOG_FORMAT, EVENTFLOW_LOG_LEVEL, temporary_settings
from eventflow.states.state import AnyState, get_state_exception
from eventflow.tracing import enable

__all__ = ["run"]

_logger: Final = get_logger("run")
_HELP: Final = frozenset({"--help", "-h"})
_EXPLAINED: Final = """\
Run a flow, with parameters converted to the types it declares.

The name of the flow may be left out where there is only one. With --help after the target the
flow's own parameters are told.

\b
  eventflow run etl.py:load --day 2026-01-31 --limit 10 --dry-run
  eventflow run etl.py --tables customers --tables orders
  eventflow run package.module:load --options '{"retries": 2}'

\b
Exit codes:
  0 completed   1 failed, cancelled or paused   2 wrong usage   3 crashed
  130 interrupted (SIGINT)   143 terminated (SIGTERM)
"""
_LEVELS: Final = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


class _Request(NamedTuple):
    """What to run, and how to show it."""

    target: str
    arguments: Sequence[str]
    trace: bool
    progress: bool


class _Ended(NamedTuple):
    """How a run ended."""

    tally: Tally
    run: FlowRun
    state: AnyState
    ended_by: BaseException | None


@click.command(
    context_settings={"allow_interspersed_args": False},
    help=_EXPLAINED,
    short_help="Run a flow of a file or a module.",
)
@click.option(
    "--trace/--no-trace", default=False, help="Log a line for every transition and every hook."
)
@click.option(
    "--progress/--no-progress",
    default=None,
    help="Show live progress; by default on a terminal.",
)
@click.option("--log-level", type=click.Choice(_LEVELS, case_sensitive=False))
@click.option("--log-format", type=click.Choice(["console", "json"]))
@click.argument("target", metavar="FILE.py:FLOW|MODULE:FLOW")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--NAME VALUE]...")
@click.pass_context
def run(
    ctx: click.Context,
    *,
    target: str,
    arguments: tuple[str, ...],
    trace: bool,
    progress: bool | None,
    log_level: str | None,
    log_format: str | None,
) -> None:
    """Run a flow, with parameters converted to the types it declares."""
    chosen = {EVENTFLOW_LOG_LEVEL: log_level, EVENTFLOW_LOG_FORMAT: log_format}
    # Live progress leaves no room for a line per transition, unless that is requested.
    progress = (not trace and _is_terminal()) if progress is None else progress
    request = _Request(target, arguments, trace, progress)
    with temporary_settings(
        {setting: value for setting, value in chosen.items() if value is not None}
    ):
        configure()
        if _HELP.intersection(arguments):
            click.echo(help_text(_flow(target, ()), target))
            return
        ended = _run(request)
        _show(ended)
    ctx.exit(exit_code(ended.state, ended.ended_by))


def _is_terminal() -> bool:
    console = Console(stderr=True)

    return console.is_terminal and not console.is_dumb_terminal


def _flow(target: str, arguments: Sequence[str]) -> Flow[..., Any]:
    """Load the flow, with `sys.argv` and `sys.path` as if Python itself ran its file."""
    named = split(target)
    sys.argv = [str(Path(named.source)) if named.is_file else named.source, *arguments]

    return find_flow(load(named), named)


def _run(request: _Request) -> _Ended:
    tally = Tally()
    with ExitStack() as stack:
        if request.progress:
            # Before any import of the user's code: a logging handler that keeps a reference to
            # stderr must write above the live view as well.
            stack.enter_context(live_progress(tally, Console(stderr=True), request.target))
        flow = _flow(request.target, request.arguments)
        args, kwargs = call_arguments(flow, request.arguments)
        stack.enter_context(current_bus().subscribe(tally, event_type=StateTransition))
        if request.trace:
            stack.enter_context(enable())
        ended_by = execute(flow, args, kwargs)
    run = tally.run
    if run is None or run.state is None:
        raise ended_by or AssertionError("calling a flow makes a run")

    return _Ended(tally, run, run.state, ended_by)


def _show(ended: _Ended) -> None:
    """Show the end of the run: its exception on stderr, the summary on stdout."""
    run, state = ended.run, ended.state
    error = _first_error(state)
    if error is not None:
        _show_error(error, f"{run.flow_name}/{run.name} is {state.name}")
    summarise(ended.tally, run, state, Console())


def _first_error(state: AnyState) -> Exception | None:
    """Return the exception that failed the run, or the first of the runs whose states it has."""
    try:
        error = get_state_exception(state)
    except (TypeError, ValueError):  # there is none
        return None

    # One that was never raised says no more than the message of the state.
    return error if isinstance(error, Exception) and error.__traceback__ is not None else None


def _show_error(error: Exception, what: str) -> None:
    """Print a traceback for people, or log it as a JSON line where the log is JSON."""
    trace = escaped(traceback_text(error).rstrip())
    if for_people() or logging.getLogger().handlers:
        *before, last = trace.rsplit("\n", 1)
        console = Console(stderr=True)
        console.print(
            "\n".join(before), style="bright_black", markup=False, highlight=False, soft_wrap=True
        )
        console.print(last, style="red", markup=False, highlight=False, soft_wrap=True)
        console.print()
    else:
        summary = first_line(f"{type(error).__name__}: {error}")
        _logger.error("%s: %s", what, summary, exception=trace)
