"""Where submitted tasks execute: a threads, workers of an executor, a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.primitives.loading import lazily

if TYPE_CHECKING:
    from eventflow.runners.executors import ExecutorTaskRunner, ProcessPoolTaskRunner
    from eventflow.runners.threads import ThreadPoolTaskRunner
    from eventflow.runs.task_scope import TaskRunner, TaskScope

__all__ = [
    "ExecutorTaskRunner",
    "ProcessPoolTaskRunner",
    "TaskRunner",
    "TaskScope",
    "ThreadPoolTaskRunner",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "eventflow.runners.executors": ("ExecutorTaskRunner", "ProcessPoolTaskRunner"),
            "eventflow.runners.threads": ("ThreadPoolTaskRunner",),
            "eventflow.runs.task_scope": ("TaskRunner", "TaskScope"),
        },
    )
