"""Loggers: structlog in front, the standard library's `logging` under `eventflow.` behind."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from eventflow.primitives.records import is_a, is_describable, own_traceback, traceback_text

__all__ = ["CONTEXT", "Logger", "get_logger"]

Logger = structlog.stdlib.BoundLogger
"""The type of eventflow's loggers."""

_RESERVED: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
CONTEXT: Final = "_eventflow"
"""The attribute of a record that holds what was bound to its logger."""


def _to_logging(_logger: object, _method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Pass message and context to `logging`: the context as attributes of the record.

    A key that `logging` uses itself gets a trailing underscore.
    """
    message = event.pop("event")
    passed = {key: event.pop(key) for key in ("exc_info", "stack_info") if key in event}
    error = passed.get("exc_info")
    if is_a(error, BaseException):
        # As a tuple: `logging` asks for the truth of it, which an exception may refuse.
        passed["exc_info"] = type(error), error, own_traceback(error)
        if not is_describable(error):
            del passed["exc_info"]
            event["exception"] = traceback_text(error)
    extra = {f"{key}_" if key in _RESERVED else key: value for key, value in event.items()}

    return {"msg": message, "extra": {**extra, CONTEXT: dict(event)}, **passed}


def get_logger(name: str) -> Logger:
    """Return a logger under `eventflow.`, without touching structlog's own configuration."""
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(f"eventflow.{name}"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            _to_logging,
        ],
        wrapper_class=Logger,
        cache_logger_on_first_use=True,
    )

    return logger
