"""A stage for one death: programs of their own, what they tell, and what the journal says after."""

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
from eventflow.owners.folders import owners_folder
from eventflow.settings import SETTINGS

__all__ = ["HEAD", "Program", "Stage", "Told", "until"]

T = TypeVar("T")

ROOT: Final = Path(settings.__file__).parents[2]

PATIENCE_SECONDS: Final = 60.0
"""When what is waited for counts as never coming: no time that anything should take."""

POLL_SECONDS: Final = 0.02

HEAD: Final = """
import json, os, signal, sys, threading, time
from eventflow import bus, flow, get_run_logger, hook, runtime, task

def tell(*facts):
    line = json.dumps([os.getpid(), *facts]) + "\\n"
    told = os.open("told", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(told, line.encode())
    os.close(told)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def hold(*facts):
    tell("ready", *facts)
    while True:
        time.sleep(600)

def heard(definition, run, state):
    tell(definition.name, state.name, runtime.hook.attempt)
"""
"""What each program begins with: `tell` writes a line to where the test looks."""

_env: Final[dict[str, str]] = {
    **{name: value for name, value in os.environ.items() if name not in SETTINGS},
    "PYTHONPATH": str(ROOT),
}


class Told(list[Any]):
    """Some facts that a program told, and which process told them."""

    def __init__(self, line: str) -> None:
        facts = json.loads(line)
        self.pid: int = facts[0]
        super().__init__(facts[1:])


def until(condition: Callable[[], T], saw: Callable[[], object]) -> T:
    """Wait for something to be true; gives it. If it never is, `saw` tells what is there."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"never came: {saw()}")
        time.sleep(POLL_SECONDS)

    return found


class Program:
    """A process, and those that outlive it: all write to its standard output."""

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
        """Wait until it, its guardian and the recovery have ended; gives its own exit status."""
        self.rest()

        return self.popen.returncode

    def rest(self) -> str:
        """Give what it, its guardian and the recovery have said when they have ended."""
        try:
            self.output += self.popen.communicate(timeout=PATIENCE_SECONDS)[0]
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"never ended; said {error.output!r}") from None

        return self.output


class Stage:
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
        """Run `eventflow` to its end, which is a good one; gives what it prints."""
        ended = subprocess.run(
            [sys.executable, "-m", "eventflow.cli", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended

        return ended.stdout

    def recover(self) -> list[dict[str, Any]]:
        """Run `eventflow recover`; gives its reports."""
        reports: list[dict[str, Any]] = json.loads(self.eventflow("recover", "--json"))

        return reports

    def processes(self) -> dict[int, str]:
        """Give the processes that have this home, by their id, with their command."""
        mark = f"EVENTFLOW_HOME={self.home}\0".encode()
        found = {}
        for one in Path("/proc").glob("[0-9]*"):
            # It may end while it is looked at.
            with suppress(OSError):
                if mark in (one / "environ").read_bytes():
                    command = (one / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(one.name)] = command.decode(errors="replace")

        return found

    def guardians(self) -> list[int]:
        """Give the processes that guard an owner here and are nobody's child."""
        return [
            pid
            for pid, command in self.processes().items()
            if "guardian.py" in command and _parent(pid) not in self.processes()
        ]

    def guardian(self) -> int:
        """Wait for the one guardian; gives its process id."""
        return until(self.guardians, self.processes)[0]

    def kill_with_guardian(self, program: Program) -> None:
        """Kill a program and its guardian in one moment."""
        guardian = self.guardian()
        # Standing still, it cannot take notice of the end of its owner.
        os.kill(guardian, signal.SIGSTOP)
        program.send(signal.SIGKILL)
        program.popen.wait(PATIENCE_SECONDS)
        os.kill(guardian, signal.SIGKILL)
        until(lambda: guardian not in self.processes(), self.processes)

    def clear(self) -> None:
        """Kill what a failed test has left, and let go of the journal."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for one in self.started:
            with suppress(OSError, ValueError):
                one.popen.communicate()
        self.journal.close()

    # -- what they left -------------------------------------------------------------------------

    def told(self) -> list[Told]:
        """Give what was told up to now."""
        path = self.folder / "told"
        text = path.read_text() if path.exists() else ""

        return [Told(line) for line in text.split("\n")[:-1]]

    def until_told(self, *facts: object, times: int = 1) -> list[Told]:
        """Wait until something was told, so many times; gives all that was told until then."""

        def come() -> bool:
            return sum(one == [*facts] for one in self.told()) >= times

        until(lambda: come() or self._is_over(), self._all)
        told = self.told()
        assert come(), [self._all(), *(one.rest() for one in self.started)]

        return told

    @property
    def owners(self) -> Path:
        """Give the folder of the owners."""
        found = owners_folder(self.url)
        assert found is not None

        return found

    def remains(self) -> list[Path]:
        """Give what owners have left: nothing, if all is done."""
        return [*self.owners.glob("[!.]*")]

    def until_recovered(self) -> None:
        """Wait until there is no owner any more."""
        until(lambda: not self.remains(), self._all)

    @cached_property
    def journal(self) -> Journal:
        """Give the journal."""
        return open_journal(self.url)

    def states(self) -> list[tuple[str, str]]:
        """Give what became of the runs, the first first."""
        return [(one.definition, one.state_name) for one in self.journal.runs(RunQuery())[::-1]]

    def deliveries(self) -> list[tuple[str, str, int]]:
        """Give what became of the hooks: which, how it stands, and how many attempts began."""
        rows = self.journal.deliveries(DeliveryQuery())

        return [(one.hook.rpartition(":")[2], one.status.value, one.attempts) for one in rows]

    def entered(self, state: str) -> list[str]:
        """Give the names of the definitions whose runs entered a state, in that order."""
        journal = self.journal
        names = {one.id: one.definition for one in journal.runs(RunQuery())}

        return [
            names[one.run_id]
            for one in journal.events_after(START, 10_000)[0]
            if one.state_name == state
        ]

    def assert_clean(self, *, dead: Sequence[str] = ()) -> None:
        """Nothing is left to be done, and every hook was delivered but those named."""
        journal = self.journal
        assert journal.verify() == []
        assert journal.runs(RunQuery(unfinished=True)) == []
        assert self.remains() == []
        undelivered = [one for one in self.deliveries() if one[1] != DeliveryStatus.DELIVERED]
        assert [one[:2] for one in undelivered] == [(name, "dead") for name in dead]
        assert all(one.ended is not None for one in journal.owners())

    def _is_over(self) -> bool:
        """Whether nothing can happen any more."""
        return all(one.popen.poll() is not None for one in self.started) and not self.processes()

    def _all(self) -> object:
        return self.told(), self.remains(), self.processes()


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])

    return 0
