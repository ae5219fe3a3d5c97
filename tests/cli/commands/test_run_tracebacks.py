"""A traceback has the user's frames only, and the causes of the exception."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Invoke


def test_a_failure_shows_only_the_users_frames(invoke: Invoke) -> None:
    """And none of eventflow."""
    result = invoke("run", "flows.py:maps", "--n", "5")
    assert "in double" in result.stderr
    assert "ValueError: three" in result.stderr
    assert "eventflow/engine/" not in result.stderr
    assert "eventflow/runs/" not in result.stderr


def test_both_causes_of_a_failure_are_shown(invoke: Invoke, folder: Path) -> None:
    """An exception that came from another, or is a group of them, is shown with them."""
    (folder / "one.py").write_text(
        "from eventflow import flow\n@flow\ndef f():\n    try:\n        1 / 0\n"
        "    except ZeroDivisionError as error:\n"
        "        raise ExceptionGroup('several', [ValueError('one'), KeyError('two')]) from error\n"
    )
    result = invoke("run", "one.py")
    assert result.exit_code == 1
    for part in ("ZeroDivisionError", "direct cause", "several (2 sub-exceptions)", "KeyError"):
        assert part in result.stderr
    assert "eventflow/" not in result.stderr
