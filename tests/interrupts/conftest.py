"""A check after each test that no thread is left masked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventflow.interrupts.masks import ThreadPhase, thread_mask


@pytest.fixture(autouse=True)
def _mask_is_clear() -> Iterator[None]:
    yield
    assert thread_mask().phase is ThreadPhase.NOTHING
    assert thread_mask().bodies == []
    assert thread_mask().deferred is None
