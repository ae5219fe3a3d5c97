"""Ids: UUIDs of version 7."""

from __future__ import annotations

import copy
import pickle
from uuid import UUID

from eventflow.ids import new_id


def test_an_id_is_an_ordinary_uuid() -> None:
    """It is of version 7, and equal to what its text, its pickle and its copy give back."""
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
