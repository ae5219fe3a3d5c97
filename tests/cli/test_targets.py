"""What the command line says of files, modules and flows that are not as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Invoke


@pytest.mark.parametrize(
    ("target", "said"),
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
def test_a_target_that_is_not_there_is_told(
    invoke: Invoke, folder: Path, target: str, said: list[str]
) -> None:
    """The exit code is 2, and the message names what there is."""
    (folder / "empty.py").touch()
    ended = invoke("run", target)
    assert ended.exit_code == 2
    for part in said:
        assert part in ended.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def broken(:\n    pass\n", ["SyntaxError", 'broken.py", line 1']),
        ("import missing_module\n", ["ModuleNotFoundError: No module named 'missing_module'"]),
        ("def f():\n    1 / 0\nf()\n", ["ZeroDivisionError", "in f\n", "1 / 0"]),
        ("import sys\nsys.exit('early')\n", ["SystemExit: early"]),
    ],
)
@pytest.mark.parametrize("target", ["broken.py:f", "broken:f"])
def test_a_file_that_does_not_import_shows_the_users_traceback(
    invoke: Invoke, folder: Path, target: str, source: str, said: list[str]
) -> None:
    """The traceback has the user's frames and none of eventflow or the import system."""
    (folder / "broken.py").write_text(source)
    ended = invoke("run", target)
    assert ended.exit_code == 2
    assert "does not import." in ended.stderr
    for part in said:
        assert part in ended.stderr
    assert "importlib" not in ended.stderr
    assert "eventflow/cli" not in ended.stderr


def test_an_only_flow_need_not_be_named(invoke: Invoke, folder: Path) -> None:
    """The one flow that a file defines is run, whatever it imports besides, under any name."""
    (folder / "one.py").write_text(
        "from flows import etl\nfrom eventflow import flow\n"
        "@flow(name='the one')\ndef only():\n    return 'only'\nalias = only\n"
    )
    for target in ("one.py", "one", "one.py:only", "one.py:the one", str(folder / "one.py")):
        ended = invoke("run", target)
        assert ended.exit_code == 0, ended.stderr
        assert "✓ the one/" in ended.stdout
    (folder / "two.py").write_text("from one import only\n")
    assert invoke("run", "two.py").exit_code == 0


def test_a_file_named_like_a_loaded_module_does_not_take_its_place(
    invoke: Invoke, folder: Path
) -> None:
    """`json.py` runs, and `json` stays what it was."""
    (folder / "json.py").write_text("from eventflow import flow\n@flow\ndef f(): return __name__\n")
    ended = invoke("run", "json.py:f")
    assert ended.exit_code == 0
    assert "result   'json_" in ended.stdout


def test_a_flow_in_a_class_is_reached_by_its_dotted_name(invoke: Invoke, folder: Path) -> None:
    """`FILE.py:Class.flow` names a static method."""
    (folder / "one.py").write_text(
        "from eventflow import flow\nclass C:\n    @staticmethod\n    @flow\n"
        "    def inner(): return 'in a class'\n"
    )
    ended = invoke("run", "one.py:C.inner")
    assert "result   'in a class'" in ended.stdout


def test_an_interrupt_while_a_file_loads_is_130(invoke: Invoke, folder: Path) -> None:
    """Ctrl-C is not a mistake in the file."""
    (folder / "one.py").write_text("raise KeyboardInterrupt\n")
    ended = invoke("run", "one.py")
    assert ended.exit_code == 130
    assert ended.stderr == "Interrupted.\n"


def test_both_causes_of_a_failure_are_shown(invoke: Invoke, folder: Path) -> None:
    """An exception that came from another, or is a group of them, is shown with them."""
    (folder / "one.py").write_text(
        "from eventflow import flow\n@flow\ndef f():\n    try:\n        1 / 0\n"
        "    except ZeroDivisionError as error:\n"
        "        raise ExceptionGroup('several', [ValueError('one'), KeyError('two')]) from error\n"
    )
    ended = invoke("run", "one.py")
    assert ended.exit_code == 1
    for part in ("ZeroDivisionError", "direct cause", "several (2 sub-exceptions)", "KeyError"):
        assert part in ended.stderr
    assert "eventflow/" not in ended.stderr


def test_a_file_without_a_py_ending_is_run(invoke: Invoke, folder: Path) -> None:
    """What is a file is taken for one."""
    (folder / "script").write_text("from eventflow import flow\n@flow\ndef f(): return 1\n")
    assert invoke("run", "script:f").exit_code == 0
    assert invoke("run", "script").exit_code == 0
