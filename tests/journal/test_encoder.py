"""The record of a run: what is in it, how much of it, and that it can always be read."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from eventflow import Hook, flow, task
from eventflow.hooks.sets import hook_columns
from eventflow.journal.contract import DeliveryQuery, Group
from eventflow.journal.encoder import RunEncoder
from eventflow.journal.plans import HookList, Plan
from eventflow.journal.records import RunRecord, scan
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow, moment
from eventflow.journal.stores.memory import MemoryJournal
from eventflow.primitives.ids import delivery_id
from eventflow.primitives.texts import printable
from eventflow.runs.run import FlowRun, Run, TaskRun
from eventflow.states import AnyState, Completed, Pending, Running, State, StateType
from eventflow.states.records import ErrorInfo
from eventflow.values.restoring import readable_parameters
from tests.journal.rows import a_definition


@task
def work(**values: Any) -> None:
    """Take any parameters."""


@flow
def around() -> None:
    """Stand for the flow of a task."""


def a_run(**values: Any) -> TaskRun:
    """Make a run of it that has not begun."""
    return TaskRun(work, "work", lambda: values, frozenset(), None)


class Written:
    """A run whose records are committed to a journal, from which it is read again."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.encoder = RunEncoder()
        self.encoder.number = 1
        self.records: list[bytes] = []
        self._plan = Plan(
            "owner", 0, 1, run, has_crash_hooks=False, is_timed=False, has_workers=True
        )
        self._definition = a_definition(1, run_type=run.run_type, name=run.definition_name)

    def enter(self, *states: AnyState, owed: tuple[Hook, ...] = ()) -> RunRecord:
        """Enter states and make one record of them; the last is owed to hooks."""
        for state in states:
            self.run.enter(state)
        listed = HookList(self._plan, [hook_columns(hook) for hook in owed])
        entered, last = self.run.entered, self.run.transitions - 1
        assert entered is not None
        made = self.encoder.encode(self.run, last, entered, listed)
        self.records.append(b"".join(record for _, record in listed.records) + made)
        assert [each.kind for each in scan(made)] == ["R"]

        return RunRecord.read(made, 0, len(made))

    def read(self) -> tuple[RunRow, list[EventRow], list[DeliveryRow]]:
        """Read the run back, with its events and deliveries."""
        journal = MemoryJournal()
        for record in self.records:
            journal.commit(Group.read(self._definition + record), "owner")
        row = journal.run(self.run.id)
        assert row is not None
        found = row, journal.events(row.id), journal.deliveries(DeliveryQuery(run_id=row.id))
        journal.close()

        return found


def parameters(**values: Any) -> Any:
    """Return what is recorded of parameters."""
    written = Written(a_run(**values))
    written.enter(Pending(), Running())
    row, _, _ = written.read()
    assert row.parameters is not None
    assert len(row.parameters) < 10_000

    return readable_parameters(row.parameters)


def test_plain_parameters_are_recorded_as_they_are() -> None:
    """Numbers, texts, booleans and None."""
    given_ = {"a": 1, "b": 1.5, "c": "text", "d": True, "e": None, "f": -(2**63), "g": ""}
    assert parameters(**given_) == given_


class Rude:
    """Something that does not want to be described."""

    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([1, "two"], [1, "two"]),
        ({1: "one"}, [[1, "one"]]),
        (SecretStr("password"), "**********"),
        ({"key": SecretStr("password")}, {"key": "**********"}),
        (float("nan"), "NaN"),
        (float("-inf"), "-Infinity"),
        (10**30, "1" + "0" * 30),
        ("\udc80\0", "\\udc80\\x00"),
        (b"1" * 3, "111"),
        (date(2026, 1, 31), "2026-01-31"),
        (iter(()), "<tuple_iterator object at 0x"),
    ],
)
def test_any_other_parameter_is_readable(value: object, shown: object) -> None:
    """As JSON of its own type where there is one, else as a text; with secrets masked."""
    recorded = parameters(value=value)["value"]
    assert recorded == shown or (
        isinstance(shown, str) and shown.endswith("0x") and recorded.startswith(shown)
    )


@pytest.mark.parametrize("large", [["x" * 10**6], [b"x" * 10**6] * 9, [bytearray(10**6)]])
def test_a_large_parameter_is_cut(large: Any) -> None:
    """Whatever its kind."""
    assert len(parameters(large=large)["large"]) < 3_000
    assert len(parameters(large=large[0])["large"]) < 1_000


def test_a_parameter_that_cannot_be_described_is_named() -> None:
    """By its class, whatever its `__repr__` raises."""
    assert parameters(value=Rude())["value"].startswith("<Rude")
    assert parameters(value=[Rude()])["value"].startswith("[<Rude")
    assert "list" in parameters(value=type("list", (), {})())["value"]


def test_parameters_that_contain_themselves_are_described() -> None:
    """The description ends."""
    endless: list[Any] = []
    endless.append(endless)
    assert parameters(endless=endless) == {"endless": "[[[[...]]]]"}


def test_messages_and_errors_are_cut() -> None:
    """At ten thousand characters each; the type of the error remains."""
    written = Written(a_run())
    error = ErrorInfo(type="ValueError", message="x" * 100_000, traceback="t")
    failed = State[Any](type=StateType.FAILED, message="m" * 99_999, error=error)
    written.enter(Pending(), Running())
    written.enter(failed)
    row, (*_, event), _ = written.read()
    assert row.message == event.message == "m" * 9_999 + "…"
    assert event.error is not None
    assert ErrorInfo.model_validate_json(event.error) == error.model_copy(
        update={"message": "x" * 9_999 + "…"}
    )


@given(st.text(), st.text(), st.text(min_size=1))
def test_any_text_makes_a_record(name: str, message: str, state: str) -> None:
    """It reads back as it was, except for characters without an encoding."""
    written = Written(a_run())
    written.run.name = name
    named = State[Any](type=StateType.PENDING, name=state, message=message)
    written.enter(named)
    row, (event,), _ = written.read()
    assert row.name == (written.run.name or row.name)
    assert event.message == message.encode(errors="backslashreplace").decode()
    stored = printable(state).replace("\0", "\\x00")[:200]
    assert event.state_name == row.state_name == stored
    assert (event.id, event.state_type) == (named.id, "PENDING")


@pytest.mark.parametrize("first", [1, 2, 3])
def test_the_records_of_a_run_are_read_as_one_life(first: int) -> None:
    """However many transitions the first one tells of: each is there once, in order."""
    retried = State[Any](type=StateType.SCHEDULED, name="AwaitingRetry")
    states = [Pending(), Running(), retried, Running(name="Retrying"), Completed(message="done")]
    written = Written(a_run(number=1))
    written.enter(*states[:first])
    for state in states[first:]:
        written.enter(state)
    row, events, _ = written.read()
    assert [event.id for event in events] == [state.id for state in states]
    assert [event.sequence for event in events] == [0, 1, 2, 3, 4]
    assert [event.follows for event in events] == [None, *[event.id for event in events[:-1]]]
    assert [event.run_count for event in events] == [0, 1, 1, 2, 2]
    assert (row.parameters, row.run_count, row.started) == ('[{"number":1}]', 2, events[1].occurred)


def test_transitions_that_are_lost_leave_a_gap() -> None:
    """A run has its first and its last transitions only; those between are not made up."""
    retried = State[Any](type=StateType.SCHEDULED, name="AwaitingRetry")
    written = Written(a_run())
    written.enter(Pending())
    written.enter(Running(), retried, Running(name="Retrying"))
    row, events, _ = written.read()
    assert [event.sequence for event in events] == [0, 3]
    assert (row.sequence, row.state_name) == (3, "Retrying")


def test_a_record_goes_on_where_the_last_one_ended() -> None:
    """What is known later is in later records: parameters, the end. Nothing is told twice."""
    written = Written(a_run(number=1))
    first, begun, ended = (written.enter(state) for state in (Pending(), Running(), Completed()))
    assert [(record.first, record.last) for record in (first, begun, ended)] == [
        *((0, 0), (1, 1), (2, 2))
    ]
    assert [record.facts for record in (first, begun, ended)] == [
        *("[null]", '[[{"number":1}]]', "")
    ]
    assert [bool(record.ended) for record in (first, begun, ended)] == [False, False, True]
    row, _, _ = written.read()
    assert (row.parameters, row.ended) == ('[{"number":1}]', written.run.end_time)


def test_the_usual_name_of_a_task_run_is_not_in_its_record() -> None:
    """A flow run has always one, as it is made of words."""
    written = Written(a_run())
    assert written.enter(Pending()).name == ""
    row, _, _ = written.read()
    assert row.name == written.run.name
    flow_run = Written(FlowRun(around, "around", dict, frozenset(), None))
    assert flow_run.enter(Pending()).name == flow_run.run.name
    row, _, _ = flow_run.read()
    assert row.name == flow_run.run.name


@pytest.mark.parametrize("above", ["nothing", "top", "other", "under", "within", "within nothing"])
@pytest.mark.parametrize("kind", [FlowRun, TaskRun])
def test_each_run_has_its_own_ancestors(above: str, kind: Any) -> None:
    """Also a task within a task, and one that is within no flow at all."""
    top, other = (FlowRun(around, "around", dict, frozenset(), None) for _ in range(2))
    under = FlowRun(around, "around", dict, frozenset(), top)
    within = TaskRun(work, "work", dict, frozenset(), under)
    runs: dict[str, Run | None] = {
        "nothing": None,
        "top": top,
        "other": other,
        "under": under,
        "within": within,
        "within nothing": a_run(),
    }
    definition = around if kind is FlowRun else work
    run = kind(definition, definition.name, dict, frozenset(), runs[above])
    written = Written(run)
    for states in ([Pending()], [Running()], [Completed()]):
        written.enter(*states)
        row, _, _ = written.read()
        assert (row.parent_run_id, row.flow_run_id, row.root_flow_run_id) == (
            *(run.parent_run_id, run.flow_run_id, run.root_flow_run_id),
        )


def test_deliveries_are_in_the_record() -> None:
    """In order, with ids that follow from the run; the first has begun."""
    written = Written(a_run())
    hooks = Hook(print, id="\udc80 odd"), Hook(lambda *_: None, id="lambda")
    record = written.enter(Pending(), owed=hooks)
    assert (record.owed, record.begun, record.done) == (2, 1, 0)
    _, (event,), deliveries = written.read()
    number = written.run.number
    assert [(row.id, row.ordinal, row.hook, row.importable) for row in deliveries] == [
        (delivery_id(number, 0, 0), 0, "\\udc80 odd", True),
        (delivery_id(number, 0, 1), 1, "lambda", False),
    ]
    assert {row.event_id for row in deliveries} == {event.id}
    assert [(row.status, row.attempts) for row in deliveries] == [("running", 1), ("pending", 0)]


def test_a_hook_whose_function_has_no_hash_is_recorded() -> None:
    """Such as an object that is compared by its content."""

    class Compared:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # as of a dataclass

        def __call__(self, *_: Any) -> None: ...

    written = Written(a_run())
    written.enter(Pending(), owed=(Hook(Compared(), id="compared"),))
    _, _, deliveries = written.read()
    assert [(row.hook, row.importable) for row in deliveries] == [("compared", False)]


def test_what_follows_says_until_when_hooks_were_called() -> None:
    """They were all done before the run entered another state."""
    written = Written(a_run())
    written.enter(Pending(), owed=(Hook(print), Hook(print)))
    encoder = written.encoder
    encoder.begun = encoder.done = 2
    encoder.updated = done_at = encoder.updated + 1_000_000
    written.enter(Running())
    _, _, deliveries = written.read()
    assert [(row.status, row.attempts) for row in deliveries] == [("delivered", 1)] * 2
    assert {row.updated for row in deliveries} == {moment(done_at)}
