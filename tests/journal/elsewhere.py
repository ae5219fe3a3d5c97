"""Other processes for tests of owners and guardians: started, spoken to, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


class Process:
    """A process that runs a piece of code, and goes on when its input ends."""

    def __init__(self, code: str, *arguments: object, options: tuple[str, ...] = ()) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, *options, "-c", code, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.stdin, self.stdout = self.popen.stdin, self.popen.stdout

    def line(self) -> str:
        """Return the next line that it prints."""
        return self.stdout.readline().strip()

    def kill(self) -> None:
        """Kill it, and wait until it is dead."""
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(30)

    def rest(self) -> str:
        """Let it go on; returns what is printed until it and all its children have ended."""
        with self.popen:
            # Not `communicate`, which passes over what `line` has read ahead.
            self.stdin.close()
            return self.stdout.read().strip()
