"""`eventflow prune` and `eventflow verify`: the journal is kept small and checked."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from eventflow.journal.contract import RunQuery
from tests.cli.conftest import Invoke
from tests.cli.sample_journal import OWNER, Sample
from tests.journal.rows import ARun, commit


def test_prune_deletes_what_is_old(invoke: Invoke, sample: Sample) -> None:
    """By default after the 30 days of the setting."""
    result = invoke("prune")
    assert result.exit_code == 0
    assert result.stdout.startswith("Deleted 1 run with 3 events and 0 deliveries; ")
    assert sample.journal.run(sample.old) is None
    assert invoke("prune", "--older-than", "30d").stdout.startswith("Deleted 0 runs with 0 events")


def test_prune_by_size_keeps_unfinished_runs(invoke: Invoke, sample: Sample) -> None:
    """And says that the size was not reached."""
    result = invoke("prune", "--max-bytes", "1KB", "--json")
    pruned = json.loads(result.stdout)
    assert pruned["runs"] == 4 - len(sample.journal.runs(RunQuery())) + 1
    assert sample.journal.run(sample.running) is not None
    assert "could not be made smaller" in invoke("prune", "--max-bytes", "1").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--older-than", "soon"], "'soon' is no length of time; write 90s"),
        (["--max-bytes", "much"], "'much' is no size; write 500MB"),
    ],
)
def test_prune_explains_its_options(invoke: Invoke, arguments: list[str], message: str) -> None:
    """A mistake in one is wrong usage, and deletes nothing."""
    result = invoke("prune", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_clean_journal_verifies(invoke: Invoke, sample: Sample) -> None:
    """The exit code is 0, and the message has the size of the journal."""
    result = invoke("verify")
    assert result.exit_code == 0
    assert result.stdout.startswith("Nothing is wrong: 5 runs (1 without end), 18 events, 3 deliv")
    document = json.loads(invoke("verify", "--json").stdout)
    assert (document["clean"], document["findings"]) == (True, [])
    assert document["journal"]["unfinished"] == 1


def test_hooks_that_fail_are_listed(invoke: Invoke, sample: Sample) -> None:
    """That is no fault of the journal, and does not change how the command ends."""
    (failing,) = json.loads(invoke("verify", "--json").stdout)["failing_hooks"]
    assert failing["dead"] == 1
    output = invoke("verify").stdout
    assert output.count(failing["hook"]) == 1
    assert "HOOK THAT FAILS" in output


def test_findings_are_listed(invoke: Invoke, sample: Sample) -> None:
    """Each finding with its run; the exit code is 1."""
    # A run whose first transitions are missing.
    now = datetime.now(UTC)
    run = ARun(created=now, named="gappy", number=99, name="load")
    run.sequence = 1
    commit(sample.journal, run.enter("R"), owner=OWNER)
    sample.journal.end(OWNER, "vanished")
    result = invoke("verify")
    assert result.exit_code == 1
    _, *rows = result.stdout.partition("\n\n")[0].splitlines()
    kinds = {row.split("  ")[0] for row in rows}
    assert kinds == {"gap", "abandoned"}
    assert any("load/gappy" in row and run.id.hex[-8:] in row for row in rows)
    document = json.loads(invoke("verify", "--json").stdout)
    assert not document["clean"]
    assert str(sample.running) in {finding["run_id"] for finding in document["findings"]}


def test_a_run_of_a_process_that_was_just_killed_is_a_finding(
    invoke: Invoke, killed_owner: Sample
) -> None:
    """Its owner has no end in the journal yet; only its lock is free."""
    result = invoke("verify", "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["kind"], finding["run_id"]) == ("left behind", str(killed_owner.running))
    assert f"({OWNER}) is gone" in finding["message"]
