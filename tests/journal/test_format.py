"""Lines: what rows look like in a spool, and what is made of them when they are read again."""

from __future__ import annotations

import json

from hypothesis import given, settings

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.format import CHUNK, JournalLine, decode
from eventflow.journal.rows import DeliveryRow, EventRow, RunRow
from eventflow.states import StateType
from tests.journal.rows import (
    a_delivery,
    a_run,
    an_event,
    entering,
    later,
    line_of,
    settled,
    settling,
)
from tests.journal.strategies import deliveries, events, runs

D = DeliveryStatus
STATUS = DeliveryRow._fields.index("status")


def test_a_line_is_json_a_person_can_read() -> None:
    """Ids are hex digits, times are microseconds, tuples JSON texts; empty tables are absent."""
    run = a_run(tags=("prod", "ü"))

    line = bytes(entering(run, a_delivery(run)))

    assert b"\n" not in line
    read = json.loads(line)
    assert sorted(read) == ["deliveries", "events", "runs"]
    (row,) = read["runs"]
    values = dict(zip(RunRow._fields, row, strict=True))
    assert values["id"] == run.id.hex
    assert values["created"] == 1_772_366_400_000_000
    assert json.loads(values["tags"]) == ["prod", "ü"]
    assert values["ended"] is None


@settings(max_examples=40, deadline=None, database=None)
@given(run=runs, event=events, delivery=deliveries)
def test_a_parsed_line_has_the_rows_it_was_made_of(
    run: RunRow, event: EventRow, delivery: DeliveryRow
) -> None:
    """Whatever the values, JSON preserves them."""
    outcome = settled(a_delivery(run), D.DEAD)
    line = line_of(runs=[run], events=[event], deliveries=[delivery], settlements=[outcome])

    assert decode([bytes(line)]) == decode([line])


def test_a_line_with_its_rows_may_be_committed_again() -> None:
    """It gives the rows that are parsed from it, also between other lines, and keeps them."""
    run = a_run()
    line = entering(run, a_delivery(run))
    done = bytes(settling(settled(a_delivery(run), D.DELIVERED)))
    for _ in range(2):
        assert decode([b"no line", line, done]) == decode([b"no line", bytes(line), done])
    assert json.loads(line) == line.rows


def test_a_row_of_the_wrong_width_is_left_out_unparsed_as_well() -> None:
    """In a statement for many rows it would shift the values of all later ones."""
    good = entering(a_run())
    bad = JournalLine.of({"runs": [good.rows["runs"][0][1:]], "events": []})

    assert decode([bad, good]).bad == [bad]
    assert len(decode([bad, good]).runs) == 1


def test_a_line_of_an_earlier_version_is_read() -> None:
    """Its runs have no columns for sets of hooks; which ones they are subject to is not known."""
    line = entering(a_run())
    (row,) = line.rows["runs"]
    before = JournalLine.of({**line.rows, "runs": [row[:-2]]})

    for given_line in (before, bytes(before)):
        rows = decode([given_line])
        assert not rows.bad
        (read,) = rows.runs.values()
        assert read[: len(row)] == [*row[:-2], None, None]
        assert len(read) == len(row) + 1  # the keeper


def test_of_a_run_only_the_last_row_counts() -> None:
    """The highest sequence wins in whichever order they come, and every event is kept."""
    first = a_run()
    second = later(first, StateType.RUNNING)

    for order in ([first, second], [second, first]):
        read = decode([entering(run) for run in order])
        assert list(read.runs) == [first.id.hex]
        assert read.runs == decode([entering(second)]).runs
        assert len(read.events) == 2 * len(EventRow._fields)


def test_settlements_are_written_with_their_delivery() -> None:
    """A settlement in the same group changes the delivery; a delivered one stays delivered."""
    run = a_run()
    first, second = a_delivery(run), a_delivery(run, ordinal=1)
    elsewhere = a_delivery(a_run())
    steps = [
        settled(first, D.RUNNING),
        settled(elsewhere, D.DELIVERED),
        settled(first, D.DELIVERED),
        settled(first, D.FAILED, 2),
        settled(elsewhere, D.FAILED, 2),
    ]

    read = decode([entering(run, first, second), *map(settling, steps)])

    done = first._replace(status=D.DELIVERED, attempts=1, updated=steps[0].updated)
    assert read.deliveries == decode([entering(run, done, second)]).deliveries
    assert read.settlements == decode([settling(steps[1])]).settlements


def test_a_malformed_line_is_left_out() -> None:
    """Torn, of another shape, or with unknown keys: the other lines are read."""
    good = [bytes(entering(a_run())) for _ in range(CHUNK)]
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
    # Not JSON by itself, but a part of it among others.
    assert decode([good[0], b"{},{}"]).bad == [b"{},{}"]
