"""One line in the log for the start and the end of a flow run, and for each run that failed.

A flow run that another run calls, and a task run, are reported only if they failed for good: a
program calls thousands of them. Any run is reported that is overdue.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.watchers import report_overdue_with
from eventflow.logs import RUNS, run_context
from eventflow.primitives.durations import in_words
from eventflow.primitives.escapes import one_line
from eventflow.primitives.ids import run_label
from eventflow.primitives.loggers import CONTEXT, is_wanted
from eventflow.primitives.texts import is_a
from eventflow.primitives.tracebacks import origin
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import FlowRun, Run
from eventflow.states.kinds import COMPLETED, StateType

__all__ = ["report_end", "report_overdue", "report_start"]

_logger: Final = logging.getLogger(f"eventflow.{RUNS}")

_BAD: Final = frozenset({StateType.FAILED, StateType.CRASHED})
_REDUNDANT: Final = "The body raised "
"""Begins the message of most failures."""


def report_start(run: Run, bus: EventBus) -> None:
    """Log the start of a flow run that no other run has called."""
    if run.parent_run_id is None and _is_wanted(logging.INFO, bus):
        _log(logging.INFO, run, "Started", {})


def report_end(run: Run, bus: EventBus) -> None:
    """Log the end of a run, if it failed for good or is a flow run that no other has called."""
    state = run.entered
    assert state is not None  # noqa: S101 - it has ended
    is_bad = state.type in _BAD
    if not is_bad and (run.parent_run_id is not None or not isinstance(run, FlowRun)):
        return
    level = logging.ERROR if is_bad else logging.INFO
    if not _is_wanted(level, bus):
        return
    facts: dict[str, Any] = {"state": state.name}
    if isinstance(run.created_at, LazyState):
        # A state that a body returns may have been made before.
        facts["duration"] = max(0.0, round((state.at - run.created_at.at) / 1e9, 6))
    if state.error is not None:
        facts |= {f"error_{name}": value for name, value in vars(state.error).items()}
    _log(level, run, _end_in_words(run, state, facts.get("duration")), facts)


def report_overdue(run: Run, seconds: float) -> None:
    """Log that a run has not ended in time: `Overdue: it has not ended within 30 min 00 s.`."""
    text = f"Overdue: it has not ended within {in_words(seconds)}."
    _log(logging.WARNING, run, text, {"overdue_seconds": seconds})


report_overdue_with(report_overdue)


def _is_wanted(level: int, bus: EventBus) -> bool:
    # The trace of a bus tells the same.
    return is_wanted(_logger, level) and (bus.tracer is None or not bus.tracer.active)


def _end_in_words(run: Run, state: LazyState, seconds: float | None) -> str:
    """Describe the end of a run: `Failed after 1.2 s: ValueError: bad row 3 (etl.py:12)`."""
    took = "" if seconds is None else in_words(seconds)
    attempts = f"after {run.run_count} attempts" if run.run_count > 1 else ""
    if state.type is COMPLETED:
        parts = [state.name, took and f"in {took}", attempts]
    elif attempts:
        parts = [state.name, attempts, took and f"in {took}"]
    else:
        parts = [state.name, took and f"after {took}"]
    text = " ".join(filter(None, parts))
    cause = state.message or ("" if state.error is None else str(state.error))
    if cause:
        text += f": {one_line(cause.removeprefix(_REDUNDANT))}"
    where = origin(state.data) if is_a(state.data, BaseException) else None

    return f"{text.removesuffix('.')} ({where})" if where else text


def _log(level: int, run: Run, text: str, facts: dict[str, Any]) -> None:
    """Log a line about a run: its name is in the message for a program's own handlers."""
    facts = {**run_context(run), **facts}
    message = f"{run_label(run.definition_name, run.name)}: {text}"
    # A handler of the program must not change how a run ends.
    with suppress(BaseException):
        _logger.log(level, "%s", message, extra={**facts, CONTEXT: {**facts, "event": text}})
