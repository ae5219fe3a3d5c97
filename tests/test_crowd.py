"""Many processes on one journal: in one SQLite file, and as many machines in one PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.owners.leftovers import take_in
from eventflow.states import StateType
from tests.journal.server import Server

FULL = bool(os.environ.get("FULL_SIZE"))
"""Whether crowds are as large as they are promised to work; what CI asks for."""

PATIENCE = 60
"""How many seconds a test waits for other processes before it fails."""

CROWD = """
import os, sys
from eventflow import task

completed = []

def record(task, task_run, state):
    completed.append(state.id.hex)

@task(on_completion=[record])
def step(number):
    return number

def work(each):
    for number in range(each):
        assert step(number) == number
    with open(f"completed-{os.getpid()}", "w") as file:
        file.write("\\n".join(completed))

if __name__ == "__main__":
    for _ in range(16):
        if os.fork() == 0:
            work(int(sys.argv[1]))
            sys.exit()
    ends = [os.wait()[1] for _ in range(16)]
    assert ends == [0] * 16, ends
"""


def test_sixteen_processes_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process reports an error, and every run is stored with its delivery."""
    each = 1000 if FULL else 150
    url = f"sqlite:///{tmp_path}/journal.db"
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", url)
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "true")
    monkeypatch.setenv("EVENTFLOW_LOG_LEVEL", "WARNING")
    (tmp_path / "crowd.py").write_text(CROWD)

    # One process imports, and becomes sixteen before its first run.
    crowd = subprocess.run(
        [sys.executable, "crowd.py", str(each)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert (crowd.returncode, crowd.stdout, crowd.stderr) == (0, "", "")
    take_in(url, "process")
    journal = open_journal(url)
    statistics = journal.statistics()
    assert (statistics.runs, statistics.unfinished, statistics.events) == (
        16 * each,
        0,
        3 * 16 * each,
    )
    assert (statistics.deliveries, statistics.alive) == ({"delivered": 16 * each}, 0)
    completed = [line for path in tmp_path.glob("completed-*") for line in path.read_text().split()]
    deliveries = journal.deliveries(DeliveryQuery(limit=10**6))
    assert sorted(delivery.event_id.hex for delivery in deliveries) == sorted(completed)
    assert journal.verify() == []
    assert list((tmp_path / "journal.db-owners").glob("[!.]*")) == []
    journal.close()


# -- ten machines ---------------------------------------------------------------------------------

MACHINE = """
import os, sys, time
from pathlib import Path
from typing import NamedTuple
from eventflow import flow, task
from eventflow.wiring import recorder

def note(what, definition, run, state):
    with open(os.environ["HOOK_CALLS"], "a") as file:
        file.write(f"{what} {definition.name} {run.id.hex} {os.getpid()}\\n")

def crashed(definition, run, state):
    note("crashed", definition, run, state)

def completed(definition, run, state):
    note("completed", definition, run, state)

@task(on_crashed=[crashed], on_completion=[completed])
def step():
    print("running", flush=True)
    assert sys.stdin.readline()

@flow(on_crashed=[crashed], on_completion=[completed])
def etl():
    step()

if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        etl()
        print(recorder().owner_id, flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    postgres = Server()
    yield postgres
    postgres.stop()


class HookCall(NamedTuple):
    """A line that a hook has written."""

    hook: str
    definition: str
    run: str
    pid: str


class Machines:
    """Processes that each look like a machine of their own, with one journal for all."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.journal = open_journal(url)
        self.processes: list[subprocess.Popen[str]] = []
        # In the same place for each, like a program that is installed on all of them.
        (folder / "machine.py").write_text(MACHINE)

    def start(self, count: int, *, flows: int = 1) -> None:
        """Start processes, and wait until each is in the middle of a run."""
        for number in range(count):
            with (self.folder / f"stderr-{number}").open("w") as stderr:
                process = subprocess.Popen(
                    [sys.executable, "machine.py", str(flows)],
                    cwd=self.folder,
                    env={
                        **os.environ,
                        "EVENTFLOW_HOME": str(self.folder / f"home-{number}"),
                        "EVENTFLOW_HOST_ID": f"machine-{number}",
                        "HOOK_CALLS": str(self.folder / "hook_calls"),
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                )
            self.processes.append(process)
        for number in range(count):
            assert self.read(number) == "running"

    def read(self, number: int) -> str:
        """Return the next line that a process prints."""
        out = self.processes[number].stdout
        assert out is not None

        return out.readline().strip()

    def end_flow(self, number: int) -> str:
        """Let a process end its flow; return the id of the owner that it is then."""
        stdin = self.processes[number].stdin
        assert stdin is not None
        stdin.write("go on\n")
        stdin.flush()

        return self.read(number)

    def until_crashed(self, count: int) -> None:
        """Wait until `count` runs are Crashed, and no delivery is owed for them."""
        deadline = time.monotonic() + PATIENCE
        while True:
            runs = self.journal.runs(RunQuery(state_types=[StateType.CRASHED]))
            if len(runs) >= count and not self.journal.deliveries(DeliveryQuery(statuses=OWED)):
                return
            assert time.monotonic() < deadline, "\n".join([str(runs), *self.stderr()])
            time.sleep(0.1)

    def stderr(self) -> list[str]:
        """Return what each process wrote to standard error."""
        return [
            (self.folder / f"stderr-{number}").read_text() for number in range(len(self.processes))
        ]

    def hook_calls(self) -> list[HookCall]:
        """Return the calls of hooks, by every process."""
        lines = (self.folder / "hook_calls").read_text().splitlines()

        return [HookCall(*line.split()) for line in lines]

    def end(self) -> None:
        """Kill every process, and close the journal."""
        for process in self.processes:
            process.kill()
            process.communicate()
        self.journal.close()


@pytest.fixture
def machines(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    url = server.url(tmp_path.name)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {tmp_path.name}".encode())
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", url)
    monkeypatch.setenv("EVENTFLOW_LEASE_SECONDS", "3")
    started = Machines(tmp_path, url)
    yield started
    started.end()


def test_machines_take_over_from_those_that_die(machines: Machines) -> None:
    """Any three of ten are killed: the others finish their runs, and go on with their own."""
    count, killed = (10, {1, 4, 8}) if FULL else (4, {0, 2})
    alive, dead = count - len(killed), len(killed)
    machines.start(count)
    for number in killed:
        machines.processes[number].kill()
    machines.until_crashed(2 * dead)
    for number in set(range(count)) - killed:
        owner = machines.end_flow(number)
        assert machines.processes[number].wait(PATIENCE) == 0, machines.stderr()
        runs = [run for run in machines.journal.runs(RunQuery()) if run.owner == owner]
        assert [run.state_name for run in runs] == ["Completed"] * 2

    statistics = machines.journal.statistics()
    assert (statistics.runs, statistics.unfinished) == (2 * count, 0)
    assert statistics.deliveries == {"delivered": 2 * count}
    assert machines.journal.verify() == []
    calls = machines.hook_calls()
    crashed = [call for call in calls if call.hook == "crashed"]
    completed = [call for call in calls if call.hook == "completed"]
    assert sorted(call.definition for call in crashed) == ["etl"] * dead + ["step"] * dead
    assert sorted(call.definition for call in completed) == ["etl"] * alive + ["step"] * alive
    lost = machines.journal.runs(RunQuery(state_types=[StateType.CRASHED]))
    assert {call.run for call in crashed} == {run.id.hex for run in lost}
    # None of the machines ran them: each owner was recovered in a process of its own.
    pids = {str(process.pid) for process in machines.processes}
    assert not {call.pid for call in crashed} & pids


def test_a_machine_that_wakes_up_can_acknowledge_nothing(machines: Machines) -> None:
    """Its runs belong to another owner; it logs so once, and begins later runs as a new owner."""
    machines.start(2, flows=2)
    machines.processes[0].send_signal(signal.SIGSTOP)
    machines.until_crashed(2)
    before = {run.id: run for run in machines.journal.runs(RunQuery())}
    machines.processes[0].send_signal(signal.SIGCONT)
    owners_before = [machines.end_flow(0), machines.end_flow(1)]
    assert [machines.read(0), machines.read(1)] == ["running"] * 2
    owners_after = [machines.end_flow(0), machines.end_flow(1)]
    assert [process.wait(PATIENCE) for process in machines.processes] == [0, 0]

    runs = machines.journal.runs(RunQuery())
    crashed = [run for run in runs if run.state_name == "Crashed"]
    assert crashed == [run for run in before.values() if run.state_name == "Crashed"]
    owners = machines.journal.owners()
    first, again = [owner for owner in owners if owner.host == "machine-0"]
    assert {run.owner for run in crashed} == {first.id}
    assert first.ended is not None
    assert [again.id] == owners_after[:1]
    assert owners_after[1:] == owners_before[1:]
    assert [run.state_name for run in runs if run.owner == again.id] == ["Completed"] * 2
    of_crashed = [
        delivery
        for delivery in machines.journal.deliveries(DeliveryQuery())
        if delivery.run_id in {run.id for run in crashed}
    ]
    assert [delivery.status for delivery in of_crashed] == [DeliveryStatus.DELIVERED] * 2
    assert machines.stderr()[0].count("was silent for too long") == 1
    assert all(owner.ended is not None for owner in owners)
    assert machines.journal.verify() == []
