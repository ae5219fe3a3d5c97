"""Parameters of a flow are given as `--name value`, and converted to the types it declares."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Invoke


@pytest.mark.parametrize(
    ("arguments", "expected"),
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
    invoke: Invoke, arguments: str, expected: str
) -> None:
    """The flow gets values of the types it declares."""
    flow, *rest = arguments.split()
    result = invoke("run", f"flows.py:{flow}", *rest)
    assert result.exit_code == 0, result.output
    assert f"result   {expected}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
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
    invoke: Invoke, arguments: str, parts: list[str]
) -> None:
    """Nothing is run, the exit code is 2, and the message names the parameters and their types."""
    flow, *rest = arguments.split()
    result = invoke("run", f"flows.py:{flow}", *rest)
    assert result.exit_code == 2
    assert result.stdout == ""
    for part in parts:
        assert part in result.stderr


def test_help_after_the_target_explains_the_flow(invoke: Invoke) -> None:
    """Its description and parameters are printed, and nothing is run."""
    result = invoke("run", "flows.py:etl", "--help")
    assert result.exit_code == 0
    assert "Usage: eventflow run flows.py:etl --day VALUE [--limit VALUE]" in result.stdout
    assert "Load a day." in result.stdout
    assert "date, required" in result.stdout
    assert "--dry-run/--no-dry-run  bool, default False" in result.stdout
