"""Transitions on which nothing depends are held back, and written with later ones."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow import (
    Hook,
    bus,
    flow,
    hook,
    task,
)
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.format import decode
from eventflow.journal.recorder import HELD_LIMIT
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.primitives.ids import new_id
from eventflow.runs.run import TaskRun
from eventflow.states import StateType
from tests.journal.fakes import FakeSink
from tests.journal.reading import (
    the_recorder,
)
from tests.journal.scenes import double, seen

pytestmark = pytest.mark.usefixtures("eventflow_isolated")
EVENT = len(EventRow._fields)
SEQUENCE = RunRow._fields.index("sequence")
STATUS = DeliveryRow._fields.index("status")


def state_names(line: bytes) -> list[str]:
    """Return the names of the states in a line."""
    return decode([line]).events[4::EVENT]


def test_transitions_without_listeners_are_held_back(sink: FakeSink) -> None:
    """A flush writes them all in one line, with one row for each run."""
    sink.waits = False
    double(1)
    double(2)
    assert sink.calls == ["notify"] * 6
    the_recorder().flush_held()
    the_recorder().flush_held()
    assert [state_names(line) for line in sink.lines] == [["Pending", "Running", "Completed"] * 2]
    assert len(decode(sink.lines).runs) == 2


def test_the_number_of_held_transitions_is_limited(sink: FakeSink) -> None:
    """However many runs there are before a flush, few transitions are in memory only."""
    sink.waits = False
    for number in range(HELD_LIMIT):
        double(number)
    assert [len(state_names(line)) for line in sink.lines] == [HELD_LIMIT] * 3


@pytest.mark.parametrize("state", [None, "Crashed", StateType.CRASHED, ["Failed", "Crashed"]])
def test_a_run_whose_crash_has_a_hook_is_written_before_its_body_begins(
    sink: FakeSink, state: Any
) -> None:
    """Its first two transitions are in one line, with those that were held back before."""
    sink.waits = False
    double(1)
    seen_at: list[list[str]] = []
    called = task(hooks=[Hook(seen, state=state, name="called")], name="called")
    called(lambda: seen_at.extend(map(state_names, sink.lines)))()
    before = ["Pending", "Running", "Completed", "Pending"]
    # With a hook for every transition, neither the first one nor its outcome is held back.
    all_at_once = [before, [], ["Running"], []]
    assert seen_at == (all_at_once if state is None else [[*before, "Running"]])


def test_a_global_hook_has_every_run_written_before_its_body_begins(sink: FakeSink) -> None:
    """Whatever the hook selects."""
    sink.waits = False
    hook(state="Completed")(seen)
    seen_at: list[list[str]] = []
    task(lambda: seen_at.extend(map(state_names, sink.lines)))()
    assert seen_at == [["Pending", "Running"]]


def test_a_task_without_a_hook_for_its_crash_has_one_line(sink: FakeSink) -> None:
    """It is written before its hook runs, which is begun in it; the outcome is in the next line."""
    sink.waits = False
    called = task(on_completion=[seen], on_failure=[seen])(lambda: sink.lines)
    assert called() == called() == sink.lines
    first, second = (decode([line]) for line in sink.lines)
    assert [state_names(line) for line in sink.lines] == [["Pending", "Running", "Completed"]] * 2
    (begun,) = first.deliveries.values()
    assert begun[STATUS:] == ["running", 1, None, None, first.events[5 + 2 * EVENT]]
    (done,) = second.settlements.values()
    assert done[1:4] == [begun[0], "delivered", 1]
    the_recorder().flush_held()
    assert len(decode(sink.lines[2:]).settlements) == 1
    assert len(sink.lines) == 3


def test_each_hook_begins_when_the_previous_one_has_ended(sink: FakeSink) -> None:
    """One line has the outcome of one and the beginning of the next."""
    sink.waits = False
    task(hooks=[Hook(seen, state="Completed", id=name) for name in "abc"])(lambda: 1)()
    first, *others = (decode([line]) for line in sink.lines)
    assert [row[STATUS] for row in first.deliveries.values()] == ["running", "pending", "pending"]
    ids = list(first.deliveries)
    for index, rows in enumerate(others):
        outcomes = {key: row[2] for key, row in rows.settlements.items()}
        assert outcomes == {ids[index]: "delivered", ids[index + 1]: "running"}
    assert len(others) == 2


def test_the_failure_of_a_hook_is_written_at_once(sink: FakeSink) -> None:
    """Only a success may be held back."""
    sink.waits = False

    def broken(*_: Any) -> None:
        raise ValueError

    task(hooks=[Hook(broken, state="Completed", retries=1)])(lambda: 1)()
    outcomes = [row[2] for line in sink.lines for row in decode([line]).settlements.values()]
    assert outcomes == ["failed", "running", "dead"]


def test_the_number_of_held_outcomes_is_limited(sink: FakeSink) -> None:
    """However many hooks end before anything else is written."""
    sink.waits = False
    run = TaskRun(task(name="it")(seen), "it", dict, frozenset(), None)
    for _ in range(HELD_LIMIT):
        assert sink.lines == []
        the_recorder().settle(run, (new_id(), 0), DeliveryStatus.DELIVERED, 1, at_once=False)
    assert len(sink.lines) == 1


def test_the_outcome_of_a_hook_is_written_before_the_body_begins(sink: FakeSink) -> None:
    """If the process dies in the body, the hook must not run once more."""
    sink.waits = False
    settled: list[int] = []

    @task(on_running=[seen])
    def asks() -> None:
        settled.extend(len(decode([line]).settlements) for line in sink.lines)

    asks()
    assert settled == [0, 1]


def test_a_flow_is_in_the_journal_before_its_body_begins(sink: FakeSink) -> None:
    """A killed process can be found there, although no hook selects its crash."""
    sink.waits = False
    seen_at: list[list[str]] = []
    flow(name="main")(lambda: seen_at.extend(map(state_names, sink.lines)))()
    assert seen_at == [["Pending", "Running"]]
    assert [state_names(line) for line in sink.lines[1:]] == [["Completed"]]


def test_a_transition_with_a_listener_is_written_first(sink: FakeSink) -> None:
    """A listener that reads the journal finds the run there."""
    sink.waits = False
    bus.subscribe(seen, state="Running")
    double(1)
    assert sink.calls == ["notify", "line", "notify", "notify"]
    assert [state_names(line) for line in sink.lines] == [["Pending", "Running"]]


def test_an_interrupt_while_a_line_is_written_loses_nothing(sink: FakeSink) -> None:
    """A signal handler may run a task meanwhile; a second copy of a row does no harm."""
    sink.waits = False
    append = sink.append

    def interrupted(line: bytes) -> None:
        sink.append = append  # type: ignore[method-assign]
        double.with_options(on_completion=[seen])(2)
        append(line)

    double(1)
    sink.append = interrupted  # type: ignore[method-assign]
    double.with_options(on_completion=[seen])(3)
    the_recorder().flush_held()
    rows = decode(sink.lines)
    assert len({*rows.events[::EVENT]}) == 9
    assert {row[SEQUENCE] for row in rows.runs.values()} == {2}
    assert len(rows.deliveries) == 2
