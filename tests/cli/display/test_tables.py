"""Rows are a table on a terminal, and aligned lines in a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import termios

import pytest
from rich.text import Text

from eventflow.cli.display.tables import print_facts, show_table
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.primitives.escapes import CONTROLS
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from eventflow.states import StateType
from tests.cli.conftest import Invoke, Spawn
from tests.cli.sample_journal import RUNNING, Owed, fill, record_run

TITLES = ["Id", ">Size", "What"]
ROWS: list[list[Text | str]] = [[Text("a", "red"), "7", "漢字"], ["bcd", "1,234", "two\nlines"]]


def test_a_pipe_gets_aligned_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are aligned right, wide letters count twice, only first lines are shown."""
    show_table(TITLES, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "ID    SIZE  WHAT",
        "a        7  漢字",
        "bcd  1,234  two…",
    ]
    show_table(TITLES, [])
    assert capsys.readouterr().out == ""


def test_facts_without_a_value_are_omitted(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are aligned."""
    print_facts({"id": "7", "nothing": None, "empty": "", "parameters": Text("x=1")})
    assert capsys.readouterr().out == "id          7\nparameters  x=1\n"


@pytest.mark.parametrize("width", [120, 60])
def test_a_terminal_gets_colours_and_whole_ids(spawn: Spawn, width: int) -> None:
    """However narrow it is: ids and numbers are never cut, since they are there for copying."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    sample = fill(journal)
    journal.close()
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = spawn("runs", "ls", stdout=slave, env={"TERM": "xterm-256color", "COLUMNS": ""})
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # on Linux, the other end is closed
        pass
    os.close(master)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert f"\x1b[90m{sample.failed.hex[-8:]}\x1b[0m" in text
    assert "\x1b[31m✗ Failed" in text
    assert "5 m ago" in text


EVIL = "\x1b]0;owned\x07\u202e\nforged 12:00"


@pytest.mark.parametrize("as_json", [False, True])
def test_no_name_acts_on_a_terminal_or_begins_a_line(invoke: Invoke, *, as_json: bool) -> None:
    """Names of runs, definitions, tags and hooks, and errors, come from anywhere."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    run = record_run(
        journal,
        [*RUNNING, (StateType.COMPLETED, EVIL)],
        Owed(EVIL, f"hooks:{EVIL}", DeliveryStatus.DEAD, error=f"no: {EVIL}"),
        name=f"run {EVIL}",
        definition=f"etl {EVIL}",
        tags=(EVIL,),
        parameters=json.dumps({EVIL: EVIL}),
    )
    journal.close()
    dead = json.loads(invoke("deliveries", "ls", "--json").stdout)[0]["id"]
    for words in (
        ("runs", "ls"),
        ("runs", "show", str(run)),
        ("events", str(run)),
        ("tail", "--run", str(run)),
        ("deliveries", "ls"),
        ("deliveries", "show", dead),
    ):
        shown = invoke(*words, *(["--json"] if as_json else [])).stdout
        assert "owned" in shown
        assert not CONTROLS.search(shown.replace("\n", "")), words
        assert not any(line.startswith("forged") for line in shown.splitlines()), words
