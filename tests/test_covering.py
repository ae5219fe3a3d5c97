"""Tests are measured by a coverage that an interrupt cannot leave locked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

MEASURED = """
import threading, types
import coverage
from tests.covering import harden

def called():
    return 1

def look():
    tracer = coverage.Coverage.current()._collector.tracers[-1]
    types_of_lock.append((type(tracer.lock_data), type(tracer.unlock_data)))

types_of_lock = []
assert harden()
called()
look()
later = threading.Thread(target=look)
later.start()
later.join()
assert types_of_lock == [(types.BuiltinMethodType, types.BuiltinMethodType)] * 2, types_of_lock
"""


def test_the_lock_is_taken_without_a_step_of_python(tmp_path: Path) -> None:
    """By the threads that are there and by those that come; and what runs is still measured."""
    script = tmp_path / "measured.py"
    script.write_text(MEASURED)
    run = [sys.executable, "-m", "coverage"]
    options = ["--rcfile=", "--concurrency=thread", "--branch", f"--data-file={tmp_path / 'data'}"]
    environment = {"PYTHONPATH": str(ROOT), "COVERAGE_CORE": "ctrace"}
    subprocess.run([*run, "run", *options, script], check=True, env=environment, cwd=tmp_path)
    report = [
        *run,
        "report",
        "--rcfile=",
        f"--data-file={tmp_path / 'data'}",
        "--include=*measured*",
    ]
    shown = subprocess.run(report, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    assert "100%" in shown.stdout.splitlines()[-1]


def test_where_nothing_is_measured_there_is_nothing_to_do(tmp_path: Path) -> None:
    """Most runs of the tests measure nothing."""
    code = "from tests.covering import harden; raise SystemExit(harden())"
    environment = {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
