"""The entry point: its version, its commands, and the error when its packages are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from eventflow.cli import main
from tests.cli.conftest import ROOT, Invoke


def test_version(invoke: Invoke) -> None:
    """`eventflow --version` gives the version of the distribution."""
    assert invoke("--version").stdout == f"eventflow {version('eventflow-runtime')}\n"


def test_main_runs_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The console script is this function."""
    monkeypatch.setattr(sys, "argv", ["eventflow", "--help"])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 0
    assert "Usage: eventflow [OPTIONS] COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["click", "rich"])
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:
    """Without the extra, the error says what to install, and the exit code is 2."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 2
    message = capsys.readouterr().err
    assert f"needs the package {package!r}" in message
    assert "pip install 'eventflow-runtime[cli]'" in message


def test_help_names_every_command_and_loads_no_database(tmp_path: Path) -> None:
    """And makes no file in the home."""
    # Removed first, because coverage may have loaded one of them.
    program = (
        "import sys; sys.argv = ['eventflow', '--help']\n"
        "[sys.modules.pop(name, None) for name in ('sqlite3', '_sqlite3', 'psycopg')]\n"
        "from eventflow.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'sqlite3', '_sqlite3', 'psycopg'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    *lines, loaded = result.stdout.splitlines()
    assert loaded == "[]"
    commands = lines[lines.index("Commands:") + 1 :]
    names = [line.split()[0] for line in commands]
    assert names == [
        *("run", "runs", "events", "logs", "tail", "serve", "cancel", "deliveries", "replay"),
        *("hooks", "block", "recover", "work", "prune", "verify", "port"),
    ]
    assert not any(line.endswith("...") for line in commands)
    assert not (tmp_path / "home").exists()


def test_an_error_of_the_system_is_a_message(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback, in any command."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere/journal.db")

    monkeypatch.setattr(click.Group, "invoke", refuse)
    result = invoke("runs", "ls")
    assert result.exit_code == 1
    assert "Permission denied: '/somewhere/journal.db'" in result.stderr
    assert "Traceback" not in result.output
