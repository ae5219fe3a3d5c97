"""Whatever point a process is killed at, every hook that is owed runs, and every run ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.crash.explorer import cases, main, spread
from tests.crash.kills import (
    COMMAND,
    EAGER,
    GUARDIAN,
    LAZY,
    RECOVERY,
    TWICE,
    WITHIN_SECONDS,
    Case,
    Explorer,
    Point,
)

SOME = ("failing flow", "retries of a hook", "async subflow", "submitted")
"""The workloads that points are sampled from; the command line explores all points of all."""


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """Yield an explorer, whose fork servers start once; each case has a home of its own."""
    explorer = Explorer(tmp_path_factory.mktemp("crash"))
    yield explorer
    explorer.close()


def found_violations(explorer: Explorer, chosen: list[Case]) -> dict[str, list[str]]:
    """Return the violations of the cases, most of which must have killed a process."""
    outcomes = list(explorer.all(explorer.explore, chosen))
    assert sum(outcome.kills for outcome in outcomes) >= len(chosen) * 0.8

    return {str(each.case): each.violations for each in outcomes if each.violations}


def test_kills_everywhere(explorer: Explorer) -> None:
    """At points of every kind, recovered by hand."""
    assert found_violations(explorer, spread(cases(explorer, [RECOVERY], SOME), 30)) == {}


def test_kills_with_a_guardian(explorer: Explorer) -> None:
    """The guardian recovers its owner by itself."""
    points = [
        Case(GUARDIAN, "flow", Point("record.store half", 4)),
        Case(GUARDIAN, "subflow", Point("body after", 2)),
        Case(GUARDIAN, "submitted", Point("hook after", 4), EAGER),
        Case(GUARDIAN, "retries of a hook", Point("paying after", 1), EAGER),
        Case(GUARDIAN, "async task", Point("hook before", 2)),
        Case(GUARDIAN, "async submitted", Point("record after", 5), EAGER),
        Case(GUARDIAN, "hooks by value", Point("body after", 1)),
        Case(GUARDIAN, "forking", Point("hook after", 4)),
    ]

    assert found_violations(explorer, points) == {}


def test_kills_of_guardian_and_owner(explorer: Explorer) -> None:
    """If the guardian is killed with its owner, `eventflow recover` recovers it."""
    points = [
        Case(COMMAND, "failing flow", Point("hook after", 2)),
        Case(COMMAND, "async subflow", Point("body before", 3), EAGER),
    ]

    assert found_violations(explorer, points) == {}


def test_kills_of_the_recovery(explorer: Explorer) -> None:
    """A recovery that is killed, at any point, is finished by the next one."""
    assert found_violations(explorer, spread(cases(explorer, [TWICE], SOME), 10)) == {}


def test_all_runs_end_within_two_seconds(explorer: Explorer) -> None:
    """From the kill to the end of the last run; on a busy machine, within three start-up times."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import eventflow.recovery"], check=True)
    start = time.monotonic() - began
    outcome = explorer.explore(Case(GUARDIAN, "subflow", Point("body after", 3), LAZY))

    assert outcome.violations == []
    assert outcome.kills == 1
    assert 0 < outcome.seconds < max(WITHIN_SECONDS, 3 * start)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line prints a table, and ends with 0 if no invariant is violated."""
    assert main(["--way", "recovery", "--workload", "flow", "--count", "4"]) == 0

    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["all", "4"]
