"""A target is loaded as Python would; errors name what is wrong and what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("nope.py:etl", ["There is no file nope.py."]),
        ("flow.py:etl", ["There is no file flow.py. Did you mean flows.py?"]),
        ("here/", ["There is no file here/."]),
        ("nomodule:etl", ["There is no module 'nomodule'.", "FILE.py:flow"]),
        ("flows.py:elt", ["flows.py has no flow 'elt'. Did you mean etl?", "Flows there: "]),
        ("flows:zzz", ["flows has no flow 'zzz'.\nFlows there: "]),
        ("flows.py:double", ["flows.py:double is a task, not a flow."]),
        ("flows.py:plain", ["flows.py:plain is of type function, not a flow."]),
        ("flows.py", ["flows.py defines ", "name one, as in flows.py:"]),
        ("empty.py", ["empty.py defines no flow; decorate a function with @flow."]),
        (".:etl", [". is a folder; name the file in it that defines the flow."]),
    ],
)
def test_a_target_that_does_not_exist_is_an_error(
    invoke: Invoke, folder: Path, target: str, parts: list[str]
) -> None:
    """The exit code is 2, and the message lists the flows that there are."""
    (folder / "empty.py").touch()
    result = invoke("run", target)
    assert result.exit_code == 2
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("def broken(:\n    pass\n", ["SyntaxError", 'broken.py", line 1']),
        ("import missing_module\n", ["ModuleNotFoundError: No module named 'missing_module'"]),
        ("def f():\n    1 / 0\nf()\n", ["ZeroDivisionError", "in f\n", "1 / 0"]),
        ("import sys\nsys.exit('early')\n", ["SystemExit: early"]),
    ],
)
@pytest.mark.parametrize("target", ["broken.py:f", "broken:f"])
def test_a_file_that_does_not_import_shows_the_users_traceback(
    invoke: Invoke, folder: Path, target: str, source: str, parts: list[str]
) -> None:
    """The traceback has the user's frames and none of eventflow or the import system."""
    (folder / "broken.py").write_text(source)
    result = invoke("run", target)
    assert result.exit_code == 2
    assert "does not import." in result.stderr
    for part in parts:
        assert part in result.stderr
    assert "importlib" not in result.stderr
    assert "eventflow/cli" not in result.stderr


def test_the_only_flow_need_not_be_named(invoke: Invoke, folder: Path) -> None:
    """Flows that the file imports do not count, and it has several names."""
    (folder / "one.py").write_text(
        "from flows import etl\nfrom eventflow import flow\n"
        "@flow(name='the one')\ndef only():\n    return 'only'\nalias = only\n"
    )
    for target in ("one.py", "one", "one.py:only", "one.py:the one", str(folder / "one.py")):
        result = invoke("run", target)
        assert result.exit_code == 0, result.stderr
        assert "✓ the one/" in result.stdout
    (folder / "two.py").write_text("from one import only\n")
    assert invoke("run", "two.py").exit_code == 0


def test_a_file_named_like_a_loaded_module_does_not_take_its_place(
    invoke: Invoke, folder: Path
) -> None:
    """`json.py` runs, and `json` stays what it was."""
    (folder / "json.py").write_text("from eventflow import flow\n@flow\ndef f(): return __name__\n")
    result = invoke("run", "json.py:f")
    assert result.exit_code == 0
    assert "result   'json_" in result.stdout


def test_a_flow_in_a_class_is_reached_by_its_dotted_name(invoke: Invoke, folder: Path) -> None:
    """`FILE.py:Class.flow` names a static method."""
    (folder / "one.py").write_text(
        "from eventflow import flow\nclass C:\n    @staticmethod\n    @flow\n"
        "    def inner(): return 'in a class'\n"
    )
    result = invoke("run", "one.py:C.inner")
    assert "result   'in a class'" in result.stdout


@pytest.mark.parametrize("name", ["load_all", "load-all"])
def test_a_flow_that_no_variable_is_named_after(invoke: Invoke, folder: Path, name: str) -> None:
    """It is found by its name, and by that of its function."""
    (folder / "one.py").write_text(
        "from eventflow import flow\ndef made():\n"
        "    @flow\n    def load_all(): return 1\n    return load_all\n"
        "whole, other = made(), flow(made)\n"
    )
    result = invoke("run", f"one.py:{name}")
    assert result.exit_code == 0
    assert "load-all" in result.stdout


def test_an_interrupt_while_a_file_loads_is_130(invoke: Invoke, folder: Path) -> None:
    """Ctrl-C is no error of the file."""
    (folder / "one.py").write_text("raise KeyboardInterrupt\n")
    result = invoke("run", "one.py")
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"


def test_a_file_without_a_py_ending_is_run(invoke: Invoke, folder: Path) -> None:
    """An existing file is a file, whatever its name."""
    (folder / "script").write_text("from eventflow import flow\n@flow\ndef f(): return 1\n")
    assert invoke("run", "script:f").exit_code == 0
    assert invoke("run", "script").exit_code == 0
