"""How rows are printed: to a terminal, and into a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios

import pytest
from rich.text import Text

from eventflow.cli.display.tables import describe, show_table
from eventflow.journal import open_journal
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.cli.conftest import Spawn
from tests.cli.story import written

TITLES = ["Id", ">Size", "What"]
ROWS: list[list[Text | str]] = [[Text("a", "red"), "7", "漢字"], ["bcd", "1,234", "two\nlines"]]


def test_a_pipe_gets_aligned_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers end together, wide letters count twice, what has several lines shows its first."""
    show_table(TITLES, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "ID    SIZE  WHAT",
        "a        7  漢字",
        "bcd  1,234  two…",
    ]
    show_table(TITLES, [])
    assert capsys.readouterr().out == ""


def test_facts_that_are_not_known_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The others stand beneath one another."""
    describe({"id": "7", "nothing": None, "empty": "", "parameters": Text("x=1")})
    assert capsys.readouterr().out == "id          7\nparameters  x=1\n"


@pytest.mark.parametrize("width", [120, 60])
def test_a_terminal_gets_colours_and_whole_ids(spawn: Spawn, width: int) -> None:
    """However narrow it is: ids and numbers are never cut, for they are there to be copied."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    story = written(journal)
    journal.close()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = spawn("runs", "ls", stdout=theirs, env={"TERM": "xterm-256color", "COLUMNS": ""})
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other side was closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert f"\x1b[90m{story.failed.hex[-8:]}\x1b[0m" in text
    assert "\x1b[31m✗ Failed" in text
    assert "5 m ago" in text
