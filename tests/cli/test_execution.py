"""The exit code of `eventflow run` is that of the flow's end, of whatever kind the flow is."""

from __future__ import annotations

import signal

import pytest

from tests.cli.conftest import Invoke, Spawn


def test_generators_and_cancellations_have_exit_codes(invoke: Invoke) -> None:
    """0 for a generator that ends, 1 for a failure or a cancellation, with the cause shown."""
    assert invoke("run", "flows.py:generates", "--n", "4").exit_code == 0
    failed = invoke("run", "flows.py:agenerates")
    assert failed.exit_code == 1
    assert "cause    ValueError: at the end" in failed.stdout
    cancelled = invoke("run", "flows.py:cancelled")
    assert cancelled.exit_code == 1
    assert "cause    no need" in cancelled.stdout


def test_a_crash_is_3_and_its_hooks_have_run(spawn: Spawn) -> None:
    """A SystemExit in the body crashes the run."""
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
