"""The run, the hook and the tags in force, and whether runs may begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol, Self
from uuid import UUID

from eventflow.errors import MissingContextError
from eventflow.primitives.texts import printable
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.runs.task_scope import TaskScope

__all__ = [
    "ActiveRun",
    "FlowRunContext",
    "HookContext",
    "RunContext",
    "TaskRunContext",
    "current_hook",
    "current_run",
    "current_tags",
    "get_run_context",
    "refuse",
    "reloading",
    "tags",
]


class ActiveRun(NamedTuple):
    """The run in force, with the flow run around it, and what the engine keeps with it."""

    run: Run
    flow_run: FlowRun | None
    scope: TaskScope | None
    log_prints: bool = False
    stdout: Any = None
    """The standard output whose prints are logged."""
    find_flow: Callable[[], Any] | None = None
    """Loads the flow of a restored flow run around the run, once it is asked for."""


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

    @property
    def hook(self) -> Any:
        """The hook."""
        ...

    @property
    def fact(self) -> Transition:
        """The transition that it is owed."""
        ...

    def transaction(self) -> AbstractContextManager[Any]:
        """Return the journal's own transaction, committed with the acknowledgement of the hook."""
        ...

    def scope_within(self, context: ActiveRun | None) -> TaskScope | None:
        """Return the scope of the tasks that the hook submits.

        None if the run in force is of a flow that the hook has called.
        """
        ...


current_run: Final[ContextVar[ActiveRun | None]] = ContextVar("eventflow_run", default=None)
current_hook: Final[ContextVar[HookContext | None]] = ContextVar("eventflow_hook", default=None)
current_tags: Final[ContextVar[frozenset[str]]] = ContextVar("eventflow_tags", default=frozenset())


@dataclass(frozen=True)
class RunContext:
    """What bodies and hooks can ask about a run in force: a `FlowRunContext` or `TaskRunContext`.

    It is made when it is asked for, and tells of its run also when that has ended.
    """

    run: Run
    flow_run: FlowRun | None
    """The flow run around a task run, and a flow run itself."""
    _find_flow: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    @property
    def flow(self) -> Any:
        """The flow of the flow run; None for a task that no flow has called."""
        if self._find_flow is not None:
            return self._find_flow()

        return None if self.flow_run is None else self.flow_run.definition

    @property
    def start_time(self) -> datetime:
        """When the first attempt began; before that, when the run entered its first state.

        Now, in a function that makes the run's name: it has no state yet.
        """
        return self.run.start_time or self.run.created or datetime.now(UTC)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the body is called with, by parameter name."""
        return dict(self.run.parameters)

    @property
    def run_count(self) -> int:
        """The number of the attempt, counted from 1; 0 before the first."""
        return self.run.run_count


@dataclass(frozen=True)
class FlowRunContext(RunContext):
    """The context of a flow run: in its body and its hooks, and in those of its tasks."""

    run: FlowRun
    flow_run: FlowRun

    @classmethod
    def get(cls) -> Self | None:
        """Return the context of the flow run in force; None outside of one."""
        active = current_run.get()
        if active is None or active.flow_run is None:
            return None

        return cls(active.flow_run, active.flow_run, active.find_flow)


@dataclass(frozen=True)
class TaskRunContext(RunContext):
    """The context of a task run: in its body and in its hooks."""

    run: TaskRun

    @property
    def task(self) -> Any:
        """The task."""
        return self.run.definition

    @property
    def task_run(self) -> TaskRun:
        """The task run."""
        return self.run

    @classmethod
    def get(cls) -> Self | None:
        """Return the context of the task run in force; None outside of one."""
        active = current_run.get()
        if active is None or not isinstance(active.run, TaskRun):
            return None

        return cls(active.run, active.flow_run, active.find_flow)


def get_run_context() -> FlowRunContext | TaskRunContext:
    """Return the context of the run in force, in bodies and in hooks.

    In a task it is that of the task run; `FlowRunContext.get()` gives that of the flow run around.

    Raises:
        MissingContextError: no flow or task is running here.
    """
    context = TaskRunContext.get() or FlowRunContext.get()
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
