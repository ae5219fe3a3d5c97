"""Where submitted tasks execute."""

from eventflow.runners.threads import ThreadPoolTaskRunner
from eventflow.runs.task_scope import Scope, TaskRunner

__all__ = ["Scope", "TaskRunner", "ThreadPoolTaskRunner"]
