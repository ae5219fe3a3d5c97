"""Hypothesis strategies for the rows of the journal."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from eventflow.journal.rows import OwnerRow

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda moment: moment.replace(tzinfo=UTC)
)
numbers = st.integers(0, 2**62)
maybe_text = st.none() | text
owners = st.builds(
    OwnerRow,
    *(text, text, text, numbers, moments, maybe_text, maybe_text),
    *(st.lists(text, max_size=3).map(tuple), text, st.lists(text, max_size=3).map(tuple)),
)
