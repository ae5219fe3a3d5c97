"""Past runs are restored as they were, with their flow or task where that can be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.cli.sample_journal import Sample

HOOKS = """
from eventflow import flow

@flow
def etl(day: str, limit: int): ...

def show(definition, run, state):
    print("SHOW", definition is etl, dict(run.parameters), sorted(run.tags), run.id)
    print("SHOW", run.end_time is None, run.total_run_time.total_seconds(), run.cancel())
"""


@pytest.fixture(autouse=True)
def hooks(folder: Path) -> None:
    """Write the hook that the runs are given to."""
    (folder / "later.py").write_text(HOOKS)


def shown(output: str) -> list[str]:
    """Return the lines that the hook printed."""
    return [line.removeprefix("SHOW ") for line in output.splitlines() if line.startswith("SHOW")]


def test_a_run_is_restored_with_its_flow(invoke: Invoke, sample: Sample, folder: Path) -> None:
    """Parameters, tags, id and times are those of the run; it cannot be cancelled."""
    (folder / "etl.py").write_text("from later import etl\n")
    result = invoke("replay", "--hook", "later.py:show", "brave-otter")
    lines = shown(result.stdout)
    facts = f"{{'day': '2026-01-31', 'limit': 10}} ['eu', 'prod'] {sample.failed}"
    assert lines[0] == f"True {facts}"
    assert lines[1] == "True 0.0 False"
    assert lines[-1] == "False 2.0 False"


def test_importing_the_flow_runs_nothing(invoke: Invoke, sample: Sample, folder: Path) -> None:
    """The import of a script without `__main__` guard ends where it calls a flow."""
    (folder / "etl.py").write_text(
        "from eventflow import flow\n@flow\ndef other():\n    print('RAN')\nother()\n"
    )
    result = invoke("replay", "--hook", "later.py:show", "brave-otter")
    assert result.exit_code == 0
    assert "RAN" not in result.stdout
    assert shown(result.stdout)[0].startswith("False {'day'")
