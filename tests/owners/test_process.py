"""How a process is described, so that another one can load its definitions."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventflow.owners import process
from eventflow.owners.process import boot_id, boot_time, describe, host_id, recovery_program
from tests.journal.elsewhere import ROOT

DESCRIBE = """
import json, os, sys
from eventflow.owners.process import describe
os.chdir("/")
row = describe()
print(json.dumps([row.main_file, row.main_module, row.argv, row.cwd, row.sys_path]))
"""


class Described:
    """A process that describes itself; it runs beside the others."""

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
        """Return the file and the module of its `__main__`."""
        file, module, argv, cwd, sys_path = json.loads(self.process.communicate(self.stdin)[0])
        assert cwd == "/"
        assert all(Path(entry).is_absolute() for entry in sys_path)
        # It can be imported from another folder as well.
        assert self.arguments[-1] in argv or str(self.folder) in sys_path

        return file and Path(file), module


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Create a program that can be started in every way."""
    package = tmp_path / "pkg"
    package.mkdir()
    for file in (tmp_path / "flow.py", package / "mod.py", package / "__main__.py"):
        file.write_text(DESCRIBE)
    (package / "__init__.py").touch()
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", DESCRIBE)

    return tmp_path.resolve()


def test_how_a_process_was_started(program: Path) -> None:
    """The description is enough to load `__main__` again, or shows that nothing can be loaded."""
    package = program / "pkg"
    script, main, archive = program / "flow.py", package / "__main__.py", program / "app.zip"
    expected = [
        (Described(program, "flow.py", "last"), (script, None)),
        (Described(package, "../flow.py", "last"), (script, None)),
        (Described(program, "-m", "pkg.mod"), (package / "mod.py", "pkg.mod")),
        (Described(program, "-m", "pkg"), (main, "pkg.__main__")),
        (Described(program, "pkg", "last"), (main, None)),
        (Described(program, "app.zip", "last"), (archive, None)),
        (Described(program, "-c", DESCRIBE), (None, None)),
        (Described(program, "-", "last", stdin=DESCRIBE), (None, None)),
    ]
    assert [process.main() for process, _ in expected] == [main for _, main in expected]


def test_a_notebook_has_nothing_to_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its `__main__` is not a file, and the file that it may name is not Python."""
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
    """Each has its own id; a deleted folder and odd entries of the path are no obstacle."""
    first, second = describe(), describe()
    assert first.id != second.id
    assert (first.pid, first.host, first.boot) == (os.getpid(), host_id(), boot_id())
    assert first.started <= second.started

    started_in = first.cwd  # no test has changed the folder yet
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(sys, "path", ["", "not/there", Path("/x"), *sys.path])
    gone.rmdir()
    row = describe()
    assert row.cwd == ""
    assert row.sys_path[:2] == (started_in, "not/there")


def test_hosts_and_boots_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not change; that of the host can be set, that of the boot made from the time."""
    assert host_id() == host_id() != ""
    monkeypatch.setenv("EVENTFLOW_HOST_ID", "host-7")
    assert host_id() == "host-7"
    assert boot_id() == boot_id() != ""
    assert boot_time() == boot_time()
    assert boot_time().endswith("Z")


def test_two_machines_of_one_name_without_a_machine_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no file tells the machine's id, as on macOS, its hardware does."""
    hosts = []
    for hardware in (b"a" * 16, b"b" * 16, None):
        monkeypatch.setattr(process, "_first_line", lambda _: "")
        monkeypatch.setattr(ctypes, "CDLL", lambda _, of=hardware: _Libc(of))
        process._host_id.cache_clear()
        hosts.append(host_id())
    process._host_id.cache_clear()
    assert len(set(hosts)) == 3


class _Libc:
    """The one call of macOS that tells the UUID of the hardware, which may fail."""

    def __init__(self, uuid: bytes | None) -> None:
        self.uuid = uuid

    def gethostuuid(self, found: Any, _: object) -> int:
        if self.uuid is None:
            return -1
        found[:] = self.uuid
        return 0


def test_recovery_is_run_as_this_process_was(tmp_path: Path) -> None:
    """With its options; the package is found, and the files of the working folder are not."""
    options = ("-X", "utf8", "-O", "-W", "ignore", "-s")
    code = (
        "from eventflow.owners.process import *; import json; print(json.dumps(recovery_program()))"
    )
    ended = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=ROOT, capture_output=True, check=True
    )
    command = json.loads(ended.stdout)
    assert {"-O", "-s", "-Wignore", "utf8"} <= set(command)

    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    stub = [part.replace("eventflow.recovery", "eventflow.primitives.ids") for part in command]
    subprocess.run([*stub, "--owner", "x"], cwd=tmp_path, check=True)


def test_a_frozen_program_cannot_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no interpreter; unknown warning options are no obstacle."""
    monkeypatch.setattr(subprocess, "_args_from_interpreter_flags", lambda: int("no"))
    assert recovery_program()[:2] == (sys.executable, "-P")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert recovery_program() == ()
