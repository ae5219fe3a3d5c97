"""A program with runs, in a process of its own, that is sent signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["ASYNC", "SYNC", "Program"]

PROLOGUE: Final = """
import asyncio, os, signal, sys, threading, time
from eventflow import StateTransition, bus, flow, task
from eventflow.errors import TerminationSignal

def say(*words):
    sys.stdout.write(" ".join(words) + "\\n")
    sys.stdout.flush()

def hook(flow, run, state):
    say("hook", run.name, state.name)

@bus.subscribe(event_type=StateTransition)
def listen(event):
    say(event.run_name, event.to_state.name)

def run_for_ever():
    while True:
        time.sleep(0.001)

all_hooks = dict(on_running=[hook], on_completion=[hook], on_cancellation=[hook], on_crashed=[hook])
"""

SYNC: Final = """
@flow(flow_run_name="f", **all_hooks)
def f():
    say("ready")
    {wait}

f()
"""

ASYNC: Final = """
@flow(flow_run_name="f", **all_hooks)
async def f():
    say("ready")
    await asyncio.Event().wait()

asyncio.run(f())
"""


class Program:
    """A Python process that writes to its standard output how far it has come."""

    def __init__(self, source: str, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "EVENTFLOW_HOME": str(home)},
        )
        # Ends the wait for a program that writes nothing more.
        self._limit = threading.Timer(60, self.process.kill)
        self._limit.start()
        self.lines: list[str] = []

    def until(self, line: str) -> None:
        """Read its output up to that line."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(text.rstrip("\n"))
            if self.lines[-1] == line:
                return
        raise AssertionError(f"never wrote {line!r}: {self.end()} {self.lines}")

    def end(self, *signals: signal.Signals) -> tuple[int, str]:
        """Send signals; return the exit status and what it wrote to standard error."""
        for signum in signals:
            self.process.send_signal(signum)
        out, err = self.process.communicate(timeout=60)
        self._limit.cancel()
        self.lines += out.splitlines()

        return self.process.returncode, err

    def wait_until_blocked(self) -> None:
        """Wait until the main thread waits in the kernel for good, where that can be seen.

        Python handles a signal that comes just before a blocking call only after that call, in any
        program. A thread that waits for the interpreter's lock wakes up every few milliseconds.
        """
        status = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/status")
        with suppress(OSError):  # not on Linux, or it has ended
            before = ""
            while (now := status.read_text()) != before or "State:\tS" not in now:
                before = now
                time.sleep(0.05)
