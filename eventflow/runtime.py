"""Facts about the run and the hook in force, by attribute; None or empty without one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from eventflow.context import current_hook, current_run
from eventflow.errors import MissingContextError
from eventflow.runs.run import FlowRun, Run, TaskRun
from eventflow.settings import EVENTFLOW_API_URL

__all__ = ["flow_run", "hook", "run_url", "task_run"]


def run_url(run: Run) -> str:
    """Return the address of a run's page."""
    return f"{EVENTFLOW_API_URL.value()}/{run.run_type}-runs/{run.run_type}-run/{run.id}"


def _text(id: UUID | None) -> str | None:
    return None if id is None else str(id)


class _RunFacts:
    """What flow runs and task runs have in common."""

    def _run(self) -> Run | None:
        raise AssertionError

    @property
    def id(self) -> str | None:
        """The id of the run."""
        run = self._run()
        return _text(None if run is None else run.id)

    @property
    def name(self) -> str | None:
        """The name of the run."""
        run = self._run()
        return None if run is None else run.name

    @property
    def tags(self) -> list[str]:
        """The tags of the run, sorted."""
        run = self._run()
        return [] if run is None else run.tags

    @property
    def parameters(self) -> dict[str, Any]:
        """What the body is called with, by parameter name."""
        run = self._run()
        return {} if run is None else dict(run.parameters)

    @property
    def run_count(self) -> int:
        """The number of the attempt, counted from 1; 0 before the first."""
        run = self._run()
        return 0 if run is None else run.run_count

    @property
    def root_flow_run_id(self) -> str | None:
        """The id of the outermost flow run around this one, or its own."""
        run = self._run()
        return _text(None if run is None else run.root_flow_run_id)

    @property
    def scheduled_start_time(self) -> datetime | None:
        """When the run was expected to start."""
        run = self._run()
        return None if run is None else run.expected_start_time


class _FlowRunFacts(_RunFacts):
    """Facts about the flow run in force."""

    def _run(self) -> FlowRun | None:
        context = current_run.get()
        return None if context is None else context.flow_run

    @property
    def flow_name(self) -> str | None:
        """The name of the flow."""
        run = self._run()
        return None if run is None else run.flow_name

    @property
    def flow_version(self) -> str | None:
        """The version of the flow."""
        run = self._run()
        return None if run is None else run.definition.version

    @property
    def parent_flow_run_id(self) -> str | None:
        """The id of the flow run around this one."""
        run = self._run()
        return _text(None if run is None else run.parent_flow_run_id)

    @property
    def ui_url(self) -> str | None:
        """The address of the run's page."""
        run = self._run()
        return None if run is None else run_url(run)


class _TaskRunFacts(_RunFacts):
    """Facts about the task run in force."""

    def _run(self) -> TaskRun | None:
        context = current_run.get()
        return context.run if context is not None and isinstance(context.run, TaskRun) else None

    @property
    def task_name(self) -> str | None:
        """The name of the task."""
        run = self._run()
        return None if run is None else run.task_name

    @property
    def parent_flow_run_id(self) -> str | None:
        """The id of the flow run that the task run belongs to."""
        run = self._run()
        return _text(None if run is None else run.flow_run_id)

    @property
    def ui_url(self) -> str | None:
        """The address of the run's page."""
        run = self._run()
        return None if run is None else run_url(run)


class _HookFacts:
    """Facts about the hook in force."""

    @property
    def delivery_id(self) -> str | None:
        """The id of the delivery, the same for all its attempts."""
        context = current_hook.get()
        return _text(None if context is None else context.delivery_id)

    @property
    def attempt(self) -> int:
        """The number of the attempt, counted from 1; 0 outside a hook."""
        context = current_hook.get()
        return 0 if context is None else context.attempt

    def transaction(self) -> AbstractContextManager[Any]:
        """Return a connection to the journal, for work that must happen exactly once.

        A `sqlite3` or `psycopg` connection in a transaction: what the hook writes there is
        committed at the end of the block together with the acknowledgement of the hook, or neither
        is. It must be the last thing that the hook does, and short: SQLite blocks other writers
        meanwhile. Do not commit or roll back yourself.

        Raises:
            MissingContextError: no hook is in force.
            JournalError: nothing is journalled (EVENTFLOW_DURABILITY is off), the journal cannot be
                used, or the hook is acknowledged already.
        """
        context = current_hook.get()
        if context is None:
            raise MissingContextError("runtime.hook.transaction()")

        return context.transaction()


flow_run: Final = _FlowRunFacts()
task_run: Final = _TaskRunFacts()
hook: Final = _HookFacts()
