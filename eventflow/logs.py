"""Loggers that know their run, and how what is logged under `eventflow` is shown."""

from __future__ import annotations

import builtins
import functools
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final

from eventflow.context import current_hook, current_run
from eventflow.errors import MissingContextError
from eventflow.primitives.escapes import escaped, escaped_json, escaped_line, one_line
from eventflow.primitives.forks import renewed
from eventflow.primitives.ids import run_label
from eventflow.primitives.loggers import CONTEXT, Logger, OwnLevel, get_logger
from eventflow.primitives.texts import traceback_text
from eventflow.runs.run import FlowRun, Run, TaskRun
from eventflow.settings import EVENTFLOW_LOG_FORMAT, EVENTFLOW_LOG_LEVEL, FROM_DEFAULT

__all__ = [
    "TOLD",
    "bound_in",
    "configure",
    "flow_run_logger",
    "for_people",
    "get_run_logger",
    "run_context",
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
    names = run_context(_flow(flow_run))
    if flow is not None:
        names["flow_name"] = flow.name

    return _flow_runs.bind(**names, **context)


def task_run_logger(task_run: TaskRun, task: Any = None, **context: Any) -> Logger:
    """Return a logger that is bound to a task run."""
    names = run_context(task_run)
    if task is not None:
        names["task_name"] = task.name

    return _task_runs.bind(**names, **context)


def run_context(run: Run) -> dict[str, str | None]:
    """Return the names and ids by which a log knows a run."""
    if not isinstance(run, TaskRun):
        names = {"flow_run_name": run.name, "flow_run_id": str(run.id)}
        return {**names, "flow_name": run.definition_name}
    flow_run_id = None if run.flow_run_id is None else str(run.flow_run_id)
    names = {"task_run_name": run.name, "task_run_id": str(run.id)}

    return {**names, "task_name": run.definition_name, "flow_run_id": flow_run_id}


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
        colours = _is_terminal() and not os.environ.get("NO_COLOR")
        self.setFormatter(_Formatter(people=for_people(), colours=colours))

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers or sys.stderr is None or _is_closed(sys.stderr):
            return
        self.stream = sys.stderr
        super().emit(record)


def _is_closed(stream: Any) -> bool:
    """Return whether a stream is closed, or its descriptor, or is another file's that is only read.

    What was written there would stay in a buffer, whose flush fails the process at its end.
    """
    if getattr(stream, "closed", False):
        return True
    try:
        os.write(stream.fileno(), b"")
    except (AttributeError, ValueError):
        # It has no descriptor.
        return False
    except OSError:
        return True

    return False


def _is_terminal() -> bool:
    """Return whether there is a standard error, and it is a terminal."""
    return sys.stderr is not None and not _is_closed(sys.stderr) and sys.stderr.isatty()


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

RUNS: Final = "runs"
"""The logger of `eventflow.reporting`."""

TRACE: Final = "trace"
"""The logger of `eventflow.tracing`."""

TOLD: Final = frozenset({f"eventflow.{RUNS}", f"eventflow.{TRACE}"})
"""The loggers that tell of events: their messages hold all that is in their context."""

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
        styled(event["timestamp"], _DIM),
        styled(f"{level.upper():<7}", _LEVELS.get(level, "")),
    ]
    if run := _run_named_in(event):
        parts.append(styled(f"{escaped_line(run):<{_RUN_COLUMN}}", _CYAN))
    message = str(event["event"])
    parts.append(_indented(message))
    context = {} if event["logger"] in TOLD else event
    parts += [
        styled(f"{escaped_line(key)}=", _DIM) + escaped_line(value)
        for key, value in bound_in(context, message)
    ]
    blocks = [
        f"  {_indented(event[key])}"
        for key in ("stack", "exception")
        # An exception without frames, which is only a line, may be in the message already.
        if event.get(key) and one_line(event[key]) not in message
    ]

    return "\n".join([" ".join(parts), *blocks])


def bound_in(context: Mapping[str, Any], message: str) -> Iterator[tuple[str, str]]:
    """Yield what the user has bound to a logger, as texts, with its names."""
    for key, value in context.items():
        if key not in _NOT_SHOWN and not (key == "hook" and str(value) in message):
            yield key, value if isinstance(value, str) else repr(value)


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
            return run_label(str(event.get(definition)), str(event[run]))

    return ""


def for_people() -> bool:
    """Return whether logs are lines for people, not JSON."""
    return EVENTFLOW_LOG_FORMAT.value() == "console"


class _Formatter(logging.Formatter):
    """Formats records as lines for people or as JSON."""

    def __init__(self, *, people: bool, colours: bool) -> None:
        super().__init__()
        self._people = people
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and below it a traceback if people read it."""
        event = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            **getattr(record, CONTEXT, {}),
        }
        if record.stack_info:
            event["stack"] = record.stack_info
        if record.exc_info and record.exc_info[1] is not None:
            # One string, not nested JSON, so that any log collector can read it.
            event["exception"] = traceback_text(record.exc_info[1]).rstrip()
        if self._people:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            event["timestamp"] = f"{moment}.{int(record.msecs):03}"
            return _line(event, colours=self._colours)
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        event["timestamp"] = moment.replace("+00:00", "Z")

        return escaped_json(json.dumps(event, default=str, ensure_ascii=False))


def configure() -> None:
    """Show what is logged under `eventflow` on stderr, as the settings say.

    Lines for people, coloured on a terminal, or JSON lines where EVENTFLOW_LOG_FORMAT says so.
    A program that has configured logging is left alone, and so is a level that it has set. May be
    called again after the settings have changed.
    """
    logger = logging.getLogger("eventflow")
    for handler in [old for old in logger.handlers if isinstance(old, _Handler)]:
        logger.removeHandler(handler)
    if not logger.handlers:
        logger.addHandler(_Handler())
    if isinstance(logger.level, OwnLevel) or logger.level == logging.NOTSET:
        level = OwnLevel(logging.getLevelName(EVENTFLOW_LOG_LEVEL.value()))
        level.is_default = EVENTFLOW_LOG_LEVEL.source() == FROM_DEFAULT
        logger.setLevel(level)
