"""Taking at home what a body on a worker has logged and published."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from eventflow.eventbus.bus import current_bus
from eventflow.events import catalogue
from eventflow.primitives.loggers import CONTEXT, get_logger

__all__ = ["handle_message"]


def handle_message(kind: str, values: list[Any]) -> None:
    """Log, or publish, what a body has logged or published, in the context of its run."""
    if kind == "log":
        _log(LogLine(*values))
    elif kind == "event":
        _publish(*values)


class LogLine(NamedTuple):
    """A line that a body has logged."""

    name: str
    level: int
    message: str
    created: float
    context: dict[str, Any] | None
    trace: str


def _log(line: LogLine) -> None:
    logger = logging.getLogger(line.name)
    if not logger.isEnabledFor(line.level):
        return
    context = line.context
    fields: dict[str, Any] = {
        "name": line.name,
        "levelno": line.level,
        "levelname": logging.getLevelName(line.level),
        "msg": line.message,
        "created": line.created,
        "msecs": int(line.created % 1 * 1000),
        "stack_info": line.trace or None,
    }
    if context is not None:
        fields = {**context, **fields, CONTEXT: context}
    logger.handle(logging.makeLogRecord(fields))


def _publish(kind: str, document: str) -> None:
    found = catalogue().get(kind)
    if found is None:
        get_logger("runners").warning(
            "A worker has published an event of the class %s, which this process does not know; "
            "import the module that defines it.",
            kind,
        )
        return
    current_bus().publish(found.model_validate_json(document))
