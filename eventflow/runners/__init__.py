"""Where submitted tasks execute."""

from eventflow.runners.threads import ThreadPoolTaskRunner
from eventflow.runs.task_scope import TaskRunner, TaskScope

__all__ = ["TaskRunner", "TaskScope", "ThreadPoolTaskRunner"]
