"""`eventflow block`: list, show, delete, register."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eventflow.blocks import Secret, String
from eventflow.settings import EVENTFLOW_HOME, temporary_settings
from tests.cli.conftest import Invoke


@pytest.fixture(autouse=True)
def saved(eventflow_isolated: object) -> None:
    """Save two blocks, one of them secret."""
    String(value="hello").save("greeting")
    Secret(value="hunter2").save("password")


def test_ls_lists_what_is_saved(invoke: Invoke) -> None:
    """As lines in a pipe, as JSON, and by type."""
    lines = invoke("block", "ls").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["secret/password", "string/greeting"]
    (only,) = json.loads(invoke("block", "ls", "--type", "string", "--json").stdout)
    assert only["block"] == "string/greeting"
    assert only["data"] == {"value": "hello"}


def test_ls_of_an_empty_store(invoke: Invoke, folder: Path) -> None:
    """The message is on stderr, so that a program reads an empty list."""
    with temporary_settings({EVENTFLOW_HOME: folder / "empty"}):
        result = invoke("block", "ls")
        assert (result.stdout, result.stderr) == ("", "No blocks are saved.\n")
        assert invoke("block", "ls", "--json").stdout == "[]\n"


def test_inspect_masks_secrets(invoke: Invoke) -> None:
    """A block is shown field by field; a secret is not."""
    shown = invoke("block", "inspect", "string/greeting").stdout
    assert shown.splitlines()[1] == "value\thello"
    for form in ([], ["--json"]):
        masked = invoke("block", "inspect", "secret/password", *form)
        assert "********" in masked.stdout
        assert "hunter2" not in masked.output


def test_delete(invoke: Invoke) -> None:
    """Deleted blocks are named, and no longer listed."""
    assert invoke("block", "delete", "string/greeting").stdout == "Deleted string/greeting.\n"
    (deleted,) = json.loads(invoke("block", "delete", "secret/password", "--json").stdout)
    assert deleted["block"] == "secret/password"
    assert invoke("block", "ls", "--json").stdout == "[]\n"


@pytest.mark.parametrize("command", ["inspect", "delete"])
def test_an_unknown_block_is_an_error(invoke: Invoke, command: str) -> None:
    """An unknown name ends with 1 and the nearest known name; a name without type with 2."""
    result = invoke("block", command, "string/greting")
    assert result.exit_code == 1
    assert "Did you mean 'greeting'?" in result.stderr
    result = invoke("block", command, "greeting")
    assert result.exit_code == 2
    assert "write TYPE/NAME" in result.stderr


def test_register_lists_the_types_of_a_file(invoke: Invoke, folder: Path) -> None:
    """The types that a file or module defines are listed with their fields."""
    (folder / "kinds.py").write_text(
        "from eventflow.blocks import Block, String\n"
        "class MyService(Block):\n    host: str\n    port: int = 80\n"
    )
    (registered,) = json.loads(invoke("block", "register", "kinds.py", "--json").stdout)
    assert registered == {
        "type": "my-service",
        "class": "kinds:MyService",
        "fields": ["host", "port"],
    }
    listed = invoke("block", "register", "kinds").stdout
    assert listed == "my-service\tMyService\thost, port\n"
    assert "string\tString" in invoke("block", "register", "eventflow.blocks").stdout


def test_register_refuses_what_defines_no_block(invoke: Invoke) -> None:
    """A file without blocks ends with 1, one that does not exist with 2."""
    result = invoke("block", "register", "flows.py")
    assert result.exit_code == 1
    assert "flows.py defines no block" in result.stderr
    assert invoke("block", "register", "nope.py").exit_code == 2


def test_an_unusable_home_is_an_error(invoke: Invoke, folder: Path) -> None:
    """Of the configuration: exit code 2."""
    (folder / "file").touch()
    with temporary_settings({EVENTFLOW_HOME: folder / "file"}):
        result = invoke("block", "ls")
    assert result.exit_code == 2
    assert "cannot be used" in result.stderr
