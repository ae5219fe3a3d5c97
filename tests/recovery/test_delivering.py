"""A hook is fetched once the attempt to run it is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.recovery.supervisor import recover
from tests.recovery.scripts import ReadTold, RunKilled, deliveries

SCRIPT = """
def named(flow, run, state): tell("named")

import alerts

@flow(on_crashed=[alerts.page, named])
def main(): die()

if __name__ == "__main__":
    main()
"""


def test_a_file_that_kills_whoever_loads_it_uses_up_the_attempts(
    run_killed: RunKilled, url: str, journal: Journal, tmp_path: Path, read_told: ReadTold
) -> None:
    """The run is Crashed, and owes its hooks, before it is loaded; then they are dead letters."""
    alerts = tmp_path / "alerts.py"
    alerts.write_text("def page(flow, run, state): ...\n")
    run_killed(SCRIPT)
    killing = "import os\nopen('loaded', 'a').write('x')\nos.kill(os.getpid(), 9)\n"
    alerts.write_text(f"{killing}{alerts.read_text()}")

    reports = recover(url)

    assert [report.problem for report in reports if report.problem] == []
    (run,) = journal.runs(RunQuery())
    assert run.state_name == "Crashed"
    # The second hook is in a file that imports the first one.
    assert (tmp_path / "loaded").read_text() == "xxxxxx"
    assert deliveries(journal) == [("alerts:page", "dead", 3), ("__main__:named", "dead", 3)]
    for dead in journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD])):
        assert "the process ended in each of 3 attempts" in (dead.error or "")
    assert read_told() == []
    assert journal.verify() == []


def test_a_dead_delivery_is_told_with_its_reason(
    run_killed: RunKilled,
    url: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the log, as an error, with what to do about it."""
    monkeypatch.setenv("EVENTFLOW_LOG_FORMAT", "json")
    (tmp_path / "alerts.py").write_text("def page(flow, run, state): ...\n")
    run_killed(SCRIPT)
    (tmp_path / "alerts.py").unlink()
    capfd.readouterr()

    (report,) = recover(url)

    assert (report.crashed, report.dead, report.problem) == (1, 1, None)
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line[:1] == "{"]
    (line,) = [line for line in logged if "hook" in line]
    assert line["level"] == "error"
    assert line["hook"] == "alerts:page"
    assert "alerts cannot be loaded: ModuleNotFoundError" in line["event"]
    assert "deliveries redrive" in line["event"]
