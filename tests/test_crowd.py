"""Many processes on one journal: in one SQLite file, and as many machines in one PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventflow.hooks.ledger import OWED, DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.states import StateType
from tests.journal.server import Server

FULL = bool(os.environ.get("FULL_SIZE"))
"""Whether crowds are as large as they are promised to work; what CI asks for."""

PATIENCE = 60
"""How many seconds are waited for what comes by itself, before a test gives up."""

CROWD = """
import os, sys
from eventflow import task

told = []

def heard(task, task_run, state):
    told.append(state.id.hex)

@task(on_completion=[heard])
def step(number):
    return number

def work(each):
    for number in range(each):
        assert step(number) == number
    with open(f"told-{os.getpid()}", "w") as file:
        file.write("\\n".join(told))

if __name__ == "__main__":
    for _ in range(16):
        if os.fork() == 0:
            work(int(sys.argv[1]))
            sys.exit()
    ends = [os.wait()[1] for _ in range(16)]
    assert ends == [0] * 16, ends
"""


def test_sixteen_processes_share_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sees an error, and every run with its delivery is there."""
    each = 1000 if FULL else 150
    url = f"sqlite:///{tmp_path}/journal.db"
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", url)
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "true")
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
    journal = open_journal(url)
    found = journal.statistics()
    assert (found.runs, found.unfinished, found.events) == (16 * each, 0, 3 * 16 * each)
    assert (found.deliveries, found.alive) == ({"delivered": 16 * each}, 0)
    told = [line for one in tmp_path.glob("told-*") for line in one.read_text().split()]
    owed = journal.deliveries(DeliveryQuery(limit=10**6))
    assert sorted(one.event_id.hex for one in owed) == sorted(told)
    assert journal.verify() == []
    assert list((tmp_path / "journal.db-owners").glob("[!.]*")) == []
    journal.close()


# -- ten machines ---------------------------------------------------------------------------------

MACHINE = """
import os, sys, time
from pathlib import Path
from eventflow import flow, task
from eventflow.wiring import recorder

def note(what, definition, run, state):
    with open(os.environ["TOLD"], "a") as file:
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
    one = Server()
    yield one
    one.stop()


class Machines:
    """Processes that are each as if on a machine of its own, with one journal for all."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.journal = open_journal(url)
        self.processes: list[subprocess.Popen[str]] = []
        # Found by each at the same place, like a program that is installed on all of them.
        (folder / "machine.py").write_text(MACHINE)

    def start(self, count: int, *, flows: int = 1) -> None:
        """Start so many processes, and come back when each is in the middle of a run."""
        for number in range(count):
            with (self.folder / f"said-{number}").open("w") as said:
                process = subprocess.Popen(
                    [sys.executable, "machine.py", str(flows)],
                    cwd=self.folder,
                    env={
                        **os.environ,
                        "EVENTFLOW_HOME": str(self.folder / f"home-{number}"),
                        "EVENTFLOW_HOST_ID": f"machine-{number}",
                        "TOLD": str(self.folder / "told"),
                    },
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    text=True,
                )
            self.processes.append(process)
        for number in range(count):
            assert self.read(number) == "running"

    def read(self, number: int) -> str:
        """Give what a process says next."""
        out = self.processes[number].stdout
        assert out is not None

        return out.readline().strip()

    def end_flow(self, number: int) -> str:
        """Let a process end its flow; gives the owner that it is then."""
        into = self.processes[number].stdin
        assert into is not None
        into.write("go on\n")
        into.flush()

        return self.read(number)

    def until_crashed(self, count: int) -> None:
        """Wait until so many runs are Crashed, and nothing is owed for them."""
        deadline = time.monotonic() + PATIENCE
        while True:
            runs = self.journal.runs(RunQuery(state_types=[StateType.CRASHED]))
            if len(runs) >= count and not self.journal.deliveries(DeliveryQuery(statuses=OWED)):
                return
            assert time.monotonic() < deadline, "\n".join([str(runs), *self.said()])
            time.sleep(0.1)

    def said(self) -> list[str]:
        """Give what each process said on standard error."""
        return [
            (self.folder / f"said-{number}").read_text() for number in range(len(self.processes))
        ]

    def told(self) -> list[list[str]]:
        """Give what hooks have told: hook, definition, run, process."""
        return [line.split() for line in (self.folder / "told").read_text().splitlines()]

    def end(self) -> None:
        """Leave nothing behind."""
        for one in self.processes:
            one.kill()
            one.communicate()
        self.journal.close()


@pytest.fixture
def machines(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    url = server.url(tmp_path.name)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {tmp_path.name}".encode())
    monkeypatch.setenv("EVENTFLOW_JOURNAL_URL", url)
    monkeypatch.setenv("EVENTFLOW_LEASE_SECONDS", "3")
    some = Machines(tmp_path, url)
    yield some
    some.end()


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
        assert machines.processes[number].wait(PATIENCE) == 0, machines.said()
        runs = [one for one in machines.journal.runs(RunQuery()) if one.owner == owner]
        assert [one.state_name for one in runs] == ["Completed"] * 2

    found = machines.journal.statistics()
    assert (found.runs, found.unfinished) == (2 * count, 0)
    assert found.deliveries == {"delivered": 2 * count}
    assert machines.journal.verify() == []
    told = machines.told()
    crashed = [one for one in told if one[0] == "crashed"]
    completed = [one for one in told if one[0] == "completed"]
    assert sorted(one[1] for one in crashed) == ["etl"] * dead + ["step"] * dead
    assert sorted(one[1] for one in completed) == ["etl"] * alive + ["step"] * alive
    lost = machines.journal.runs(RunQuery(state_types=[StateType.CRASHED]))
    assert {one[2] for one in crashed} == {one.id.hex for one in lost}
    # Neither the dead nor the living ran them: each was loaded again, in a process of its own.
    assert not {one[3] for one in crashed} & {str(one.pid) for one in machines.processes}


def test_a_machine_that_wakes_up_can_acknowledge_nothing(machines: Machines) -> None:
    """Its runs are another's; it says so once, and is somebody new for what it begins later."""
    machines.start(2, flows=2)
    machines.processes[0].send_signal(signal.SIGSTOP)
    machines.until_crashed(2)
    before = {one.id: one for one in machines.journal.runs(RunQuery())}
    machines.processes[0].send_signal(signal.SIGCONT)
    by_then = [machines.end_flow(0), machines.end_flow(1)]
    assert [machines.read(0), machines.read(1)] == ["running"] * 2
    anew = [machines.end_flow(0), machines.end_flow(1)]
    assert [one.wait(PATIENCE) for one in machines.processes] == [0, 0]

    runs = machines.journal.runs(RunQuery())
    crashed = [one for one in runs if one.state_name == "Crashed"]
    assert crashed == [one for one in before.values() if one.state_name == "Crashed"]
    owners = machines.journal.owners()
    first, again = [one for one in owners if one.host == "machine-0"]
    assert {one.owner for one in crashed} == {first.id}
    assert first.ended is not None
    assert [again.id] == anew[:1]
    assert anew[1:] == by_then[1:]
    assert [one.state_name for one in runs if one.owner == again.id] == ["Completed"] * 2
    of_crashed = [
        one
        for one in machines.journal.deliveries(DeliveryQuery())
        if one.run_id in {r.id for r in crashed}
    ]
    assert [one.status for one in of_crashed] == [DeliveryStatus.DELIVERED] * 2
    assert machines.said()[0].count("was silent for too long") == 1
    assert all(one.ended is not None for one in owners)
    assert machines.journal.verify() == []
