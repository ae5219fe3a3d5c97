"""A listener that counts the runs below a flow run by state, and keeps the failures."""

from __future__ import annotations

from collections import Counter, OrderedDict
from threading import Lock
from typing import Final, NamedTuple
from uuid import UUID

from eventflow.events import StateTransition
from eventflow.primitives.ids import run_label
from eventflow.runs.run import FlowRun, RunType
from eventflow.states import ENDING, StateType

__all__ = ["Failure", "Tally", "Totals"]

FAILURES_KEPT: Final = 100
"""How many failures are kept; all are counted."""

_ORDER: Final = (
    "Pending",
    "Running",
    "AwaitingRetry",
    "Retrying",
    "Completed",
    "Cached",
    "Failed",
    "TimedOut",
    "Crashed",
    "Cancelling",
    "Cancelled",
    "NotReady",
    "Paused",
    "Suspended",
)
_BAD: Final = frozenset({StateType.FAILED, StateType.CRASHED})
_ENDED: Final = frozenset({"NotReady"})


class Failure(NamedTuple):
    """A run that failed; `retrying` if it is being retried."""

    run: str
    state: str
    cause: str
    retrying: bool


class Totals(NamedTuple):
    """A snapshot of the tally: runs by the name of their state, in the order of a run's life."""

    tasks: dict[str, int]
    flows: dict[str, int]
    ended: int
    failed: int
    failures: tuple[Failure, ...]


class Tally:
    """Counts the runs below one flow run; subscribed to every transition, read from any thread."""

    def __init__(self) -> None:
        self.run: FlowRun | None = None
        self._lock = Lock()
        self._counts: dict[RunType, Counter[str]] = {"flow": Counter(), "task": Counter()}
        self._ended = 0
        self._failed = 0
        self._failures: OrderedDict[UUID, Failure] = OrderedDict()

    def __call__(self, event: StateTransition) -> None:
        """Count one transition."""
        with self._lock:
            run = event.run
            if self.run is None and isinstance(run, FlowRun) and event.parent_run_id is None:
                self.run = run
            if self.run is not None and event.run_id != self.run.id:
                self._count(event)

    def _count(self, event: StateTransition) -> None:
        counts, entered = self._counts[event.run_type], event.to_state
        counts[entered.name] += 1
        if event.from_state is not None:
            counts[event.from_state.name] -= 1
        if event.run_type == "task" and (entered.type in ENDING or entered.name in _ENDED):
            self._ended += 1
        if entered.type in _BAD or entered.name == "AwaitingRetry":
            self._keep_failure(event)
        elif entered.is_final():
            self._failures.pop(event.run_id, None)

    def _keep_failure(self, event: StateTransition) -> None:
        state = event.to_state
        cause = str(state.error or state.message or state.name).strip()
        name = run_label(event.definition_name, event.run_name)
        self._failures.pop(event.run_id, None)
        self._failures[event.run_id] = Failure(name, state.name, cause, not state.is_final())
        self._failed += state.is_final()
        if len(self._failures) > FAILURES_KEPT:
            self._failures.popitem(last=False)

    def totals(self) -> Totals:
        """Return the present counts and the failures, the latest last."""
        with self._lock:
            return Totals(
                tasks=_in_order(self._counts["task"]),
                flows=_in_order(self._counts["flow"]),
                ended=self._ended,
                failed=self._failed,
                failures=tuple(self._failures.values()),
            )


def _in_order(counts: Counter[str]) -> dict[str, int]:
    known = [name for name in _ORDER if counts[name] > 0]
    others = sorted(name for name, count in counts.items() if count > 0 and name not in _ORDER)

    return {name: counts[name] for name in (*known, *others)}
