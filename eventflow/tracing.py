"""A listener that logs one structured line per state transition and per hook outcome."""

from __future__ import annotations

import logging
from typing import Any, Final

from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.eventbus.subscriptions import Subscription
from eventflow.events import (
    ErrorInfo,
    Event,
    HookDeadLettered,
    HookFailed,
    HookOutcome,
    StateTransition,
)
from eventflow.logs import TRACE, configure
from eventflow.primitives.durations import in_words
from eventflow.primitives.loggers import get_logger
from eventflow.states import StateType

__all__ = ["enable"]

_logger: Final = get_logger(TRACE)

_LOUD: Final = frozenset({StateType.FAILED, StateType.CRASHED})


def enable(bus: EventBus | None = None) -> Subscription:
    """Log what happens on a bus, by default the one in force; cancel the result to stop.

    One line for each transition and each hook outcome goes to the logger `eventflow.trace`: at
    level INFO, for a retry at WARNING, for what failed or crashed at ERROR. Logging is set up
    as EVENTFLOW_LOG_LEVEL and EVENTFLOW_LOG_FORMAT say, unless the program has done so itself.
    A bus that is traced already is not traced twice. The start and the end of its runs, which are
    logged by default, are not logged beside the trace.

    Raises:
        SettingError: one of those settings has a value that it cannot have.
    """
    configure()
    chosen = current_bus() if bus is None else bus
    if chosen.tracer is None or not chosen.tracer.active:
        chosen.tracer = chosen.subscribe(_trace)

    return chosen.tracer


def _trace(event: Event) -> None:
    if isinstance(event, StateTransition):
        level, message, more = _transition(event)
    elif isinstance(event, HookOutcome):
        level, message, more = _outcome(event)
    else:
        return
    if _logger.isEnabledFor(level):
        _logger.log(level, message, **_facts(event), **more)


def _facts(event: StateTransition | HookOutcome) -> dict[str, Any]:
    """Return the keys that both kinds of line have."""
    return {
        "type": event.type,
        "run_type": event.run_type,
        "run_name": event.run_name,
        "run_id": str(event.run_id),
        "definition": event.definition_name,
        "flow_run_id": _text(event.flow_run_id),
        "follows": _text(event.follows),
        "duration": None if event.duration is None else round(event.duration, 6),
    }


def _transition(event: StateTransition) -> tuple[int, str, dict[str, Any]]:
    from_state, to_state = event.from_state, event.to_state
    cause = to_state.message if to_state.error is None else str(to_state.error)
    message = to_state.name if from_state is None else f"{from_state.name} → {to_state.name}"
    if event.run_count > 1:
        message += f" (attempt {event.run_count})"
    if event.duration is not None:
        message += f" after {in_words(event.duration)}"
    more = {
        "from_state": None if from_state is None else from_state.name,
        "to_state": to_state.name,
        "attempt": event.run_count,
        "cause": cause,
        **_error(to_state.error),
    }

    return _level(event), _with_cause(message, cause), more


def _level(event: StateTransition) -> int:
    if event.to_state.type in _LOUD:
        return logging.ERROR

    return logging.WARNING if event.to_state.name == "AwaitingRetry" else logging.INFO


def _outcome(event: HookOutcome) -> tuple[int, str, dict[str, Any]]:
    error = event.error if isinstance(event, HookFailed | HookDeadLettered) else None
    cause = None if error is None else str(error)
    name = event.hook.rpartition(":")[2]
    outcome = {HookFailed: "failed", HookDeadLettered: "is given up"}.get(type(event), "succeeded")
    message = f"hook {name} for {event.state_name} {outcome}"
    if event.attempt > 1:
        message += f" (attempt {event.attempt})"
    message += f" after {in_words(event.duration)}"
    more = {
        "hook": event.hook,
        "delivery_id": str(event.delivery_id),
        "state": event.state_name,
        "attempt": event.attempt,
        "cause": cause,
        **_error(error),
    }

    return logging.INFO if error is None else logging.ERROR, _with_cause(message, cause), more


def _error(error: ErrorInfo | None) -> dict[str, str | None]:
    return {
        "error_type": None if error is None else error.type,
        "error_message": None if error is None else error.message,
    }


def _with_cause(message: str, cause: str | None) -> str:
    # The first line only: the whole cause is a key of its own.
    return f"{message}: {cause.splitlines()[0]}" if cause else message


def _text(value: object) -> str | None:
    return None if value is None else str(value)
