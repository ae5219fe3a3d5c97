"""Runs: one execution of a flow or a task each, and the futures of those that were submitted."""

from eventflow.runs.futures import Future, allow_failure, as_completed, unmapped, wait
from eventflow.runs.run import FlowRun, Run, RunType, TaskRun

__all__ = [
    "FlowRun",
    "Future",
    "Run",
    "RunType",
    "TaskRun",
    "allow_failure",
    "as_completed",
    "unmapped",
    "wait",
]
