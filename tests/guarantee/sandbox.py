"""A sandbox for one test: the programs that it starts, what they record, and their journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from eventflow import settings
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import START, DeliveryQuery, Journal, RunQuery
from eventflow.journal.rows import EventRow
from eventflow.owners.folders import owners_folder
from eventflow.owners.leftovers import take_in
from eventflow.settings import SETTINGS

__all__ = ["HEAD", "Program", "Record", "Sandbox", "wait_until"]

T = TypeVar("T")

ROOT: Final = Path(settings.__file__).parents[2]

TIMEOUT_SECONDS: Final = 60.0
"""When a test fails instead of waiting longer; nothing should take that long."""

POLL_SECONDS: Final = 0.02

HEAD: Final = """
import json, os, signal, sys, threading, time
from eventflow import bus, flow, get_run_logger, hook, runtime, task

def record(*facts):
    line = json.dumps([os.getpid(), *facts]) + "\\n"
    file = os.open("records", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def hold(*facts):
    record("ready", *facts)
    while True:
        time.sleep(600)

def record_state(definition, run, state):
    record(definition.name, state.name, runtime.hook.attempt)
"""
"""The head of each program: `record` appends facts to a file that the test reads."""

_env: Final[dict[str, str]] = {
    **{name: value for name, value in os.environ.items() if name not in SETTINGS},
    "PYTHONPATH": str(ROOT),
}


class Record(list[Any]):
    """The facts of one call of `record`, and the process that made it."""

    def __init__(self, line: str) -> None:
        facts = json.loads(line)
        self.pid: int = facts[0]
        super().__init__(facts[1:])


def wait_until(condition: Callable[[], T], describe: Callable[[], object]) -> T:
    """Wait for a condition to be true, and return its value; the error describes the present."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {TIMEOUT_SECONDS:g} s: {describe()}")
        time.sleep(POLL_SECONDS)

    return value


class Program:
    """A process, whose output is shared by the guardian and the recovery."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.popen = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self.popen.pid
        self.output = ""

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(signum)

    def send_group(self, signum: signal.Signals) -> None:
        """Send a signal to its process group, as a terminal or a service does."""
        os.killpg(self.pid, signum)

    def end(self) -> int:
        """Wait until it, its guardian and the recovery have ended; returns its own exit status."""
        self.read_to_end()

        return self.popen.returncode

    def read_to_end(self) -> str:
        """Return the output of it, its guardian and the recovery, once all of them have ended."""
        try:
            self.output += self.popen.communicate(timeout=TIMEOUT_SECONDS)[0]
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"did not end; its output: {error.output!r}") from None

        return self.output


class Sandbox:
    """A folder with a home of its own, and the programs that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.url = f"sqlite:///{self.home / 'journal.db'}"
        self.env = _env | {"EVENTFLOW_HOME": str(self.home), "EVENTFLOW_GUARDIAN": "true"}
        self.started: list[Program] = []

    # -- programs -------------------------------------------------------------------------------

    def write(self, name: str, source: str, head: str = HEAD) -> Path:
        """Write a file of Python, with the head that all have."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + textwrap.dedent(source))

        return path

    def start(self, *command: str, **env: str) -> Program:
        """Start Python with these arguments."""
        program = Program([sys.executable, *command], self.folder, self.env | env)
        self.started.append(program)

        return program

    def python(self, source: str, name: str = "flow.py", **env: str) -> Program:
        """Start `python flow.py`."""
        return self.start(self.write(name, source).name, **env)

    def eventflow(self, *arguments: str) -> str:
        """Run `eventflow`, which must end with 0; returns its output."""
        process = subprocess.run(
            [sys.executable, "-m", "eventflow.cli", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert process.returncode == 0, process

        return process.stdout

    def recover(self) -> list[dict[str, Any]]:
        """Run `eventflow recover`; returns its reports."""
        reports: list[dict[str, Any]] = json.loads(self.eventflow("recover", "--json"))

        return reports

    def processes(self) -> dict[int, str]:
        """Return the command of each process that has this home, by its id."""
        mark = f"EVENTFLOW_HOME={self.home}\0".encode()
        commands = {}
        for process in Path("/proc").glob("[0-9]*"):
            # It may end meanwhile.
            with suppress(OSError):
                if mark in (process / "environ").read_bytes():
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    commands[int(process.name)] = command.decode(errors="replace")

        return commands

    def guardians(self) -> list[int]:
        """Return the ids of the guardians; a fork of one, on its way to a recovery, is none."""
        return [
            pid
            for pid, command in self.processes().items()
            if "guardian.py" in command and _parent(pid) not in {None, *self.processes()}
        ]

    def guardian(self) -> int:
        """Wait for the guardian, and return its process id."""
        return wait_until(self.guardians, self.processes)[0]

    def kill_with_guardian(self, program: Program) -> None:
        """Kill a program and its guardian, so that the guardian does not notice."""
        guardian = self.guardian()
        # Stopped, it cannot react to the end of its owner.
        os.kill(guardian, signal.SIGSTOP)
        program.send(signal.SIGKILL)
        program.popen.wait(TIMEOUT_SECONDS)
        os.kill(guardian, signal.SIGKILL)
        wait_until(lambda: guardian not in self.processes(), self.processes)

    def clear(self) -> None:
        """Kill the processes of a failed test, and close the journal."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for program in self.started:
            with suppress(OSError, ValueError):
                program.popen.communicate()
        self.journal.close()

    # -- records and journal --------------------------------------------------------------------

    def records(self) -> list[Record]:
        """Return what was recorded up to now."""
        path = self.folder / "records"
        text = path.read_text() if path.exists() else ""

        return [Record(line) for line in text.split("\n")[:-1]]

    def wait_for_record(self, *facts: object, times: int = 1) -> list[Record]:
        """Wait until these facts were recorded so many times; returns all records until then."""

        def is_recorded() -> bool:
            return sum(record == [*facts] for record in self.records()) >= times

        wait_until(lambda: is_recorded() or self._is_over(), self._all)
        records = self.records()
        assert is_recorded(), [self._all(), *(each.read_to_end() for each in self.started)]

        return records

    @property
    def owners(self) -> Path:
        """The folder that holds those of the owners."""
        folder = owners_folder(self.url)
        assert folder is not None

        return folder

    def owner_folders(self) -> list[Path]:
        """Return the folders of owners that have not ended or are not recovered yet."""
        take_in(self.url, "process")

        return [*self.owners.glob("[!.]*")]

    def wait_until_recovered(self) -> None:
        """Wait until no owner is left to recover."""
        wait_until(lambda: not self.owner_folders(), self._all)

    @property
    def journal(self) -> Journal:
        """The journal of the home, with what processes have left that ended."""
        take_in(self.url, "process")

        return self._journal

    @cached_property
    def _journal(self) -> Journal:
        return open_journal(self.url)

    def states(self) -> list[tuple[str, str]]:
        """Return the definition and the state of each run, the oldest first."""
        return [(run.definition, run.state_name) for run in self.journal.runs(RunQuery())[::-1]]

    def deliveries(self) -> list[tuple[str, str, int]]:
        """Return the hook, the status and the number of attempts of each delivery."""
        rows = self.journal.deliveries(DeliveryQuery())

        return [(row.hook.rpartition(":")[2], row.status.value, row.attempts) for row in rows]

    def entered(self, state: str) -> list[str]:
        """Return the definitions whose runs entered a state, in the order of their transitions."""
        journal = self.journal
        names = {run.id: run.definition for run in journal.runs(RunQuery())}

        return [
            names[event.run_id]
            for event in journal.events_after(START, 10_000)[0]
            if isinstance(event, EventRow) and event.state_name == state
        ]

    def assert_clean(self, *, dead: Sequence[str] = ()) -> None:
        """Assert that all runs have ended, and all hooks but the dead ones are delivered."""
        journal = self.journal
        assert journal.verify() == []
        assert journal.runs(RunQuery(unfinished=True)) == []
        assert self.owner_folders() == []
        statuses = [(hook, status) for hook, status, _ in self.deliveries()]
        undelivered = [each for each in statuses if each[1] != DeliveryStatus.DELIVERED]
        assert undelivered == [(hook, "dead") for hook in dead]
        assert all(owner.ended is not None for owner in journal.owners())

    def _is_over(self) -> bool:
        """Whether all processes have ended."""
        return (
            all(program.popen.poll() is not None for program in self.started)
            and not self.processes()
        )

    def _all(self) -> object:
        return self.records(), self.owner_folders(), self.processes()


def _parent(pid: int) -> int | None:
    """Return the parent of a process; None if it has ended."""
    with suppress(OSError):
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])

    return None
