"""A short campaign against workers: `python -m tests.crash.workers` runs long ones."""

from __future__ import annotations

import pytest

from tests.crash.workers import campaign

pytestmark = [pytest.mark.usefixtures("eventflow_isolated"), pytest.mark.xdist_group("runners")]


def test_killed_workers_leave_no_run_behind_and_touch_no_other() -> None:
    counts = campaign("processes", tasks=120, kills=1, retries=0, seed=1)
    assert counts["Completed"] + counts["Crashed"] == 120
    assert counts["killed"] >= 1
