"""Past runs, restored from the journal so that a hook can be called with them."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, Final
from uuid import UUID

from eventflow.client.archive import Archive, RunTransition
from eventflow.context import ActiveRun
from eventflow.definitions.definition import Definition
from eventflow.hooks.references import ParsedReference, parse_reference, resolve
from eventflow.journal.rows import RunRow, state_of, with_unavailable_data
from eventflow.primitives.callables import MAIN
from eventflow.recovery.lookup import stand_in
from eventflow.recovery.reloading.loading import LOADING_SECONDS, execute_module
from eventflow.recovery.reloading.parking import execute
from eventflow.runs.lazy_states import BuiltState
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.states.state import AnyState
from eventflow.values.restoring import restore_parameters

__all__ = ["History"]

CACHED: Final = 4_096
"""How many runs are cached as they were at their last event."""


class History:
    """Restores the runs of a journal, with their flows and tasks where these can be imported."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._runs: OrderedDict[UUID, Run] = OrderedDict()
        self._definitions: dict[tuple[str, str], Any] = {}

    def transition(self, event: RunTransition) -> Transition:
        """Restore the transition of a past event, with the run as it was then."""
        run = self._run(event)
        before = None if event.from_state is None else BuiltState(event.from_state)
        run.transitions = event.sequence
        run.run_count = event.run_count
        entered = run.entered = BuiltState(with_unavailable_data(event.to_state))
        row = self._row(event.run_id)
        run.started_at = row.started if event.run_count else None
        if event.to_state.is_final() or (row.ended is not None and row.state_id == event.id):
            run.ended_at = event.occurred
            run._seconds = row.seconds  # noqa: SLF001 - only the engine sets it otherwise
        restored = Transition(run, before, entered)
        run.transitions += 1

        return restored

    def context(self, run: Run) -> ActiveRun:
        """Return the context that the run's hooks are called in."""
        return ActiveRun(run, run if isinstance(run, FlowRun) else self._flow_run(run), None)

    def _row(self, run_id: UUID) -> RunRow:
        row = self._archive.row(run_id)
        assert row is not None  # noqa: S101 - a journal has no event without its run

        return row

    def _run(self, event: RunTransition) -> Run:
        run = self._runs.get(event.run_id)
        if run is None:
            row = self._row(event.run_id)
            run = self._runs[event.run_id] = self._restored(row, event.to_state)
            if len(self._runs) > CACHED:
                self._runs.popitem(last=False)

        return run

    def _flow_run(self, run: Run) -> FlowRun | None:
        row = None if run.flow_run_id is None else self._archive.row(run.flow_run_id)
        parent = None if row is None else self._restored(row, state_of(row))

        return parent if isinstance(parent, FlowRun) else None

    def _restored(self, row: RunRow, state: AnyState) -> Run:
        parent = None if row.parent_run_id is None else self._archive.row(row.parent_run_id)
        definition, state = self._definition(row), with_unavailable_data(state)
        facts: dict[str, object] = {
            "number": row.id.int,
            "name": row.name,
            "tag_set": frozenset(row.tags),
            "parameters": restore_parameters(row.parameters, _value, definition.parameters.names),
            "parent_run_id": row.parent_run_id,
            "flow_run_id": row.flow_run_id,
            "root_flow_run_id": row.root_flow_run_id,
            "created_at": row.created,
            "started_at": row.started,
            "run_count": row.run_count,
        }
        if row.run_type == "task":
            return self._closed(TaskRun.restored(definition, row.definition, state, facts))
        facts["parent_flow_run_id"] = None if parent is None else parent.flow_run_id

        return self._closed(FlowRun.restored(definition, row.definition, state, facts))

    @staticmethod
    def _closed(run: Run) -> Run:
        # A hook cannot cancel a run that has ended.
        run.cancel_scope.closed = True

        return run

    # -- definitions ------------------------------------------------------------------------

    def _definition(self, row: RunRow) -> Any:
        key = row.reference, row.definition
        if key not in self._definitions:
            definition = _imported(row)
            self._definitions[key] = stand_in(row) if definition is None else definition

        return self._definitions[key]


def _imported(row: RunRow) -> Definition[Any, Any] | None:
    """Return the flow or task of a run, if it can be imported without running a script."""
    at = parse_reference(row.reference)
    module = _module(at)
    value = None if module is None or not at.is_exact else resolve(module, at.path)
    matches = isinstance(value, Definition) and value.run_type == row.run_type

    return value if matches else None


def _value(name: str) -> object:
    """Return what `module:qualname` names, such as the type of a parameter; else None."""
    at = parse_reference(name)
    module = _module(at)

    return None if module is None else resolve(module, at.path)


def _module(at: ParsedReference) -> Any:
    if at.file is not None:
        modules = list(sys.modules.values())
        return next(
            (module for module in modules if getattr(module, "__file__", None) == at.file), None
        )
    if at.module == MAIN:
        return None
    if at.module not in sys.modules:
        execute(lambda: execute_module(at.module, None, []), LOADING_SECONDS)

    return sys.modules.get(at.module)
