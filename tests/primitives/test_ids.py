"""Ids: UUIDs of version 7."""

from __future__ import annotations

import copy
import pickle
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventflow.primitives.ids import delivery_id, delivery_number, new_id, run_label, two_words


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


@given(st.uuids(version=4), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_a_delivery_id_follows_from_event_and_ordinal(event: UUID, first: int, second: int) -> None:
    """Always the same, and another one for any other ordinal."""
    made = delivery_id(event, first)
    assert (made.version, made.variant) == (8, new_id().variant)
    assert made.int == delivery_number(event.int, first)
    assert made == delivery_id(UUID(str(event)), first) == UUID(str(made))
    assert (made == delivery_id(event, second)) == (first == second)
    assert made != event


def test_deliveries_of_many_events_differ() -> None:
    """Those of events that were made at the same moment, with several hooks each."""
    made = [delivery_id(new_id(), place) for _ in range(5_000) for place in range(4)]
    assert len(set(made)) == len(made)


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
