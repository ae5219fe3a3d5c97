"""eventflow: flows and tasks whose every state transition is a typed event."""

import logging as _logging
import sys as _sys

# `wiring` registers itself with the bus.
from eventflow import runtime, wiring  # noqa: F401
from eventflow.client import get_client
from eventflow.context import tags
from eventflow.eventbus.bus import EventBus, bus, use_bus
from eventflow.events import Event, FlowRunTransition, StateTransition, TaskRunTransition
from eventflow.flows import Flow, flow
from eventflow.hooks.declaration import Hook
from eventflow.hooks.receiver import hook
from eventflow.interrupts.cancellation import cancel
from eventflow.logs import flow_run_logger, get_run_logger, task_run_logger
from eventflow.primitives.platforms import missing_on as _missing_on
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


def _tell_what_is_missing() -> None:
    missing = _missing_on(_sys.platform)
    if missing is not None:
        _logging.getLogger("eventflow").warning(missing)


_tell_what_is_missing()
