"""Lines: what rows look like in a spool, and what is made of them when they are read again."""

from __future__ import annotations

import json

from hypothesis import given, settings

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Batch
from eventflow.journal.format import CHUNK, JournalLine, decode, encode, plain
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.states import StateType
from tests.journal.rows import a_delivery, a_run, an_event, entering, later, settled
from tests.journal.test_contract import deliveries, events, runs

D = DeliveryStatus
STATUS = DeliveryRow._fields.index("status")


def test_a_line_is_json_a_person_can_read() -> None:
    """Ids are hex digits, times are microseconds, tuples JSON texts; what is empty is absent."""
    run = a_run(tags=("prod", "ü"))

    line = encode(entering(run, a_delivery(run)))

    assert b"\n" not in line
    read = json.loads(line)
    assert sorted(read) == ["deliveries", "events", "runs"]
    (row,) = read["runs"]
    said = dict(zip(RunRow._fields, row, strict=True))
    assert said["id"] == run.id.hex
    assert said["created"] == 1_772_366_400_000_000
    assert json.loads(said["tags"]) == ["prod", "ü"]
    assert said["ended"] is None
    assert encode(Batch()) == b"{}"


@settings(max_examples=40, deadline=None, database=None)
@given(run=runs, event=events, delivery=deliveries)
def test_a_line_says_what_the_batch_said(
    run: RunRow, event: EventRow, delivery: DeliveryRow
) -> None:
    """Whatever the values, they are the same after the way through a line."""
    batch = Batch(None, {run.id: run}, [event], [delivery], [settled(a_delivery(run), D.DEAD)])

    assert decode([encode(batch)]) == plain(batch)


def test_a_strange_character_does_not_keep_a_row_out() -> None:
    """A lone surrogate is no JSON; it is replaced, and only it."""
    read = decode([encode(entering(a_run(message="a \ud800 b")))])

    (row,) = read.runs.values()
    assert row[RunRow._fields.index("message")] == "a \ufffd\ufffd\ufffd b"


def test_a_line_that_knows_its_rows_may_be_committed_again() -> None:
    """It gives what anybody reads from it, between lines that must be read, and keeps its rows."""
    run = a_run()
    batch = entering(run, a_delivery(run))
    done = Batch(None, {}, [], [], [settled(a_delivery(run), D.DELIVERED)])
    tables = json.loads(encode(batch))
    line = JournalLine.of(tables)
    assert line == encode(batch)
    for _ in range(2):
        assert decode([b"no line", line, encode(done)]) == decode(
            [b"no line", encode(batch), encode(done)]
        )
    assert json.loads(encode(batch)) == tables


def test_a_row_of_another_width_is_left_out_also_where_it_is_known() -> None:
    """In a statement for many rows it would move the values of all that come behind it."""
    good = json.loads(encode(entering(a_run())))
    bad = JournalLine.of({"runs": [good["runs"][0][1:]], "events": []})

    assert decode([bad, JournalLine.of(good)]).bad == [bad]
    assert len(decode([bad, JournalLine.of(good)]).runs) == 1


def test_of_a_run_only_the_last_row_counts() -> None:
    """The highest sequence wins in whichever order they come, and every event is kept."""
    first = a_run()
    second = later(first, StateType.RUNNING)

    for order in ([first, second], [second, first]):
        read = decode([encode(entering(run)) for run in order])
        assert list(read.runs) == [first.id.hex]
        assert read.runs == plain(entering(second)).runs
        assert len(read.events) == 2 * len(EventRow._fields)


def test_what_became_of_a_delivery_is_written_with_it() -> None:
    """A settlement in the same group is folded into the delivery's row; nothing takes back a
    delivery."""
    run = a_run()
    one, other = a_delivery(run), a_delivery(run, ordinal=1)
    elsewhere = a_delivery(a_run())
    steps = [
        settled(one, D.RUNNING),
        settled(elsewhere, D.DELIVERED),
        settled(one, D.DELIVERED),
        settled(one, D.FAILED, 2),
        settled(elsewhere, D.FAILED, 2),
    ]

    lines = [encode(entering(run, one, other))]
    lines += [encode(Batch(settlements=[step])) for step in steps]
    read = decode(lines)

    done = one._replace(status=D.DELIVERED, attempts=1, updated=steps[0].updated)
    assert read.deliveries == plain(entering(run, done, other)).deliveries
    assert read.settlements == plain(Batch(settlements=[steps[1]])).settlements


def test_a_line_that_is_none_is_left_out() -> None:
    """Torn, of another shape, or of no known kind: it is put aside, and the others are read."""
    good = [encode(entering(a_run())) for _ in range(CHUNK)]
    event = [*an_event(a_run())]
    bad = [
        b"",
        good[0][:-9],
        b"[]",
        b"{}",
        b"null",
        b"1,2",
        b"\xff",
        b'{"runs":[[1,2]]}',
        b'{"runs":null}',
        b'{"events":7}',
        b'{"events":["0123456789"]}',
        b'{"others":[]}',
        json.dumps({"events": [event[:1]]}, default=str).encode(),
    ]
    mixed = [line for pair in zip(good, bad, strict=False) for line in pair] + good[len(bad) :]

    read = decode(mixed)

    assert read.bad == bad
    assert len(read.runs) == len(good)
    assert decode(iter(good)).bad == []
    # No JSON by itself, but a part of it among others.
    assert decode([good[0], b"{},{}"]).bad == [b"{},{}"]
