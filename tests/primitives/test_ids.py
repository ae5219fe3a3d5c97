"""Ids: UUIDs of version 7."""

from __future__ import annotations

import copy
import pickle
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventflow.primitives.ids import (
    delivery_id,
    event_number,
    id_of,
    new_id,
    new_number,
    run_label,
    two_words,
)


def test_an_id_is_an_ordinary_uuid() -> None:
    """It is of version 7, and equal to those made from its text, its pickle and its copy."""
    made = new_id()
    assert type(made) is UUID
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made == UUID(str(made)) == pickle.loads(pickle.dumps(made)) == copy.deepcopy(made)
    assert hash(made) == hash(UUID(str(made)))


def test_ids_differ_and_sort_by_the_time_they_were_made() -> None:
    """Each of many is new, and none sorts before an earlier one."""
    made = [new_id() for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert made == sorted(made)


SEQUENCES = st.integers(0, 9_999_999)
ORDINALS = st.integers(0, 0xFFFF)


@given(SEQUENCES, SEQUENCES)
def test_the_id_of_a_transition_follows_from_its_run(first: int, second: int) -> None:
    """Always the same, another one for any other sequence, and never that of the run."""
    run = new_id()
    made = id_of(event_number(run.int, first))
    assert (made.version, made.variant) == (7, run.variant)
    assert (made == id_of(event_number(run.int, second))) == (first == second)
    assert made != run
    assert made.hex[:12] == run.hex[:12]


@given(SEQUENCES, ORDINALS, ORDINALS)
def test_the_id_of_a_delivery_follows_from_its_run(sequence: int, first: int, second: int) -> None:
    """Always the same, another one for any other ordinal; it begins with the time of the run."""
    run = new_id()
    made = delivery_id(run.int, sequence, first)
    assert (made.version, made.variant) == (8, run.variant)
    assert made == delivery_id(UUID(str(run)).int, sequence, first) == UUID(str(made))
    assert (made == delivery_id(run.int, sequence, second)) == (first == second)
    assert made.hex[:12] == run.hex[:12]


def test_transitions_and_deliveries_of_many_runs_differ() -> None:
    """Those of runs that were made at the same moment, with several transitions and hooks each."""
    runs = [new_number() for _ in range(500)]
    events = [event_number(run, sequence) for run in runs for sequence in range(5)]
    deliveries = [
        delivery_id(run, sequence, ordinal).int
        for run in runs
        for sequence in range(5)
        for ordinal in (0, 1, 2, 255, 256, 257)
    ]
    assert len({*runs, *events, *deliveries}) == len(runs) + len(events) + len(deliveries)


@given(st.uuids())
def test_the_same_id_has_the_same_two_words(key: UUID) -> None:
    """A name follows from the id alone."""
    adjective, animal = two_words(key).split("-")

    assert adjective.isalpha()
    assert animal.isalpha()
    assert two_words(key) == two_words(UUID(str(key)))


def test_a_run_is_named_with_its_definition_once() -> None:
    """The name of a task run begins with that of its task already."""
    assert run_label("etl", "brave-otter") == "etl/brave-otter"
    assert run_label("etl", "etl-4f1") == "etl-4f1"
    assert run_label("e", "etl-4f1") == "e/etl-4f1"
