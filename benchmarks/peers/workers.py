"""Worker processes, stopped between their turns so that no side disturbs another."""

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
    """A side did not do its work; the message has its last output."""


class Group:
    """The processes of one side: its worker, its server, and what those start.

    They are stopped except for its turns; work that they put off falls into their own next turn.
    """

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self.home = home
        self.environment = dict(environment)
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        """Start a process that belongs to the group, in its home; its stderr goes to the log."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment,
                # Not a new session: its processes would stay stopped for ever if this one died.
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
        """The file that their stderr goes to."""
        return self.home / "stderr.log"

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Continue the processes for a block."""
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
    """The measuring end of the pipe; `serving` is the other one."""

    def __init__(self, group: Group, command: Sequence[str]) -> None:
        """Start the worker.

        Raises:
            PeerFailed: it ended before its first answer.
        """
        self._group = group
        self._process = group.start(command)
        self._answer()

    def turn(self, work: str, count: int) -> int:
        """Have a work done so many times; returns the nanoseconds.

        Raises:
            PeerFailed: the work raised, or the process ended or hung.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the reason is raised below
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
            raise PeerFailed(f"The worker ended, or was ended. Its log: {self._group.log_tail()}")

        return json.loads(line)
