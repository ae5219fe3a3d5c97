"""Hypothesis strategies for the rows of the journal."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.rows import DeliveryRow, EventRow, OwnerRow, RunRow
from eventflow.states import StateType

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - made aware below
    lambda moment: moment.replace(tzinfo=UTC)
)
uuids = st.uuids()
kinds = st.sampled_from(StateType)
numbers = st.integers(0, 2**62)
maybe_uuid, maybe_moment, maybe_text = st.none() | uuids, st.none() | moments, st.none() | text
runs = st.builds(
    RunRow,
    *(uuids, st.sampled_from(["flow", "task"]), text, text, text, maybe_text),
    *(st.lists(text, max_size=3).map(tuple), maybe_text, maybe_uuid, maybe_uuid, maybe_uuid, text),
    *(moments, maybe_moment, maybe_moment, st.floats(0, 1e9), numbers, numbers, uuids, kinds),
    *(text, moments, maybe_text, maybe_text, maybe_text),
)
events = st.builds(
    EventRow,
    *(uuids, uuids, numbers, kinds, text, moments, numbers, maybe_text, maybe_text, maybe_uuid),
)
deliveries = st.builds(
    DeliveryRow,
    *(uuids, uuids, uuids, numbers, text, st.booleans(), st.sampled_from(DeliveryStatus), numbers),
    *(maybe_moment, maybe_text, maybe_moment),
)
owners = st.builds(
    OwnerRow,
    *(text, text, text, numbers, moments, maybe_text, maybe_text),
    *(st.lists(text, max_size=3).map(tuple), text, st.lists(text, max_size=3).map(tuple)),
)
