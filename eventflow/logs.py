"""Loggers bound to a run: structlog in front, the standard library's `logging` behind."""

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
from eventflow.primitives.escapes import escaped, escaped_json, escaped_line
from eventflow.primitives.forks import renewed
from eventflow.primitives.loggers import CONTEXT, Logger, get_logger
from eventflow.primitives.records import traceback_text
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
    """Return a logger that is bound to a flow run."""
    flow_name = flow_run.flow_name if flow is None else flow.name

    return _flow_runs.bind(
        flow_run_name=flow_run.name, flow_run_id=str(flow_run.id), flow_name=flow_name, **context
    )


def task_run_logger(task_run: TaskRun, task: Any = None, **context: Any) -> Logger:
    """Return a logger that is bound to a task run."""
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
    """Return the logger of a run of either type."""
    return task_run_logger(run) if isinstance(run, TaskRun) else flow_run_logger(_flow(run))


def _flow(run: Run) -> FlowRun:
    if not isinstance(run, FlowRun):
        raise TypeError(f"Expected a flow run or a task run, but got {type(run).__name__}.")

    return run


def get_run_logger(**context: Any) -> Logger:
    """Return the logger of the run in force, in bodies and in hooks.

    Raises:
        MissingContextError: no flow or task is running here.
    """
    running = current_run.get()
    if running is None:
        raise MissingContextError(
            "get_run_logger()", "Use logging.getLogger() outside of flows and tasks."
        )
    logger = run_logger(running.run)

    return logger.bind(**context) if context else logger


# The built-in `print`, once `take_prints` has replaced it.
_print: Final[list[Callable[..., None]]] = []
_printing: Final = threading.local()


def take_prints() -> Any:
    """Replace `print` by one that logs where the run in force has `log_prints`.

    It logs in bodies only, not in hooks, and only what would be written to the standard output of
    now, which is returned.
    """
    with _lock:
        if not _print:
            _print.append(builtins.print)
            builtins.print = _print_or_log

    return sys.stdout


@functools.wraps(print)
def _print_or_log(*values: object, sep: str | None = None, **options: Any) -> None:
    running = current_run.get()
    if (
        running is None
        or not running.log_prints
        or current_hook.get() is not None
        or sys.stdout is not running.stdout  # it is redirected
        or (options.get("file") or sys.stdout) is not sys.stdout
        or getattr(_printing, "now", False)
    ):
        _print[0](*values, sep=sep, **options)
        return
    # A handler may itself print.
    _printing.now = True
    try:
        run_logger(running.run).info((" " if sep is None else sep).join(map(str, values)))
    finally:
        _printing.now = False


class _Handler(logging.StreamHandler[Any]):
    """Writes to the present stderr, unless the program has configured logging itself."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_formatter())

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers or sys.stderr is None or _is_closed(sys.stderr):
            return
        self.stream = sys.stderr
        super().emit(record)


def _is_closed(stream: Any) -> bool:
    return bool(getattr(stream, "closed", False))


def _is_terminal() -> bool:
    """Return whether there is a standard error, and it is a terminal."""
    return sys.stderr is not None and not _is_closed(sys.stderr) and sys.stderr.isatty()


def _take_context(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    record = event["_record"]
    event.update(getattr(record, CONTEXT, {}))

    return event


def _format_exception(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Format the exception of a record with the frames of the user's code only."""
    _, error, _ = event.pop("exc_info", None) or (None, None, None)
    if error is not None:
        event["exception"] = traceback_text(error).rstrip()

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
"""The logger of `eventflow.tracing`, whose messages need no context for people."""

_NOT_SHOWN: Final = frozenset(
    {
        "timestamp", "level", "logger", "event", "exception", "stack",
        "flow_name", "flow_run_name", "flow_run_id", "task_name", "task_run_name", "task_run_id",
    }
)  # fmt: skip
"""The keys that a line for people shows in another form, or not at all."""


def _line(event: MutableMapping[str, Any], *, colours: bool) -> str:
    """Format a line for people: time, level, run, message, and what the user has bound."""

    def styled(text: str, style: str) -> str:
        return f"{style}{text}{_PLAIN}" if colours else text

    level = str(event["level"])
    parts = [
        styled(str(event["timestamp"])[:12], _DIM),
        styled(f"{level.upper():<7}", _LEVELS.get(level, "")),
    ]
    if run := _run_named_in(event):
        parts.append(styled(f"{escaped_line(run):<{_RUN_COLUMN}}", _CYAN))
    parts.append(_indented(str(event["event"])))
    context = {} if event["logger"] == f"eventflow.{TRACE}" else event
    parts += [
        styled(f"{escaped_line(key)}=", _DIM)
        + escaped_line(value if isinstance(value, str) else repr(value))
        for key, value in context.items()
        if key not in _NOT_SHOWN
    ]
    blocks = [f"  {_indented(event[key])}" for key in ("stack", "exception") if event.get(key)]

    return "\n".join([" ".join(parts), *blocks])


def _indented(text: str) -> str:
    """Escape control characters, and indent all lines but the first: only records begin a line."""
    return escaped(text).replace("\n", "\n  ")


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
    """Return whether logs are lines for people, not JSON: by the setting, else by the output."""
    chosen = EVENTFLOW_LOG_FORMAT.value()

    return chosen == "console" or (chosen == "auto" and _is_terminal())


def _formatter() -> logging.Formatter:
    colours = _is_terminal() and not os.environ.get("NO_COLOR")
    steps: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        _take_context,
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        _format_exception,
    ]
    if for_people():
        steps += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            lambda _logger, _method, event: _line(event, colours=colours),
        ]
    else:
        # A traceback is one string, not nested JSON, so that any log collector can read it.
        steps += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            lambda _logger, _method, line: escaped_json(line),
        ]

    return structlog.stdlib.ProcessorFormatter(processors=steps)


def configure() -> None:
    """Show what is logged under `eventflow` on stderr, as the settings say.

    Coloured lines on a terminal, JSON lines otherwise, or as EVENTFLOW_LOG_FORMAT says. Does
    nothing where the program has configured logging itself. May be called again after the
    settings have changed.
    """
    logger = logging.getLogger("eventflow")
    for handler in [old for old in logger.handlers if isinstance(old, _Handler)]:
        logger.removeHandler(handler)
    if not logger.handlers:
        logger.addHandler(_Handler())
    logger.setLevel(EVENTFLOW_LOG_LEVEL.value())
