"""The comparison with bare executors runs, and says what it has measured."""

from __future__ import annotations

import pytest

from benchmarks import executors


def test_each_side_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    executors.main(["--tasks", "5", "--rounds", "1", "--kind", "processes"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["processes", "journal", "off"],
        ["processes", "journal", "process"],
    ]
    assert all(line.endswith("×") for line in lines)
