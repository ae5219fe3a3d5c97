"""The processes of a worker: one for each program whose hooks it runs, kept for the next hook."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from eventflow.errors import JournalError
from eventflow.journal.claims import Claimed
from eventflow.journal.rows import OwnerRow
from eventflow.owners.lifeline import recovery_environment
from eventflow.owners.process import recovery_program

__all__ = ["Answer", "HookProcess", "HookProcesses"]

PROCESSES: Final = 4
"""How many programs are kept loaded; the one that was used longest ago ends for another."""

IDLE_SECONDS: Final = 30.0
"""After how long without work a process ends: then a changed program is loaded anew."""

STDERR: Final = 2

EXIT_SECONDS: Final = 10.0
"""How long threads that a hook has left may delay the exit of its process."""


class Answer(NamedTuple):
    """How an attempt ended: the status of its delivery, `lost` if that was not recorded."""

    status: str
    error: str | None = None


class HookProcess:
    """A process that runs hooks of one program, one after the other."""

    def __init__(self, owner_id: str, url: str) -> None:
        program = recovery_program("eventflow.recovery.workers")
        if not program:
            raise JournalError("No hook can be run here: this is no Python that can start another.")
        commands, self._commands = os.pipe()
        self._replies, replies = os.pipe()
        options = ("--owner", owner_id, "--commands", str(commands), "--replies", str(replies))
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*program, *options],
                stdin=subprocess.DEVNULL,
                # What a hook prints is beside what the worker tells, as is what it logs.
                stdout=STDERR,
                env=recovery_environment(url),
                pass_fds=(commands, replies),
                # Ctrl-C ends the worker once the hook has ended.
                start_new_session=True,
            )
        finally:
            os.close(commands)
            os.close(replies)
        self._answers = os.fdopen(self._replies, "rb")
        self.used = time.monotonic()

    def deliver(self, claimed: Claimed) -> Answer | None:
        """Have the attempt made; None if the process ended meanwhile."""
        claim, delivery = claimed
        command = {"run": claim.run_id.hex, "claim": claim.id, "delivery": delivery.id.hex}
        line = b""
        with suppress(OSError):
            os.write(self._commands, json.dumps(command).encode() + b"\n")
            line = self._answers.readline()
        self.used = time.monotonic()

        return Answer(**json.loads(line)) if line else None

    def close(self) -> int:
        """Have the process end; return its exit code."""
        os.close(self._commands)
        self._answers.close()
        try:
            return self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class HookProcesses:
    """The processes that are kept, by their programs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._kept: dict[Any, HookProcess] = {}

    def deliver(self, owner: OwnerRow, claimed: Claimed) -> Answer | int:
        """Have an attempt made by a process for the program of an owner; its exit code if it died.

        Raises:
            JournalError: no process can be started.
            OSError: the system refuses it.
        """
        key = _program(owner)
        process = self._kept.get(key)
        if process is None:
            self._end_all_but(PROCESSES - 1)
            process = self._kept[key] = HookProcess(owner.id, self._url)
        answer = process.deliver(claimed)
        if answer is None:
            return self._kept.pop(key).close()

        return answer

    def end_idle(self) -> None:
        """End the processes that were not used for long."""
        since = time.monotonic() - IDLE_SECONDS
        for key in [key for key, process in self._kept.items() if process.used < since]:
            self._kept.pop(key).close()

    def close(self) -> None:
        """End all."""
        self._end_all_but(0)

    def _end_all_but(self, count: int) -> None:
        used = sorted(self._kept, key=lambda key: self._kept[key].used, reverse=True)
        for key in used[count:]:
            self._kept.pop(key).close()


def _program(owner: OwnerRow) -> object:
    """Return what tells the programs of two owners apart: also two versions of one file."""
    changed = 0
    with suppress(OSError, TypeError):
        changed = Path(owner.cwd, owner.main_file or "").stat().st_mtime_ns

    return (owner.main_file, owner.main_module, owner.argv, owner.cwd, owner.sys_path, changed)
