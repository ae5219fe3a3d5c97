"""Output on a terminal: live progress, logs above it, and the summary."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.blocks import String
from tests.cli.conftest import Spawn

GATED = """
import logging
from pathlib import Path
from eventflow import flow, get_run_logger, task

logging.basicConfig(format="plain %(message)s")

@task
def step(n):
    if n == 0:
        raise ValueError("the first")
    if n == 1:
        Path("gate").open().read()

@flow
def gated():
    print("printed by the flow")
    logging.getLogger("mine").warning("logged by hand")
    step.map(range(4)).wait()
    return "done"
"""
MANY = """
from pathlib import Path
from eventflow import flow, task

@task
def step(n):
    raise LookupError(n)

@flow
def inner():
    Path("gate").open().read()

@flow
def many():
    futures = step.map(range(13))
    futures.wait()
    inner()
    return futures.result()
"""
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal that a process writes to."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.output = ""

    def read_until(self, pattern: str) -> str:
        """Read until the text without its styles matches the pattern; returns all text so far."""
        while re.search(pattern, self.text) is None:
            try:
                more = os.read(self.master, 65_536)
            except OSError:  # all writers have closed it
                more = b""
            assert more, f"{pattern!r} was not seen in {self.text!r}"
            self.output += more.decode(errors="replace")

        return self.text

    @property
    def text(self) -> str:
        """The output without styles."""
        return STYLES.sub("", self.output).replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """Yield a pseudo-terminal."""
    terminal = Terminal()
    yield terminal
    os.close(terminal.master)


def run_at(terminal: Terminal, spawn: Spawn, *arguments: str) -> subprocess.Popen[str]:
    """Start `eventflow` with the terminal as stdin, stdout and stderr."""
    size = {"COLUMNS": "100", "LINES": "30", "TERM": "xterm-256color"}
    fd = terminal.slave
    process = spawn(*arguments, stdin=fd, stdout=fd, stderr=fd, env=size)
    os.close(fd)
    return process


def test_progress_is_live_and_the_summary_follows(
    terminal: Terminal, spawn: Spawn, folder: Path
) -> None:
    """Counts and failures are shown while tasks run; in the end only the summary is left."""
    (folder / "gated.py").write_text(GATED)
    os.mkfifo(folder / "gate")
    process = run_at(terminal, spawn, "run", "gated.py")
    live = terminal.read_until(r"1 Running, 2 Completed, 1 Failed")
    assert "3/4" in live
    assert re.search(r"gated/[\w-]+  Running  0:00:\d\d", live)
    assert "printed by the flow\n" in live
    assert "plain logged by hand\n" in live
    assert re.search(r"✗ step-\w+  ValueError: the first", live)
    (folder / "gate").write_text("open")
    end = terminal.read_until(r"result   'done'")
    summary = end[end.index("✓ gated/") :]
    assert re.match(r"✓ gated/[\w-]+  Completed in [\d.]+ m?s\n", summary)
    assert "  tasks    3 Completed, 1 Failed\n" in summary
    assert '"event"' not in end
    assert process.wait(timeout=60) == 0
    assert terminal.output.rindex("\x1b[?25h") > terminal.output.rindex("\x1b[?25l"), (
        "cursor is back"
    )


def test_trace_gives_coloured_lines_instead(terminal: Terminal, spawn: Spawn) -> None:
    """With --trace a terminal gets a coloured line per transition, and no live view."""
    process = run_at(terminal, spawn, "run", "--trace", "flows.py:sleeps")
    text = terminal.read_until(r"result   'slept'")
    lines = [line.split(maxsplit=3) for line in text.splitlines() if " INFO " in line]
    assert [line[3].partition(" after")[0] for line in lines] == [
        "Pending",
        "Pending → Running",
        "Running → Completed",
    ]
    assert "\x1b[32mINFO" in terminal.output
    assert "Loading" not in text
    assert process.wait(timeout=60) == 0


def test_many_failures_and_subflows_are_summed_up(
    terminal: Terminal, spawn: Spawn, folder: Path
) -> None:
    """The latest failures are named, the others counted; subflows have a line of their own."""
    (folder / "gated.py").write_text(MANY)
    os.mkfifo(folder / "gate")
    process = run_at(terminal, spawn, "run", "gated.py:many")
    live = terminal.read_until(r"… and 8 more")
    assert "13 Failed" in live
    assert "subflows 1 Running" in live
    (folder / "gate").write_text("open")
    end = terminal.read_until(r"cause    LookupError: 0")
    assert "… and 3 more" in end
    assert 'File "' in end
    assert "eventflow/engine/" not in end
    assert process.wait(timeout=60) == 1


def test_blocks_are_listed_as_a_table(terminal: Terminal, spawn: Spawn) -> None:
    """A terminal gets a table with a head."""
    String(value="hello").save("greeting")
    process = run_at(terminal, spawn, "block", "ls")
    text = terminal.read_until(r"string/greeting.*\n")
    assert re.search(r"Block +Updated +Id", text)
    assert process.wait(timeout=60) == 0
