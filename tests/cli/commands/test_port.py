"""`eventflow port`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

WHOLE = "from prefect import flow\n"
LEFT = "from prefect import flow, serve\n"


def test_a_program_that_is_ported_whole(invoke: Invoke, folder: Path) -> None:
    """Nothing is written without `--write`; it ends with 0, then and afterwards."""
    file = folder / "etl.py"
    file.write_text(WHOLE)

    result = invoke("port", "etl.py")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == (
        "1 file of 1 to be rewritten, by --write; 0 places left to do by hand.\n"
    )
    assert file.read_text() == WHOLE

    result = invoke("port", "etl.py", "--write")
    assert result.exit_code == 0
    assert result.stderr == "1 file of 1 rewritten; 0 places left to do by hand.\n"
    assert file.read_text() == "from eventflow import flow\n"

    result = invoke("port", ".", "--write")
    assert result.exit_code == 0
    assert result.stderr == "Nothing to rewrite in 2 files; 0 places left to do by hand.\n"


def test_what_is_left_to_do(invoke: Invoke, folder: Path) -> None:
    """The file, the line, what it was and what to do; it ends with 1 until that is done."""
    (folder / "etl.py").write_text(f"\n{LEFT}")
    for options, line in ((), 2), (("--write",), 3), ((), 3):
        result = invoke("port", "etl.py", *options)
        assert result.exit_code == 1
        title, only = result.stdout.splitlines()
        assert title.split("  ")[0] == "LEFT TO DO IN"
        assert only.startswith(f"etl.py:{line}")
        assert "serve  There are no deployments" in only
        assert result.stderr.endswith("; 1 place left to do by hand.\n")


def test_the_changes_are_shown(invoke: Invoke, folder: Path) -> None:
    """With `--diff`, beside what is left."""
    (folder / "etl.py").write_text(LEFT)
    lines = invoke("port", "etl.py", "--diff").stdout.splitlines()

    assert lines[:6] == [
        "--- etl.py",
        "+++ etl.py",
        "@@ -1 +1,2 @@",
        "-from prefect import flow, serve",
        "+from eventflow import flow",
        "+from prefect import serve",
    ]


def test_json(invoke: Invoke, folder: Path) -> None:
    """One object for each file that there is something to say about."""
    (folder / "etl.py").write_text(LEFT)
    result = invoke("port", ".", "--json", "--write")
    (file,) = json.loads(result.stdout)
    (left,) = file.pop("left")

    assert result.exit_code == 1
    assert "+from eventflow import flow" in file.pop("diff")
    assert file == {"file": "etl.py", "changed": True, "written": True}
    assert left.pop("advice").startswith("There are no deployments")
    assert left == {"line": 2, "column": 21, "what": "serve"}


def test_a_file_that_cannot_be_read(invoke: Invoke, folder: Path) -> None:
    """It is left to do, with the line of the error; the others are ported."""
    (folder / "bad.py").write_text("from prefect import flow\nif :\n")
    (folder / "etl.py").write_text(WHOLE)
    result = invoke("port", "bad.py", "etl.py", "--write")

    assert result.exit_code == 1
    assert "bad.py:2" in result.stdout
    assert (folder / "etl.py").read_text() == "from eventflow import flow\n"


def test_a_path_that_there_is_not(invoke: Invoke) -> None:
    result = invoke("port", "nothing.py")
    assert result.exit_code == 2
    assert "'nothing.py' does not exist" in result.stderr


def test_the_missing_extra_is_named(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to install, and ends with 2."""
    monkeypatch.setitem(sys.modules, "libcst", None)
    result = invoke("port", ".")

    assert result.exit_code == 2
    assert "needs the package 'libcst'" in result.stderr
    assert "pip install 'eventflow-runtime[port]'" in result.stderr
