"""`eventflow run`: what a flow is given, what is said of it, and how the process ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke, Spawn


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ("etl --day 2026-01-31", "(datetime.date(2026, 1, 31), 10, None, False)"),
        (
            "etl --day=2026-01-31 --limit -5 --tables a --tables b --dry-run",
            "(datetime.date(2026, 1, 31), -5, ['a', 'b'], True)",
        ),
        (
            'etl --day 2026-01-31 --tables ["c"] --dry_run --no-dry-run',
            "(datetime.date(2026, 1, 31), 10, ['c'], False)",
        ),
        (
            "etl --day 2026-01-31 --tables one --dry-run=yes",
            "(datetime.date(2026, 1, 31), 10, ['one'], True)",
        ),
        ('model --m {"a":1} --several {"a":"2"}', "(Model(a=1), [Model(a=2)])"),
        ('model --m {"a":1} --several [{"a":3}]', "(Model(a=1), [Model(a=3)])"),
        ("unchecked --n 5", "5"),
        ("rest --a x --b 1 --b 2 --c null --other=2", "('x', (1, 2), None, {'other': 2.0})"),
        ("rest --a x --b 1", "('x', (1,), 1, {})"),
        ("anything --x 12", "'12'"),
        ("anything --x=--dashed", "'--dashed'"),
        ("sleeps", "'slept'"),
        ("unshown", "<Unshown instance at"),
    ],
)
def test_parameters_are_converted_by_the_flows_own_types(
    invoke: Invoke, arguments: str, result: str
) -> None:
    """Values given as `--name value` reach the flow as what it declares."""
    flow, *rest = arguments.split()
    ended = invoke("run", f"flows.py:{flow}", *rest)
    assert ended.exit_code == 0, ended.output
    assert f"result   {result}" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("etl", ["Missing parameter: --day (date).", "--limit VALUE", "int, default 10"]),
        ("etl --dai x", ["etl has no parameter --dai. Did you mean --day?"]),
        ("etl --day", ["--day needs a value"]),
        ("etl --day --limit 3", ["--day needs a value", "--day=--value"]),
        ("etl --day x", ["--day (date): Input should be a valid date", "got 'x'"]),
        ("etl 3", ["Unexpected argument '3'; parameters are given by name"]),
        ('model --m {"a":"q"}', ["--m (Model): a: Input should be a valid integer"]),
        ("sleeps --x 3", ["sleeps has no parameter --x.", "sleeps takes no parameters."]),
        ("rest --a 1 --b q", ["--b (int): 0: Input should be a valid integer"]),
        ("rest --a 1 --z q", ["z: Input should be a valid number"]),
    ],
)
def test_arguments_that_do_not_fit_are_usage_errors(
    invoke: Invoke, arguments: str, said: list[str]
) -> None:
    """Nothing is run, the exit code is 2, and the message names parameters and their types."""
    flow, *rest = arguments.split()
    ended = invoke("run", f"flows.py:{flow}", *rest)
    assert ended.exit_code == 2
    assert ended.stdout == ""
    for part in said:
        assert part in ended.stderr


def test_help_after_the_target_explains_the_flow(invoke: Invoke) -> None:
    """The flow's description and parameters are shown, and nothing is run."""
    ended = invoke("run", "flows.py:etl", "--help")
    assert ended.exit_code == 0
    assert "Usage: eventflow run flows.py:etl --day VALUE [--limit VALUE]" in ended.stdout
    assert "Load a day." in ended.stdout
    assert "date, required" in ended.stdout
    assert "--dry-run/--no-dry-run  bool, default False" in ended.stdout


def test_the_summary_counts_and_names_what_failed(invoke: Invoke) -> None:
    """Task counts, the failed run with its error, and the cause are on stdout."""
    ended = invoke("run", "flows.py:maps", "--n", "5")
    assert ended.exit_code == 1
    head, *rows = ended.stdout.splitlines()
    assert head.startswith("✗ maps/")
    assert "  Failed in " in head
    assert rows[0] == "  tasks    4 Completed, 1 Failed"
    assert rows[1].startswith("  failed   ✗ double/")
    assert rows[1].endswith("  ValueError: three")
    assert rows[2] == "  cause    ValueError: three"


def test_subflows_and_generators_and_cancellations_are_told(invoke: Invoke) -> None:
    """Each ends with its own exit code and summary."""
    assert "subflows 1 Completed" in invoke("run", "flows.py:outer").stdout
    assert invoke("run", "flows.py:generates", "--n", "4").exit_code == 0
    failed = invoke("run", "flows.py:agenerates")
    assert failed.exit_code == 1
    assert "cause    ValueError: at the end" in failed.stdout
    cancelled = invoke("run", "flows.py:cancelled")
    assert cancelled.exit_code == 1
    assert "cause    no need" in cancelled.stdout


def test_a_failure_shows_only_the_users_frames(invoke: Invoke) -> None:
    """The traceback leads through the user's file and not through eventflow."""
    ended = invoke("run", "flows.py:maps", "--n", "5")
    assert "in double" in ended.stderr
    assert "ValueError: three" in ended.stderr
    assert "eventflow/engine/" not in ended.stderr
    assert "eventflow/runs/" not in ended.stderr


def test_a_file_is_run_as_python_runs_it(invoke: Invoke, folder: Path) -> None:
    """sys.argv is the file and the arguments, sys.path[0] its folder; it is in sys.modules."""
    ended = invoke("run", "flows.py:argv")
    # The summary shortens what is long.
    assert "(['flows.py'], " in ended.stdout
    assert "'flows'" in ended.stdout


def test_a_crash_is_3_and_its_hooks_have_run(spawn: Spawn) -> None:
    """SystemExit in a body crashes the run: its hook is run, and the exit code is 3."""
    process = spawn("run", "flows.py:exits")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "hook Crashed\n" in out
    assert "cause    SystemExit: 7" in out


@pytest.mark.parametrize("flow", ["waits", "awaits"])
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_have_exit_codes_of_their_own(
    spawn: Spawn, flow: str, signum: signal.Signals, code: int
) -> None:
    """SIGINT ends with 130, SIGTERM with 143, once the run has crashed and its hook has run."""
    process = spawn("run", f"flows.py:{flow}")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "hook Crashed\n" in out
    assert "Crashed in" in out


def test_output_that_is_no_terminal_is_json_lines(spawn: Spawn) -> None:
    """Every line of stderr is one flat JSON object: transitions, logs, and the failure."""
    process = spawn("run", "flows.py:maps", "--n", "4")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "tasks    3 Completed, 1 Failed" in out
    lines = [json.loads(line) for line in err.splitlines()]
    assert all(not isinstance(value, dict | list) for line in lines for value in line.values())
    flow = [line["to_state"] for line in lines if line.get("run_type") == "flow"]
    assert flow == ["Pending", "Running", "Failed"]
    assert {"mapping"} == {line["event"] for line in lines if line.get("n") == 4}
    last = lines[-1]
    assert last["logger"] == "eventflow.run"
    assert last["exception"].endswith("ValueError: three")
    assert "eventflow/engine/" not in last["exception"]


def test_options_choose_what_is_logged(spawn: Spawn) -> None:
    """--no-trace leaves the flow's own logs, --log-format and --log-level say how and what."""
    process = spawn("run", "--no-trace", "--log-format", "console", "flows.py:maps", "--n", "1")
    _, err = process.communicate(timeout=60)
    assert [line.split()[1] for line in err.splitlines()] == ["INFO"]
    assert "mapping n=1" in err
    process = spawn("run", "--log-level", "warning", "flows.py:maps", "--n", "1")
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


def test_a_bad_setting_is_told_before_anything_runs(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the setting, its value, and what is allowed."""
    monkeypatch.setenv("EVENTFLOW_LOG_LEVEL", "LOUD")
    ended = invoke("run", "flows.py:sleeps")
    assert ended.exit_code == 2
    assert "EVENTFLOW_LOG_LEVEL is 'LOUD'" in ended.stderr
