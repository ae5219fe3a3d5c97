"""A check after each test that no thread is left masked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventflow.interrupts.masks import ThreadPhase, this_thread


@pytest.fixture(autouse=True)
def _mask_is_clear() -> Iterator[None]:
    yield
    assert this_thread.mask.phase is ThreadPhase.NOTHING
    assert this_thread.mask.bodies == []
    assert this_thread.mask.deferred is None
