"""No calls of hooks are left over from another test."""

from __future__ import annotations

import pytest

from tests.hooks.callables import calls


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()
