"""The command `python -m eventflow.recovery`: its exit code, and how often it may follow itself."""

from __future__ import annotations

import subprocess
import sys

from eventflow.journal.contract import Journal, RunQuery
from eventflow.owners.folders import owners_folder
from eventflow.recovery.__main__ import pause_before
from tests.recovery.scripts import RunKilled, owner_folders


def test_the_command_recovers_all_owners(run_killed: RunKilled, journal: Journal) -> None:
    """Without options it recovers every dead owner; its exit code is 0 if that worked."""
    run_killed("@flow\ndef etl(): die()\netl()\n")
    command = [sys.executable, "-m", "eventflow.recovery"]

    assert subprocess.run(command, check=False, timeout=60).returncode == 0

    (run,) = journal.runs(RunQuery())
    assert run.state_name == "Crashed"
    assert subprocess.run([*command, "--owner", "/not/there"], check=False).returncode == 0


def test_a_chain_of_recoveries_has_an_end(run_killed: RunKilled, url: str) -> None:
    """Recoveries that are all killed do not start one another for ever."""
    run_killed("@flow\ndef etl(): die()\netl()\n")
    root = owners_folder(url)
    assert root is not None
    (owner,) = owner_folders(url)

    ended = subprocess.run(
        [
            *(sys.executable, "-m", "eventflow.recovery", "--alone"),
            *("--owner", root / owner, "--generation", "100"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "it was tried 100 times in vain" in ended.stderr
    assert owner_folders(url) == [owner]


def test_a_chain_of_recoveries_slows_down() -> None:
    """Ten follow without a pause; each later one waits longer than the one before."""
    assert {pause_before(generation) for generation in range(1, 11)} == {0.0}
    assert [pause_before(generation) for generation in (11, 12, 50)] == [0.5, 1.0, 20.0]
