"""Spans: from when to when a run took, and in which steps, read from what the journal stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from eventflow.journal.history import Transition, name_of, transitions_of
from eventflow.journal.records import state_words
from eventflow.journal.rows import StoredRun, error_of
from eventflow.primitives.ids import run_label
from eventflow.states import StateType
from eventflow.states.kinds import RUNNING

__all__ = ["FAILURES", "Span", "Step", "is_failure", "span_of", "spans_of"]

FAILURES: Final = frozenset({StateType.FAILED, StateType.CRASHED})


class Step(NamedTuple):
    """A state of a run, from when it was entered to when the next one was.

    `then` is the type of the next state; None if there is none yet. `is_running` says whether the
    body was executed. Times are microseconds since 1970.
    """

    kind: StateType
    state: str
    attempt: int
    begin: int
    end: int
    then: StateType | None
    is_running: bool


class Span(NamedTuple):
    """A run, from its creation to its end, or to now if it has not ended.

    Ids are numbers, times microseconds since 1970. `cause` is the error or the message of its
    present state, unless it is Completed.
    """

    id: int
    parent: int | None
    run_type: str
    definition: str
    name: str
    kind: StateType
    state: str
    begin: int
    end: int
    is_ended: bool
    attempts: int
    steps: tuple[Step, ...]
    cause: str | None

    @property
    def label(self) -> str:
        """The names of the definition and the run: `etl/brave-otter`, `extract-4f1`."""
        return run_label(self.definition, self.name)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (self.end - self.begin) / 1e6


def is_failure(span: Span) -> bool:
    """Return whether a run has failed or crashed."""
    return span.kind in FAILURES


def spans_of(runs: Iterable[StoredRun], now: int) -> list[Span]:
    """Return the spans of runs, in their order; of what has not ended, up to `now`."""
    return [span_of(run, transitions_of(run), now) for run in runs]


def span_of(run: StoredRun, transitions: Sequence[Transition], now: int) -> Span:
    """Return the span of a run with its transitions, in their order."""
    kind, state = state_words(run.state)
    last = transitions[-1] if transitions else None
    steps = _steps(run, transitions, now)
    ended = None if run.ended is None else max(run.ended, run.created)
    latest = max(now, run.created) if ended is None else ended

    return Span(
        id=run.id,
        parent=run.parent,
        run_type="flow" if run.run_type == "flow" else "task",
        definition=run.definition or "unknown",
        name=name_of(run),
        kind=kind,
        state=state,
        begin=run.created,
        end=max(steps[-1].end, latest) if steps else latest,
        is_ended=ended is not None,
        attempts=last.run_count if last else 0,
        steps=steps,
        cause=None if last is None or kind is StateType.COMPLETED else _cause(last),
    )


def _steps(run: StoredRun, transitions: Sequence[Transition], now: int) -> tuple[Step, ...]:
    """Return the steps of a run: one for each transition but the one that ended it."""
    steps = []
    kind = None
    state, attempt, begin = "", 0, run.created
    for each in transitions:
        # The clock may have been set back.
        at = max(begin, each.at)
        then, name = state_words(each.state)
        if kind is not None:
            steps.append(Step(kind, state, attempt, begin, at, then, kind is RUNNING))
        kind, state, attempt, begin = then, name, each.run_count, at
    if kind is not None and run.ended is None:
        steps.append(Step(kind, state, attempt, begin, max(begin, now), None, kind is RUNNING))

    return tuple(steps)


def _cause(last: Transition) -> str | None:
    error = error_of(last.error)

    return last.message if error is None else str(error)
