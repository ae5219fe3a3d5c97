"""What is packed is read again; of damaged bytes, all records that are whole."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eventflow.journal.records import (
    ACKNOWLEDGED,
    CONTENT,
    RunRecord,
    content_of,
    pack,
    pack_run,
    scan,
    state_text,
    state_words,
)
from eventflow.states import StateType
from tests.journal.strategies import text

ids = st.integers(1, 2**128 - 1)
times = st.integers(0, 10**16 - 1)
counts = st.integers(0, 10**7 - 1)
runs = st.builds(
    RunRecord,
    *(ids, st.just(0) | ids, counts, times, counts, counts, times),
    *(text, text, text, text),
    *(st.integers(1, 255), st.just(1), st.just(0), times),
)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | text,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
others = st.tuples(st.sampled_from("DLHCSAEO"), json)


def packed(record: RunRecord) -> bytes:
    """Pack a run, of which the first hook has begun."""
    return pack_run(*_given(record, record.owed, record.at))


def _given(record: RunRecord, *acknowledged: int) -> Any:
    return (*record[:7], *(each.encode() for each in record[7:11]), *acknowledged)


made = st.lists(runs.map(packed) | others.map(lambda other: pack(*other)), max_size=5)


@given(st.lists(runs | others, max_size=6))
def test_what_is_packed_is_read_again(records: list[Any]) -> None:
    """Whatever values it has, one record after another."""
    data = b"".join(
        packed(record) if isinstance(record, RunRecord) else pack(*record) for record in records
    )

    read = [
        RunRecord.read(data, found.start, found.end)
        if found.kind == "R"
        else (found.kind, content_of(data, found))
        for found in scan(data)
    ]

    assert read == records


@given(runs)
def test_a_run_that_is_owed_to_nobody_has_no_acknowledgement(record: RunRecord) -> None:
    """Its bytes are zeros."""
    made = pack_run(*_given(record))

    assert made[ACKNOWLEDGED:CONTENT] == bytes(CONTENT - ACKNOWLEDGED)
    assert RunRecord.read(made, 0, len(made)) == record._replace(owed=0, begun=0, at=0)


@given(runs, st.binary(min_size=10, max_size=10))
def test_an_acknowledgement_in_place_leaves_the_record_whole(
    record: RunRecord, acknowledged: bytes
) -> None:
    """It is not among what the checksum is of."""
    data = bytearray(packed(record))
    data[ACKNOWLEDGED + 1 : CONTENT] = acknowledged

    assert [found[1:] for found in scan(bytes(data))] == [(0, len(data))]


def whole(data: bytes) -> list[bytes]:
    return [data[found.start : found.end] for found in scan(data)]


@given(made, st.data())
def test_a_record_that_was_cut_off_is_left_out(records: list[bytes], data: st.DataObject) -> None:
    """And all before it are read."""
    everything = b"".join(records)
    end = data.draw(st.integers(0, len(everything)))
    ends = [*accumulate(map(len, records))]

    assert whole(everything[:end]) == [
        record for record, last in zip(records, ends, strict=True) if last <= end
    ]


@given(made, made, st.integers(0, 200))
def test_behind_a_hole_all_are_read(before: list[bytes], after: list[bytes], size: int) -> None:
    """Zeros stand where something was never finished, and at the end of a segment."""
    hole = bytes(size)

    assert whole(b"".join([*before, hole, *after, hole])) == before + after


@settings(deadline=None)
@given(made, st.data())
def test_a_damaged_record_is_left_out(records: list[bytes], data: st.DataObject) -> None:
    """Wherever a bit of it is flipped, but in what is acknowledged, all others are read."""
    assume(records)
    place = data.draw(st.integers(0, len(records) - 1))
    damaged = bytearray(records[place])
    byte = data.draw(st.integers(0, len(damaged) - 1))
    assume(not ACKNOWLEDGED <= byte < CONTENT)
    damaged[byte] ^= 1 << data.draw(st.integers(0, 7))
    everything = [*records[:place], bytes(damaged), *records[place + 1 :]]

    assert whole(b"".join(everything)) == records[:place] + records[place + 1 :]


def test_nothing_is_read_of_nothing() -> None:
    """Neither of no bytes, nor of zeros, nor of digits."""
    assert [*scan(b"")] == [*scan(bytes(100))] == [*scan(b"1" * 100)] == []


@pytest.mark.parametrize("kind", StateType)
def test_a_state_is_written_as_a_letter(kind: StateType) -> None:
    """With its name only if that is unusual."""
    assert len(state_text(kind, kind.capitalize())) == 1
    for name in (kind.capitalize(), "TimedOut", kind.value, ""):
        assert state_words(state_text(kind, name)) == (kind, name)
