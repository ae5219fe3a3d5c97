"""Runs: one execution of a flow or a task each, and the futures of those that were submitted."""

from eventflow.runs.futures import Future, as_completed, wait
from eventflow.runs.marks import allow_failure, opaque, quote, unmapped
from eventflow.runs.run import FlowRun, Run, RunType, TaskRun

__all__ = [
    "FlowRun",
    "Future",
    "Run",
    "RunType",
    "TaskRun",
    "allow_failure",
    "as_completed",
    "opaque",
    "quote",
    "unmapped",
    "wait",
]
