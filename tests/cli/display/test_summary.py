"""The summary of a run counts its tasks, names what failed, and shows the result."""

from __future__ import annotations

from tests.cli.conftest import Invoke


def test_the_summary_counts_and_names_what_failed(invoke: Invoke) -> None:
    """Task counts, the failed run with its error, and the cause are on stdout."""
    result = invoke("run", "flows.py:maps", "--n", "5")
    assert result.exit_code == 1
    head, *rows = result.stdout.splitlines()
    assert head.startswith("✗ maps/")
    assert "  Failed in " in head
    assert rows[0] == "  tasks    4 Completed, 1 Failed"
    assert rows[1].startswith("  failed   ✗ double-")
    assert rows[1].endswith("  ValueError: three")
    assert rows[2] == "  cause    ValueError: three"


def test_the_summary_of_states_that_decide_together(invoke: Invoke) -> None:
    """The cause is how many failed, and the error of the first, whose traceback is shown."""
    result = invoke("run", "flows.py:several", "--n", "5")
    assert result.exit_code == 1
    assert "  cause    1/5 states failed. ValueError: three" in result.stdout.splitlines()
    assert "ValueError: three" in result.stderr


def test_the_summary_counts_subflows(invoke: Invoke) -> None:
    """On a line of their own."""
    assert "subflows 1 Completed" in invoke("run", "flows.py:outer").stdout
