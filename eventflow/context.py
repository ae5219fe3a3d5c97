"""The run, the hook and the tags in force, and whether runs may begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from eventflow.errors import MissingContextError
from eventflow.primitives.records import printable
from eventflow.runs.run import FlowRun, Run
from eventflow.runs.task_scope import TaskScope

__all__ = [
    "HookContext",
    "RunContext",
    "current_hook",
    "current_run",
    "current_tags",
    "get_run_context",
    "refuse",
    "reloading",
    "tags",
]


class RunContext(NamedTuple):
    """The run in force, with the flow run around it."""

    run: Run
    flow_run: FlowRun | None
    scope: TaskScope | None
    log_prints: bool = False
    stdout: Any = None
    """The standard output whose prints are logged."""

    @property
    def definition(self) -> Any:
        """The flow or task of the run."""
        return self.run.definition


class HookContext(Protocol):
    """The delivery of the hook in force."""

    @property
    def delivery_id(self) -> UUID:
        """The id of the delivery, the same for all its attempts."""
        ...

    @property
    def attempt(self) -> int:
        """The number of the attempt, counted from 1."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """Return the journal's own transaction, committed with the acknowledgement of the hook."""
        ...

    def scope_within(self, context: RunContext | None) -> TaskScope | None:
        """Return the scope of the tasks that the hook submits.

        None if the run in force is of a flow that the hook has called.
        """
        ...


current_run: Final[ContextVar[RunContext | None]] = ContextVar("eventflow_run", default=None)
current_hook: Final[ContextVar[HookContext | None]] = ContextVar("eventflow_hook", default=None)
current_tags: Final[ContextVar[frozenset[str]]] = ContextVar("eventflow_tags", default=frozenset())


def get_run_context() -> RunContext:
    """Return the context of the run in force.

    Raises:
        MissingContextError: no flow or task is running here.
    """
    context = current_run.get()
    if context is None:
        raise MissingContextError("get_run_context()")

    return context


@contextmanager
def tags(*added: str) -> Iterator[frozenset[str]]:
    """Tag every run that begins within the block; return all tags in force there."""
    in_force = current_tags.get().union(map(printable, added))
    token = current_tags.set(in_force)
    try:
        yield in_force
    finally:
        current_tags.reset(token)


reloading: Final[list[Callable[[str], None]]] = []
"""Not empty while only hooks may call flows and tasks: the last one is called instead."""


def refuse(name: str) -> None:
    """Do not begin a run of a file that is loaded again; a hook may call flows and tasks.

    Returns if the run may begin; else the thread never goes on.
    """
    if reloading and current_hook.get() is None:
        reloading[-1](name)
