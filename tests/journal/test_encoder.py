"""The lines of a run: what is in them, how much of it, and that they can always be read."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from eventflow import Hook, flow, task
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.encoder import RunEncoder, encode_line, encode_settlement
from eventflow.journal.format import decode
from eventflow.journal.rows import Codec, EventRow, RunRow
from eventflow.primitives.ids import delivery_id, new_id
from eventflow.primitives.records import ErrorInfo
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.states import Completed, Pending, Running, State, StateType
from eventflow.values.restoring import readable_parameters

codec = Codec(UUID)


@task
def work(**values: Any) -> None:
    """Take any parameters."""


@flow
def around() -> None:
    """Stand for the flow of a task."""


def a_run(**values: Any) -> TaskRun:
    """Make a run of it that has not begun."""
    return TaskRun(work, "work", lambda: values, frozenset(), None)


def written(encoder: RunEncoder, fact: Transition, *hooks: Hook) -> bytes:
    """Make the line of one transition."""
    made = encode_line([encoder.entry(fact)], encoder.deliveries(fact, hooks))
    # Parsed, it has the same rows as those that it carries.
    assert decode([bytes(made)]) == decode([made])

    return bytes(made)


def rows(line: bytes) -> tuple[RunRow, EventRow, list[Any]]:
    """Read a line back as the journal does."""
    decoded = decode([line])
    assert decoded.bad == []
    (run,) = decoded.runs.values()

    return (
        codec.run_in(run),
        codec.event_in(decoded.events),
        [codec.delivery_in(row) for row in decoded.deliveries.values()],
    )


def parameters(**values: Any) -> Any:
    """Return what a line records of parameters."""
    run = a_run(**values)
    encoder = RunEncoder(run, "owner")
    written(encoder, run.enter(Pending()))
    row, _, _ = rows(written(encoder, run.enter(Running())))
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
    run = a_run()
    encoder = RunEncoder(run, "owner")
    written(encoder, run.enter(Pending()))
    written(encoder, run.enter(Running()))
    error = ErrorInfo(type="ValueError", message="x" * 100_000, traceback="t")
    failed = State[Any](type=StateType.FAILED, message="m" * 99_999, error=error)
    row, event, _ = rows(written(encoder, run.enter(failed)))
    assert row.message == event.message == "m" * 9_999 + "…"
    assert event.error is not None
    assert ErrorInfo.model_validate_json(event.error) == error.model_copy(
        update={"message": "x" * 9_999 + "…"}
    )


@given(st.text(), st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_any_text_makes_a_line(name: str, message: str, tags: list[str]) -> None:
    """One line, which reads back as it was, except for characters without an encoding."""
    run = TaskRun(work, name, dict, frozenset(tags), None)
    run.name = name
    made = written(RunEncoder(run, "owner"), run.enter(Pending(message=message)))
    assert b"\n" not in made
    row, event, _ = rows(made)
    assert row.definition == name.encode(errors="backslashreplace").decode()
    assert event.message == message.encode(errors="backslashreplace").decode()
    assert len(row.tags) == len(set(tags))


def test_an_encoder_follows_its_run() -> None:
    """What is known later is in later lines: beginning, parameters, another name, the end."""
    run = a_run(number=1)
    encoder = RunEncoder(run, "owner")
    lines = [written(encoder, run.enter(Pending()))]
    run.name = "renamed"
    lines += [written(encoder, run.enter(state)) for state in (Running(), Completed())]
    runs, events, _ = zip(*map(rows, lines), strict=True)

    assert [row.name == "renamed" for row in runs] == [False, True, True]
    assert [row.parameters for row in runs] == [None, *['[{"number":1}]'] * 2]
    assert [row.started for row in runs] == [None, *[run.start_time] * 2]
    assert [row.ended for row in runs] == [None, None, run.end_time]
    assert [event.sequence for event in events] == [0, 1, 2]
    assert [event.follows for event in events] == [None, events[0].id, events[1].id]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["one", "other"])), max_size=20))
def test_each_run_has_its_own_ancestors(order: list[tuple[int, str]]) -> None:
    """Whatever run was encoded before it, for whichever owner."""
    top, other = (FlowRun(around, "around", dict, frozenset(), None) for _ in range(2))
    under = FlowRun(around, "around", dict, frozenset(), top)
    within = TaskRun(work, "work", dict, frozenset(), under)
    above: list[Run | None] = [None, top, other, under, within]
    for index, owner in order:
        run = TaskRun(work, "work", dict, frozenset(), above[index])
        row, _, _ = rows(written(RunEncoder(run, owner), run.enter(Pending())))
        assert row.owner == owner
        assert (row.parent_run_id, row.flow_run_id, row.root_flow_run_id) == (
            run.parent_run_id,
            run.flow_run_id,
            run.root_flow_run_id,
        )


def test_transitions_of_several_runs_make_one_line() -> None:
    """With one row for each run, as of its last transition, and all events in their order."""
    first, second = a_run(), a_run()
    encoders = {run: RunEncoder(run, "owner") for run in (first, second)}
    states = [(first, Pending()), (second, Pending()), (first, Running()), (first, Completed())]
    entries = [encoders[run].entry(run.enter(state)) for run, state in states]
    decoded = decode([encode_line(entries)])
    runs = map(codec.run_in, decoded.runs.values())
    assert [row.state_name for row in runs] == ["Completed", "Pending"]
    assert decoded.events[:: len(EventRow._fields)] == [state.id.hex for _, state in states]


def test_deliveries_are_in_the_line() -> None:
    """In order, with ids that are derived from the event's."""
    run = a_run()
    fact = run.enter(Pending())
    hooks = [Hook(print, id="\udc80 odd"), Hook(lambda *_: None, id="lambda")]
    _, event, deliveries = rows(written(RunEncoder(run, "owner"), fact, *hooks))
    assert [(row.id, row.ordinal, row.hook, row.importable) for row in deliveries] == [
        (delivery_id(event.id, 0), 0, "\\udc80 odd", True),
        (delivery_id(event.id, 1), 1, "lambda", False),
    ]
    running, pending = (DeliveryStatus.RUNNING, 1), (DeliveryStatus.PENDING, 0)
    assert [(row.status, row.attempts) for row in deliveries] == [running, pending]


def test_a_hook_whose_function_has_no_hash_is_recorded() -> None:
    """Such as an object that is compared by its content."""

    class Compared:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # as of a dataclass

        def __call__(self, *_: Any) -> None: ...

    run = a_run()
    hook = Hook(Compared(), id="compared")
    _, _, deliveries = rows(written(RunEncoder(run, "owner"), run.enter(Pending()), hook))
    assert [(row.hook, row.importable) for row in deliveries] == [("compared", False)]


def test_a_settlement_says_why_and_when() -> None:
    """The error is cut; the next attempt may begin after the delay."""
    run_id, event_id = new_id(), new_id()
    status = DeliveryStatus.FAILED
    row = encode_settlement((run_id, event_id, 3), status, 2, "\udc80" + "x" * 20_000, 1.5)
    ((key, values),) = decode([bytes(encode_line([], None, [row]))]).settlements.items()
    found_run, found_id, found_status, attempts, updated, due, error = values
    assert (found_run, found_id, key) == (run_id.hex, key, delivery_id(event_id, 3).hex)
    assert (found_status, attempts, due - updated) == ("failed", 2, 1_500_000)
    assert (error[:7], len(error)) == ("\\udc80x", 10_000)
    row = encode_settlement((run_id, event_id, 0), DeliveryStatus.DELIVERED, 1, None, 0.0)
    assert row[5:] == [None, None]
