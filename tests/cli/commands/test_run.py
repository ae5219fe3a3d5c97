"""`eventflow run`: a flow is run as Python would run it, and logged as the options say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Spawn


def test_a_file_is_run_as_python_runs_it(invoke: Invoke, folder: Path) -> None:
    """sys.argv is the file and the arguments, sys.path[0] its folder; it is in sys.modules."""
    result = invoke("run", "flows.py:argv")
    # The summary shortens long lists.
    assert "(['flows.py'], " in result.stdout
    assert "'flows'" in result.stdout


def test_without_a_terminal_there_are_lines_for_people(spawn: Spawn) -> None:
    """The start, the failure and the end of the run, the user's own lines, and the traceback."""
    process = spawn("run", "flows.py:maps", "--n", "4")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "tasks    3 Completed, 1 Failed" in out
    lines, traceback = err.split("Traceback (most recent call last):\n")
    kinds = [line.split()[1:2] + line.split()[3:4] for line in lines.splitlines()]
    assert kinds == [
        ["INFO", "Started"],
        ["INFO", "mapping"],
        *[["ERROR", "Failed"]] * 2,
    ]
    assert traceback.endswith("ValueError: three\n\n")
    assert "eventflow/engine/" not in err


def test_json_lines_are_asked_for(spawn: Spawn) -> None:
    """Then every line of stderr is one flat JSON object, with --trace also the transitions."""
    process = spawn("run", "--trace", "--log-format", "json", "flows.py:maps", "--n", "4")
    _, err = process.communicate(timeout=60)
    lines = [json.loads(line) for line in err.splitlines()]
    assert all(not isinstance(value, dict | list) for line in lines for value in line.values())
    flow = [line["to_state"] for line in lines if line.get("run_type") == "flow"]
    assert flow == ["Pending", "Running", "Failed"]
    assert {"mapping"} == {line["event"] for line in lines if line.get("n") == 4}
    last = lines[-1]
    assert last["logger"] == "eventflow.run"
    assert last["exception"].endswith("ValueError: three")
    assert "eventflow/engine/" not in last["exception"]


def test_options_select_what_is_logged(spawn: Spawn) -> None:
    """--trace logs each transition in place of start and end; --log-level says how much."""
    process = spawn("run", "--trace", "flows.py:maps", "--n", "1")
    _, err = process.communicate(timeout=60)
    assert err.count("Pending → Running after ") == 2
    assert "Started" not in err
    assert "mapping n=1" in err
    process = spawn("run", "--log-level", "warning", "flows.py:maps", "--n", "1")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


def test_a_bad_setting_ends_with_2_before_anything_runs(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the setting, its value, and what is allowed."""
    monkeypatch.setenv("EVENTFLOW_LOG_LEVEL", "LOUD")
    result = invoke("run", "flows.py:sleeps")
    assert result.exit_code == 2
    assert "EVENTFLOW_LOG_LEVEL is 'LOUD'" in result.stderr
