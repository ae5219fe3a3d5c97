"""Loggers that know their run: structlog in front, the standard library's `logging` behind."""

from __future__ import annotations

import builtins
import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import structlog

from eventflow.context import current_hook, current_run
from eventflow.errors import MissingContextError
from eventflow.primitives.forks import renewed
from eventflow.primitives.loggers import CONTEXT, Logger, get_logger
from eventflow.runs.run import FlowRun, Run, TaskRun
from eventflow.settings import EVENTFLOW_LOG_FORMAT, EVENTFLOW_LOG_LEVEL

__all__ = [
    "configure",
    "flow_run_logger",
    "for_people",
    "get_run_logger",
    "run_logger",
    "take_prints",
    "task_run_logger",
]

_lock = threading.Lock()
renewed(globals(), "_lock", threading.Lock)


_flow_runs: Final = get_logger("flow_runs")
_task_runs: Final = get_logger("task_runs")


def flow_run_logger(flow_run: FlowRun, flow: Any = None, **context: Any) -> Logger:
    """Give a logger that says which flow run speaks."""
    flow_name = flow_run.flow_name if flow is None else flow.name

    return _flow_runs.bind(
        flow_run_name=flow_run.name, flow_run_id=str(flow_run.id), flow_name=flow_name, **context
    )


def task_run_logger(task_run: TaskRun, task: Any = None, **context: Any) -> Logger:
    """Give a logger that says which task run speaks."""
    task_name = task_run.task_name if task is None else task.name
    flow_run_id = None if task_run.flow_run_id is None else str(task_run.flow_run_id)

    return _task_runs.bind(
        task_run_name=task_run.name,
        task_run_id=str(task_run.id),
        task_name=task_name,
        flow_run_id=flow_run_id,
        **context,
    )


def run_logger(run: Run) -> Logger:
    """Give the logger of a run of either type."""
    return task_run_logger(run) if isinstance(run, TaskRun) else flow_run_logger(_flow(run))


def _flow(run: Run) -> FlowRun:
    if not isinstance(run, FlowRun):
        raise TypeError(f"Expected a flow run or a task run, but got {type(run).__name__}.")

    return run


def get_run_logger(**context: Any) -> Logger:
    """Give the logger of the run that is executing here, in bodies and in hooks.

    Raises:
        MissingContextError: no flow or task is running here.
    """
    here = current_run.get()
    if here is None:
        raise MissingContextError(
            "get_run_logger()", "Use logging.getLogger() outside of flows and tasks."
        )
    logger = run_logger(here.run)

    return logger.bind(**context) if context else logger


# What `print` was before, once `take_prints` has been called.
_print: Final[list[Callable[..., None]]] = []
_printing: Final = threading.local()


def take_prints() -> None:
    """Have `print` ask from now on whether the run in force wants its prints logged.

    Only bodies of runs with `log_prints` are concerned, and only prints without a `file=`.
    """
    with _lock:
        if not _print:
            _print.append(builtins.print)
            builtins.print = _print_or_log


@functools.wraps(print)
def _print_or_log(*values: object, sep: str | None = None, **options: Any) -> None:
    here = current_run.get()
    if (
        here is None
        or not here.log_prints
        or current_hook.get() is not None
        or options.get("file") is not None
        or getattr(_printing, "now", False)
    ):
        _print[0](*values, sep=sep, **options)
        return
    # A handler may print, too.
    _printing.now = True
    try:
        run_logger(here.run).info((" " if sep is None else sep).join(map(str, values)))
    finally:
        _printing.now = False


class _Handler(logging.StreamHandler[Any]):
    """Writes to the present stderr, unless the program has set up logging itself."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_formatter())

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers:
            return
        self.stream = sys.stderr
        super().emit(record)


def _take_context(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    record = event["_record"]
    event.update(getattr(record, CONTEXT, {}))

    return event


_DIM: Final = "\x1b[2m"
_CYAN: Final = "\x1b[36m"
_PLAIN: Final = "\x1b[0m"
_LEVELS: Final = {
    "debug": _DIM,
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
}
_RUN_COLUMN: Final = 24

TRACE: Final = "trace"
"""The logger of `eventflow.tracing`, whose messages say all that a person wants to know."""

_SAID: Final = frozenset(
    {
        "timestamp", "level", "logger", "event", "exception", "stack",
        "flow_name", "flow_run_name", "flow_run_id", "task_name", "task_run_name", "task_run_id",
    }
)  # fmt: skip
"""What a line for people says in other words, or leaves to machines."""


def _line(event: MutableMapping[str, Any], *, colours: bool) -> str:
    """Write a line for people: time, level, run, message, and what the user has bound."""

    def styled(text: str, style: str) -> str:
        return f"{style}{text}{_PLAIN}" if colours else text

    level = str(event["level"])
    parts = [
        styled(str(event["timestamp"])[:12], _DIM),
        styled(f"{level.upper():<7}", _LEVELS.get(level, "")),
    ]
    if run := _run_named_in(event):
        parts.append(styled(f"{run:<{_RUN_COLUMN}}", _CYAN))
    parts.append(str(event["event"]))
    more = {} if event["logger"] == f"eventflow.{TRACE}" else event
    parts += [
        f"{styled(f'{key}=', _DIM)}{value if isinstance(value, str) else repr(value)}"
        for key, value in more.items()
        if key not in _SAID
    ]
    blocks = [event[key] for key in ("stack", "exception") if event.get(key)]

    return "\n".join([" ".join(parts), *blocks])


def _run_named_in(event: MutableMapping[str, Any]) -> str:
    for definition, run in (
        ("definition", "run_name"),
        ("task_name", "task_run_name"),
        ("flow_name", "flow_run_name"),
    ):
        if event.get(run):
            return f"{event.get(definition)}/{event[run]}"

    return ""


def for_people() -> bool:
    """Say whether logs are lines for people, and not JSON: by the setting, else by the output."""
    chosen = EVENTFLOW_LOG_FORMAT.value()

    return chosen == "console" or (chosen == "auto" and sys.stderr.isatty())


def _formatter() -> logging.Formatter:
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    steps: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _take_context,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    if for_people():
        steps += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            lambda _logger, _method, event: _line(event, colours=colours),
        ]
    else:
        # Flat on purpose: a traceback is one string, as any collector of logs can take it.
        steps += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ]

    return structlog.stdlib.ProcessorFormatter(processors=steps)


def configure() -> None:
    """Show what is logged under `eventflow` on stderr, as the settings say.

    Coloured lines on a terminal, JSON lines otherwise, or as EVENTFLOW_LOG_FORMAT says. Does
    nothing where the program has set up logging itself. May be called again to take up changed
    settings.
    """
    logger = logging.getLogger("eventflow")
    for handler in [one for one in logger.handlers if isinstance(one, _Handler)]:
        logger.removeHandler(handler)
    if not logger.handlers:
        logger.addHandler(_Handler())
    logger.setLevel(EVENTFLOW_LOG_LEVEL.value())
