"""Events and deliveries of a run are read from what is stored of it."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.history import event_rows, owed_by, run_row, transitions_of
from eventflow.journal.records import LETTERS, Settled, run_hex, state_text
from eventflow.journal.rows import StoredRun
from eventflow.primitives.ids import event_number, id_of
from eventflow.states import StateType
from tests.journal.strategies import text

RUN = 0x0190_0000_0000_7000_8000_0000_0000_0001
CREATED = 1_700_000_000_000_000
HOOKS = {"list": [("m:first", 1), ("m:second", 0)]}


def a_stored_run(events: str, **given: Any) -> StoredRun:
    made = StoredRun(
        *(RUN, None, None, CREATED, None, "C", 2, None, None, None, events.encode()),
        *("owner", "task", "work", "m:work", None, "[]", "", ""),
    )

    return made._replace(**given)


def acks(owed: int, begun: int, done: int, at: int = CREATED) -> bytes:
    return bytes((owed, begun, done)) + at.to_bytes(8)


kinds = st.sampled_from(StateType)
maybe_text = st.none() | text
plain = st.tuples(kinds, st.integers(-(10**9), 10**12))
told = st.tuples(
    *(kinds, st.integers(-(10**9), 10**12), text, st.none() | st.integers(0, 99)),
    *(maybe_text, maybe_text, st.none() | st.integers(1, 2**128 - 1)),
)


@given(st.lists(st.lists(plain, min_size=1, max_size=4) | told, min_size=1, max_size=6))
def test_every_transition_is_read_as_it_was_written(lines: list[Any]) -> None:
    """Short ones beside each other, and any other as a list, without what is null at its end."""
    written: list[str] = []
    expected: list[Any] = []
    count = 0
    for line in lines:
        if isinstance(line, list):
            written.append("".join(f"{LETTERS[kind]}{at}" for kind, at in line))
        else:
            kind, at, name, run_count, message, error, key = line
            own = None if key is None else f"{key:032x}"
            values = [state_text(kind, name), at, run_count, message, error, own]
            while values[-1] is None:
                values.pop()
            written.append(to_json(values).decode())
        for entered in line if isinstance(line, list) else [line]:
            kind, at, name, given_count, *rest = [*entered, None, None, None, None, None][:7]
            count = count + (kind is StateType.RUNNING) if given_count is None else given_count
            key = rest[2] or event_number(RUN, len(expected))
            name = kind.capitalize() if name is None else name
            expected.append((id_of(key), kind, name, CREATED + at, count, rest[0], rest[1]))

    run = a_stored_run("\n".join(written))
    rows = [*event_rows(RUN, transitions_of(run))]

    assert [event.at for event in transitions_of(run)] == [values[3] for values in expected]
    assert [
        (row.id, row.state_type, row.state_name, row.run_count, row.message, row.error)
        for row in rows
    ] == [(*values[:3], *values[4:]) for values in expected]
    assert [row.sequence for row in rows] == [*range(len(rows))]
    assert [row.follows for row in rows] == [None, *(row.id for row in rows)][:-1]


def test_a_part_of_a_life_says_where_it_begins() -> None:
    """What is missing before it leaves a gap, and a row follows the usual id of the one before."""
    rows = [*event_rows(RUN, transitions_of(a_stored_run("P0\n!5\nR1")))]

    assert [row.sequence for row in rows] == [0, 5]
    assert transitions_of(a_stored_run("!2\nR1"))[0].sequence == 2
    first = next(event_rows(RUN, transitions_of(a_stored_run("!2\nR1"))))
    assert first.follows == id_of(event_number(RUN, 1))


@pytest.mark.parametrize("line", ["!x", "+x", "[", "[1]", '["?",1]', "~~", '["R"]'])
def test_a_line_that_cannot_be_read_is_left_out(line: str) -> None:
    """The others are read."""
    events = transitions_of(a_stored_run(f"P0\n{line}\nR7"))

    assert [event.state for event in events] == ["P", "R"]


def test_the_time_in_a_body_adds_up() -> None:
    """From each Running to the next transition, and of the first one it is when it began."""
    run = run_row(a_stored_run('P0R1000000["x"\nS3000000R5000000\n["RRetrying",6000000]\nC8000000'))

    assert run.seconds == 2 + 1 + 2
    assert run.run_count == 3
    assert run.started is not None
    assert run.started.timestamp() == CREATED / 1e6 + 1


@given(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
def test_an_acknowledgement_counts_the_hooks_in_order(done: int, more: int, row: int) -> None:
    """What it says of a hook is replaced by a row of that hook."""
    begun = min(2, done + more)
    run = a_stored_run("P0R1C2@list", acks=acks(2, begun, done))
    replaced = [Settled(run_hex(RUN), 2, row, "m:row", 1, "dead", 3, 9)] if row < 2 else []

    owed = owed_by(run, transitions_of(run), lambda key: HOOKS.get(key, ()), replaced)

    for ordinal, each in enumerate(owed):
        assert (each.sequence, each.ordinal) == (2, ordinal)
        if ordinal == row:
            assert each == replaced[0]
            continue
        assert (each.hook, each.importable) == HOOKS["list"][ordinal]
        status = "delivered" if ordinal < done else "running" if ordinal < begun else "pending"
        assert each.status == status
        assert each.attempts == (status != "pending")
    assert len(owed) == 2


def test_what_was_owed_before_was_delivered() -> None:
    """By the time that a later line tells, or by the next transition."""
    run = a_stored_run(f'P0@list\nR5@list\n+{CREATED + 9}\n["COops",20]@lost', acks=acks(1, 1, 0))

    owed = owed_by(run, transitions_of(run), lambda key: HOOKS.get(key, ()))

    assert [(each.sequence, each.hook, each.status, each.updated) for each in owed] == [
        (0, "m:first", "delivered", CREATED + 5),
        (0, "m:second", "delivered", CREATED + 5),
        (1, "m:first", "delivered", CREATED + 9),
        (1, "m:second", "delivered", CREATED + 9),
        (2, "unknown", "running", CREATED),
    ]
    assert {DeliveryStatus(each.status) for each in owed} <= {*DeliveryStatus}


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), st.integers(0, 20))
def test_facts_may_be_cut_anywhere(steps: list[int], end: int) -> None:
    """A run is read, whatever is left of what was stored of it."""
    events = "".join(f"R{at}" for at in accumulate(steps))
    run = a_stored_run(events[:end], facts=b'[[{"a":[1,2]}],"x"]'[:end], state="RRetrying")

    assert run_row(run).id == id_of(RUN)
