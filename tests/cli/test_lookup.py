"""A run is found by its name, its id or an end of it; a journal is never made to look it up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventflow import settings
from tests.cli.conftest import Invoke
from tests.cli.sample_journal import COMPLETED, Sample, record_run


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "ls"],
        ["deliveries", "ls"],
        ["runs", "show", "x"],
        ["events", "x"],
        ["deliveries", "show", "abcd"],
        ["deliveries", "redrive", "--all"],
        ["cancel", "x"],
        ["replay", "--hook", "flows.py:print_state", "x"],
        ["verify"],
        ["prune"],
        ["recover"],
    ],
)
def test_without_a_journal_nothing_is_made(
    invoke: Invoke, tmp_path: Path, arguments: list[str]
) -> None:
    """Neither home nor file; a command that names something ends with 2, the others with 0."""
    home = settings.EVENTFLOW_HOME.value()
    result = invoke(*arguments)
    looks_up = not {"ls", "verify", "prune", "recover"} & set(arguments)
    assert result.exit_code == (2 if looks_up else 0)
    if arguments != ["recover"]:
        assert f"there is no journal at {home}/journal.db" in result.stderr
    assert not home.exists()


def test_a_run_is_named_by_id_either_end_of_it_or_name(invoke: Invoke, sample: Sample) -> None:
    """Every form that is printed can be used."""
    whole = str(sample.failed)
    for name in (
        *(whole, whole.upper(), sample.failed.hex, sample.failed.hex[-8:]),
        *(whole[:31], "brave-otter", "etl/brave-otter"),
    ):
        result = invoke("runs", "show", name, "--json")
        assert result.exit_code == 0, (name, result.stderr)
        assert json.loads(result.stdout)["id"] == whole


def test_a_name_of_several_runs_is_refused_with_their_ids(invoke: Invoke, sample: Sample) -> None:
    """The message lists all of them."""
    again = record_run(sample.journal, COMPLETED, run_type="flow", name="brave-otter")
    result = invoke("cancel", "brave-otter")
    assert result.exit_code == 2
    assert "'brave-otter' could be any of these; give more of the id:" in result.stderr
    assert {str(again), str(sample.failed)} <= set(result.stderr.split())
    # With the name of the flow it is unique.
    assert invoke("runs", "show", "etl/brave-otter").exit_code == 0


def test_the_first_digits_of_an_id_may_match_several_runs(invoke: Invoke, sample: Sample) -> None:
    """They encode the time; the message lists a few of the matches, and an ellipsis."""
    for _ in range(6):
        record_run(sample.journal, COMPLETED)
    result = invoke("runs", "show", sample.failed.hex[:6])
    assert result.exit_code == 2
    assert result.stderr.endswith("  …\n")
