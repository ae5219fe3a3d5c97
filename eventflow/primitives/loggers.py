"""Loggers: structlog in front, the standard library's `logging` under `eventflow.` behind."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from types import FrameType
from typing import Any, Final

import structlog

from eventflow.primitives.texts import error_text, is_a, is_describable, traceback_text
from eventflow.primitives.tracebacks import own_traceback, trimmed

__all__ = ["CONTEXT", "Logger", "OwnLevel", "get_logger", "is_wanted", "unformatted"]

Logger = structlog.stdlib.BoundLogger
"""The type of eventflow's loggers."""

_RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
CONTEXT: Final = "_eventflow"
"""The attribute of a record that holds what was bound to its logger."""


_PLUMBING: Final = frozenset({"structlog", "eventflow.primitives.loggers", "eventflow.logs"})
"""The modules, and the package, through which a message passes on its way to `logging`."""


def _keep_enabled(
    logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Undo what `logging.config` does to every logger that it finds: a level says what is shown."""
    logger.disabled = False

    return event


_fill_in: Final = structlog.stdlib.PositionalArgumentsFormatter()


def _format_arguments(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Fill in the arguments of a message; those that do not fit are told of, and fail no run."""
    try:
        filled: MutableMapping[str, Any] = _fill_in(logger, method, event)
    except Exception as error:  # noqa: BLE001 - an argument may do anything
        event.pop("positional_args", None)
        event["event"] = unformatted(event["event"], error)
        return event
    else:
        return filled


def unformatted(message: object, error: Exception) -> str:
    """Return a message whose arguments could not be filled in."""
    text = message if isinstance(message, str) else f"<a {type(message).__qualname__}>"
    reason = f"{type(error).__name__}: {error_text(error)}"

    return f"{text} (its arguments could not be filled in: {reason})"


def _to_logging(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Pass message and context to `logging`: the context as attributes of the record.

    `extra=` is added to the context. A key that `logging` uses itself gets a trailing underscore.
    """
    message = event.pop("event")
    stacklevel = event.pop("stacklevel", 1) + _frames_between(sys._getframe(1))  # noqa: SLF001 - documented
    if isinstance(event.get("extra"), Mapping | None):
        event.update(event.pop("extra", None) or {})
    passed = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    error = passed.get("exc_info")
    if error is True:
        error = sys.exception()
    elif is_a(error, tuple):
        error = error[1]
    if is_a(error, BaseException):
        # As a tuple: `logging` asks for the truth of it, which an exception may refuse.
        passed["exc_info"] = type(error), error, trimmed(own_traceback(error))
        if not is_describable(error):
            del passed["exc_info"]
            event["exception"] = traceback_text(error)
    extra = {f"{key}_" if key in _RESERVED else key: value for key, value in event.items()}

    return {
        "msg": message,
        "extra": {**extra, CONTEXT: dict(event)},
        "stacklevel": stacklevel,
        **passed,
    }


def _frames_between(frame: FrameType | None) -> int:
    """Return how many functions are between the one that calls `logging` and the user's.

    `frame` is that of the processors, which the one that calls `logging` has called.
    """
    count = -1
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module not in _PLUMBING and module.partition(".")[0] not in _PLUMBING:
            break
        count, frame = count + 1, frame.f_back

    return count


_eventflow: Final = logging.getLogger("eventflow")


class OwnLevel(int):
    """A level that eventflow has set on its loggers, and not the program."""

    is_default = False
    """Whether nobody has chosen it."""


def is_wanted(logger: logging.Logger, level: int) -> bool:
    """Return whether eventflow is to log something of its own, as the logger's level says.

    In a program that has configured logging, the level of its root logger counts, unless there is
    a level for eventflow as well.
    """
    logger.disabled = False
    if not logger.isEnabledFor(level):
        return False
    chosen, root = _eventflow.level, logging.root
    by_default = isinstance(chosen, OwnLevel) and chosen.is_default

    return not (by_default and root.handlers) or root.isEnabledFor(level)


def get_logger(name: str) -> Logger:
    """Return a logger under `eventflow.`, without touching structlog's own configuration."""
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(f"eventflow.{name}"),
        processors=[
            _keep_enabled,
            structlog.stdlib.filter_by_level,
            _format_arguments,
            _to_logging,
        ],
        wrapper_class=Logger,
        cache_logger_on_first_use=True,
    )

    return logger
