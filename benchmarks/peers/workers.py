"""Processes that work when told and are stopped in between, so that no side disturbs another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any, Final

__all__ = ["Group", "PeerFailed", "Worker"]

PATIENCE_SECONDS: Final = 300.0
"""How long one turn may last, or the start of a worker."""

GRACE_SECONDS: Final = 5.0
"""How long processes have to end when they are asked to."""


class PeerFailed(Exception):
    """A side did not do its work; says what it said."""


class Group:
    """The processes of one side: its worker, its server, and what those start.

    They stand still except for its turns, and have to catch up in those with what they put off.
    """

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self.home = home
        self.environment = dict(environment)
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a process that belongs to the group, in its home; what it says goes to the log."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment,
                # Not a session of its own: then the kernel would let it stand still for ever,
                # should this process die.
                process_group=self._processes[0].pid if self._processes else 0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._processes.append(process)

        return process

    @property
    def log(self) -> Path:
        """Where the processes say what goes wrong."""
        return self.home / "said.log"

    def said(self) -> str:
        """Give the end of what they said."""
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let the processes go on for a block."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End all of them at once."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Ask all of them to end, and end those that do not."""
        for number in (signal.SIGCONT, signal.SIGTERM):
            self._signal(number)
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        self.kill()
        for process in self._processes:
            process.communicate()

    def _signal(self, number: signal.Signals) -> None:
        if self._processes:
            with suppress(ProcessLookupError):
                os.killpg(self._processes[0].pid, number)


class Worker:
    """The measuring end of the pipe: see `serving` for the other one."""

    def __init__(self, group: Group, command: Sequence[str]) -> None:
        """Start the worker.

        Raises:
            PeerFailed: it did not come to its first word.
        """
        self._group = group
        self._process = group.start(command)
        self._answer()

    def turn(self, work: str, count: int) -> int:
        """Have a work done so many times; gives the nanoseconds.

        Raises:
            PeerFailed: the work raised, or the process ended or hung.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # why it ended is told below
            self._process.stdin.write(json.dumps({"work": work, "count": count}) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise PeerFailed(answer["error"])

        return int(answer["nanoseconds"])

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        alarm = Timer(PATIENCE_SECONDS, self._group.kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
        if not line:
            raise PeerFailed(f"The worker ended, or was ended. It said: {self._group.said()}")

        return json.loads(line)
