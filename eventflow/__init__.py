"""eventflow: flows and tasks whose every state transition is a typed event."""

import logging as _logging
import sys as _sys
from typing import TYPE_CHECKING
from typing import Any as _Any
from typing import Final as _Final

from eventflow.primitives.loading import load as _load
from eventflow.primitives.platforms import missing_on as _missing_on

if TYPE_CHECKING:
    from eventflow import runtime
    from eventflow.client import get_client
    from eventflow.context import tags
    from eventflow.eventbus.bus import EventBus, bus, use_bus
    from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition
    from eventflow.flows import Flow, flow
    from eventflow.hooks.declaration import Hook
    from eventflow.hooks.receiver import hook
    from eventflow.interrupts.cancellation import cancel
    from eventflow.logs import flow_run_logger, get_run_logger, task_run_logger
    from eventflow.runs.futures import as_completed, wait
    from eventflow.runs.marks import allow_failure, opaque, quote, unmapped
    from eventflow.runs.run import FlowRun, TaskRun
    from eventflow.states import State, StateType
    from eventflow.tasks import Task, task
    from eventflow.values.unavailable import Unavailable

__version__ = "0.1.0"

__all__ = [
    "Event",
    "EventBus",
    "Flow",
    "FlowRun",
    "FlowRunTransition",
    "Hook",
    "State",
    "StateTransition",
    "StateType",
    "Task",
    "TaskRun",
    "TaskRunTransition",
    "Unavailable",
    "allow_failure",
    "as_completed",
    "bus",
    "cancel",
    "flow",
    "flow_run_logger",
    "get_client",
    "get_run_logger",
    "hook",
    "opaque",
    "quote",
    "runtime",
    "tags",
    "task",
    "task_run_logger",
    "unmapped",
    "use_bus",
    "wait",
]

_MODULES: _Final = {
    "client": ("get_client",),
    "context": ("tags",),
    "eventbus.bus": ("EventBus", "bus", "use_bus"),
    "events": ("Event", "FlowRunTransition", "StateTransition", "TaskRunTransition"),
    "flows": ("Flow", "flow"),
    "hooks.declaration": ("Hook",),
    "hooks.receiver": ("hook",),
    "interrupts.cancellation": ("cancel",),
    "logs": ("flow_run_logger", "get_run_logger", "task_run_logger"),
    "runs.futures": ("as_completed", "wait"),
    "runs.marks": ("allow_failure", "opaque", "quote", "unmapped"),
    "runs.run": ("FlowRun", "TaskRun"),
    "states": ("State", "StateType"),
    "tasks": ("Task", "task"),
    "values.unavailable": ("Unavailable",),
}
"""The module of each public name: it is imported when the name is first used."""

_HOMES: _Final = {name: module for module, names in _MODULES.items() for name in names}

# Not for type checkers: to them every name would be one of Any.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> _Any:
        """Import the module of a public name, or a public module, on its first use."""
        if name in _HOMES:
            value = getattr(_load(f"eventflow.{_HOMES[name]}"), name)
            # From now on it is found without this function.
            globals()[name] = value
            return value
        if not name.startswith("_"):
            module = f"eventflow.{name}"
            try:
                return _load(module)
            except ModuleNotFoundError as missing:
                if missing.name != module:
                    raise
        raise AttributeError(f"module 'eventflow' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def _tell_what_is_missing() -> None:
    missing = _missing_on(_sys.platform)
    if missing is not None:
        _logging.getLogger("eventflow").warning(missing)


_tell_what_is_missing()
