"""How a process says what it is, and how another one is to load its definitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from eventflow.owners import process
from eventflow.owners.process import boot_id, describe, host_id, recovery_program
from tests.journal.elsewhere import ROOT

SAY = """
import json, os, sys
from eventflow.owners.process import describe
os.chdir("/")
row = describe()
print(json.dumps([row.main_file, row.main_module, row.argv, row.cwd, row.sys_path]))
"""


class Told:
    """What a process says its `__main__` to be; it runs beside the others."""

    def __init__(self, folder: Path, *arguments: str, stdin: str = "") -> None:
        self.folder, self.arguments, self.stdin = folder, arguments, stdin
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def main(self) -> tuple[Path | None, str | None]:
        """Give the file and the module."""
        file, module, argv, cwd, sys_path = json.loads(self.process.communicate(self.stdin)[0])
        assert cwd == "/"
        assert all(Path(one).is_absolute() for one in sys_path)
        # Even from another folder, what could be imported still can.
        assert self.arguments[-1] in argv or str(self.folder) in sys_path

        return file and Path(file), module


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Lay out a program that can be started in every way."""
    package = tmp_path / "pkg"
    package.mkdir()
    for one in (tmp_path / "flow.py", package / "mod.py", package / "__main__.py"):
        one.write_text(SAY)
    (package / "__init__.py").touch()
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", SAY)

    return tmp_path.resolve()


def test_how_a_process_was_started(program: Path) -> None:
    """Every way gives what is needed to load `__main__` again, or says that nothing can."""
    package = program / "pkg"
    script, main, archive = program / "flow.py", package / "__main__.py", program / "app.zip"
    expected = [
        (Told(program, "flow.py", "last"), (script, None)),
        (Told(package, "../flow.py", "last"), (script, None)),
        (Told(program, "-m", "pkg.mod"), (package / "mod.py", "pkg.mod")),
        (Told(program, "-m", "pkg"), (main, "pkg.__main__")),
        (Told(program, "pkg", "last"), (main, None)),
        (Told(program, "app.zip", "last"), (archive, None)),
        (Told(program, "-c", SAY), (None, None)),
        (Told(program, "-", "last", stdin=SAY), (None, None)),
    ]
    assert [told.main() for told, _ in expected] == [main for _, main in expected]


def test_a_notebook_has_nothing_to_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its `__main__` is made up, and a file that it may name is no Python."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert describe()[5:7] == (None, None)
    main.__file__ = str(tmp_path / "analysis.ipynb")
    Path(main.__file__).touch()
    assert describe()[5:7] == (None, None)
    main.__file__ = str(tmp_path / "gone.py")
    assert describe()[5:7] == (None, None)


def test_a_description_is_of_this_process_and_of_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two have two ids; a folder that is gone and an odd path are no obstacle."""
    first, second = describe(), describe()
    assert first.id != second.id
    assert (first.pid, first.host, first.boot) == (os.getpid(), host_id(), boot_id())
    assert first.started <= second.started

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", "not/there", Path("/x"), *sys.path])
    gone.rmdir()
    row = describe()
    assert row.cwd == ""
    assert row.sys_path[:2] == (process._started_in, "not/there")


def test_hosts_and_boots_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Always the same ones here; the host's can be given, and both without help of the system."""
    assert host_id() == host_id() != ""
    monkeypatch.setenv("EVENTFLOW_HOST_ID", "host-7")
    assert host_id() == "host-7"
    assert boot_id() == boot_id() != ""
    assert process._booted().endswith("Z")
    assert process._first_line("/not/there") == ""


def test_recovery_is_run_as_this_process_was(tmp_path: Path) -> None:
    """With its options; the package is found, and no file of the working folder is."""
    options = ("-X", "utf8", "-O", "-W", "ignore", "-s")
    code = (
        "from eventflow.owners.process import *; import json; print(json.dumps(recovery_program()))"
    )
    said = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, check=True
    )
    command = json.loads(said.stdout)
    assert {"-O", "-s", "-Wignore", "utf8"} <= set(command)

    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    stub = [one.replace("eventflow.recovery", "eventflow.primitives.ids") for one in command]
    subprocess.run([*stub, "--owner", "x"], cwd=tmp_path, check=True)


def test_a_frozen_program_cannot_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no interpreter then; odd warning options are no obstacle."""
    monkeypatch.setattr(subprocess, "_args_from_interpreter_flags", lambda: int("no"))
    assert recovery_program()[:2] == (sys.executable, "-P")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert recovery_program() == ()
