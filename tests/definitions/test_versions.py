"""The default version of a flow: a hash of its file, where there is one, when it is asked for."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.definitions.versions import file_version
from eventflow.journal.contract import RunQuery
from eventflow.testing import Isolated
from tests.journal.reading import written

SOURCE = "from eventflow import flow, task\n@flow\ndef etl(): ...\n@task\ndef load(): ...\n"


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("versioned", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    return module


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a file that defines a flow and a task; no bytecode of it is kept."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "versioned.py"
    path.write_text(SOURCE)

    return path


def test_the_version_changes_with_the_file(file: Path) -> None:
    """It is short, the same for the same content, and one that is declared takes its place."""
    first, again = loaded(file).etl, loaded(file).etl
    version = first.version
    assert re.fullmatch("[0-9a-f]{8}", version)
    assert again.version == version

    file.write_text(SOURCE + "# changed\n")
    assert first.version == version
    assert loaded(file).etl.version != version
    assert first.with_options(tags=["a"]).version == version
    assert first.with_options(version="7").version == "7"
    assert first.with_options(version="7").with_options(version=None).version == version


def test_a_task_has_only_the_version_that_is_declared(file: Path) -> None:
    """As in Prefect."""
    assert loaded(file).load.version is None
    assert loaded(file).load.with_options(version="7").version == "7"


def test_the_file_is_not_read_before_it_is_asked_for(file: Path) -> None:
    """Defining a flow reads nothing: the version is that of the file at the first question."""
    etl = loaded(file).etl
    file.write_text(SOURCE + "# changed\n")

    assert etl.version == loaded(file).etl.version


def test_a_run_reads_no_file(eventflow_isolated: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has the version that was declared, and none by default."""

    def read(function: object) -> str:
        raise AssertionError("a run has asked for the version")

    monkeypatch.setattr("eventflow.flows.file_version", read)

    @flow(on_completion=[lambda *_: None])
    def etl() -> None: ...

    etl()
    etl.with_options(version="7")()

    assert {row.version for row in written().runs(RunQuery(run_type="flow"))} == {None, "7"}


def test_where_there_is_no_file(tmp_path: Path) -> None:
    """At a prompt, in a notebook, in an archive, in C, or of a file that is gone: no version."""
    namespace: dict[str, Any] = {}
    for name in ("<stdin>", "/tmp/ipykernel_1/2.py", str(tmp_path), ""):
        exec(compile("def typed(): ...", name, "exec"), namespace)
        assert flow(namespace["typed"]).version is None
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", SOURCE)
    path = str(tmp_path / "app.zip" / "__main__.py")
    exec(compile("def zipped(): ...", path, "exec"), namespace)

    assert flow(namespace["zipped"]).version is None
    assert file_version(len) is None


class Called:
    def __call__(self) -> None: ...


def wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class Store:
    @flow
    def method(self) -> None: ...

    @staticmethod
    @flow
    def standard() -> None: ...


def test_callables_of_all_kinds(file: Path) -> None:
    """The file is that of the function behind partials, decorators, objects and methods."""
    here = file_version(test_callables_of_all_kinds)
    assert here is not None

    for function in (functools.partial(wrapped, 1), Called(), Called().__call__):
        assert flow(function).version == here
    assert Store().method.version == Store.method.version == here
    assert Store.standard.version == here
    module = loaded(file)
    assert flow(wrapped(module.etl.fn)).version == module.etl.version


def test_a_task_is_given_a_version() -> None:
    """It is read back."""
    assert task(version="2")(lambda: None).version == "2"
