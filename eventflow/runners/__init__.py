"""Where submitted tasks execute."""

from eventflow.runners.base import Scope, TaskRunner
from eventflow.runners.threads import ThreadPoolTaskRunner

__all__ = ["Scope", "TaskRunner", "ThreadPoolTaskRunner"]
