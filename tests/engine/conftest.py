"""Each kind of run for the tests that ask for one."""

from __future__ import annotations

import pytest

from tests.engine.kinds import KINDS, Kind


@pytest.fixture(params=KINDS, ids=lambda kind: f"{'async ' * kind.is_async}{kind.run_type}")
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen
