"""eventflow: flows and tasks whose every state transition is a typed event."""

import logging as _logging
import sys as _sys
from typing import TYPE_CHECKING

from eventflow.primitives.loading import lazily as _lazily
from eventflow.primitives.platforms import missing_on as _missing_on

if TYPE_CHECKING:
    from eventflow import runtime
    from eventflow.client import get_client
    from eventflow.context import tags
    from eventflow.eventbus.bus import EventBus, bus, use_bus
    from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition
    from eventflow.flows import Flow, flow
    from eventflow.hooks.declaration import Hook
    from eventflow.hooks.decorator import hook
    from eventflow.interrupts.cancellation import cancel
    from eventflow.logs import flow_run_logger, get_run_logger, task_run_logger
    from eventflow.notifications.notifier import notify
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
    "notify",
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

# Not for type checkers: to them every name would be one of Any.
if not TYPE_CHECKING:
    __getattr__, __dir__ = _lazily(
        __name__,
        {
            "eventflow.client": ("get_client",),
            "eventflow.context": ("tags",),
            "eventflow.eventbus.bus": ("EventBus", "bus", "use_bus"),
            "eventflow.events": (
                *("Event", "StateTransition"),
                *("FlowRunTransition", "TaskRunTransition"),
            ),
            "eventflow.flows": ("Flow", "flow"),
            "eventflow.hooks.declaration": ("Hook",),
            "eventflow.hooks.decorator": ("hook",),
            "eventflow.interrupts.cancellation": ("cancel",),
            "eventflow.logs": ("flow_run_logger", "get_run_logger", "task_run_logger"),
            "eventflow.notifications.notifier": ("notify",),
            "eventflow.runs.futures": ("as_completed", "wait"),
            "eventflow.runs.marks": ("allow_failure", "opaque", "quote", "unmapped"),
            "eventflow.runs.run": ("FlowRun", "TaskRun"),
            "eventflow.states.kinds": ("StateType",),
            "eventflow.states.state": ("State",),
            "eventflow.tasks": ("Task", "task"),
            "eventflow.values.unavailable": ("Unavailable",),
        },
    )


def _tell_what_is_missing() -> None:
    missing = _missing_on(_sys.platform)
    if missing is not None:
        _logging.getLogger("eventflow").warning(missing)


_tell_what_is_missing()
