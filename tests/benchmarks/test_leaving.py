"""The program that leaves hooks to a worker runs all of them."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.processes import ROOT


def test_all_that_is_left_is_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.leaving", "--calls", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == [
        *("bare", "own", "left", "10 hooks of a worker"),
    ]
