"""The loop of the guardian: it waits for the end of its owner, and for the times in the note."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.owners import guardian
from eventflow.owners.note import Note, set_next_due

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no guardian elsewhere")

# The loop in a process of its own: its standard input is the connection to the owner.
LOOP = """
import sys
from eventflow.owners.guardian import wait_for_end
wait_for_end(int(sys.argv[1]), sys.argv[2:])
print("ended", flush=True)
"""
# What it runs: it says so, and notes when there will be more, if it is told to.
COMMAND = """
import os, sys
print(sys.argv[-2], flush=True)
if sys.argv[1]:
    from eventflow.owners.note import set_next_due
    set_next_due(int(sys.argv[-1]), float(sys.argv[1]))
    sys.argv[1] = ""
"""
HOUR = 3_600.0


class Loop:
    """The loop, and the end of the connection that its owner has."""

    def __init__(self, note: Note, again: str = "") -> None:
        command = [sys.executable, "-c", COMMAND, again]
        self.popen = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(note.descriptor), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(note.descriptor,),
        )

    def wake(self) -> None:
        """Tell it to look at the note."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(b"!")
        self.popen.stdin.flush()

    def line(self) -> str:
        """Wait for the next line of what it runs."""
        assert self.popen.stdout is not None

        return self.popen.stdout.readline().decode().strip()

    def rest(self) -> str:
        """End the owner, and return what is printed after that."""
        return self.popen.communicate(timeout=60)[0].decode().strip()


@pytest.fixture
def note() -> Iterator[Note]:
    made = Note()
    yield made
    made.close()


def test_without_a_time_it_waits_for_the_end(note: Note) -> None:
    """However often it is woken."""
    loop = Loop(note)
    loop.wake()
    loop.wake()

    assert loop.rest() == "ended"


def test_a_time_that_is_over_is_handled_once(note: Note) -> None:
    """And the next one that the owner sets again; one that is far off is waited for."""
    note.set_due(time.monotonic())
    loop = Loop(note)
    assert loop.line() == "--lasting"
    note.set_due(time.monotonic())
    loop.wake()
    assert loop.line() == "--lasting"
    note.set_due(time.monotonic() + HOUR)
    loop.wake()

    assert loop.rest() == "ended"


def test_a_time_that_was_put_off_is_not_handled(note: Note) -> None:
    """It does not have to be woken for a later one: it looks again before it runs the command."""
    note.set_due(time.monotonic() + HOUR)
    loop = Loop(note)
    loop.wake()
    note.set_due(None)
    loop.wake()

    assert loop.rest() == "ended"


def test_what_its_command_notes_is_handled_as_well(note: Note) -> None:
    """The owner is still stuck then: nothing tells it."""
    note.set_due(time.monotonic())
    loop = Loop(note, again=str(time.monotonic()))

    # Of each run of the command, which always notes a time that is over.
    assert [loop.line() for _ in range(3)] == ["--lasting"] * 3
    loop.popen.kill()
    loop.popen.communicate()


def test_a_command_that_fails_is_tried_again_later(note: Note) -> None:
    """Not at once, for ever: after a minute."""
    note.set_due(time.monotonic())
    loop = Loop(note)
    assert loop.line() == "--lasting"
    loop.wake()
    assert loop.rest() == "ended"

    noted = int.from_bytes(os.pread(note.descriptor, 8, guardian.DUE + 8)) / 1e6
    assert noted - time.monotonic() > guardian.RETRY_SECONDS / 2


def test_both_agree_on_the_places(note: Note, tmp_path: Path) -> None:
    """The guardian cannot import what its owner imports."""
    note.set_due(2.0)
    set_next_due(note.descriptor, 3.0)
    content = os.pread(note.descriptor, guardian.HEADER, 0)

    assert int.from_bytes(content[guardian.DUE : guardian.DUE + 8]) == 2_000_000
    assert int.from_bytes(content[guardian.DUE + 8 :]) == 3_000_000
