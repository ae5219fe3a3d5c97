"""Two-word names."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from eventflow.primitives.names import two_words


@given(st.uuids())
def test_the_same_id_has_the_same_two_words(key: UUID) -> None:
    """A name follows from the id alone."""
    adjective, animal = two_words(key).split("-")

    assert adjective.isalpha()
    assert animal.isalpha()
    assert two_words(key) == two_words(UUID(str(key)))
