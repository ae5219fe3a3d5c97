"""States that last on a host that is lost: another one delivers what was due (PostgreSQL)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guarantee.sandbox import Sandbox, wait_until

# In the same place for each, like a program that is installed on all hosts.
WORK = """
import pathlib
from eventflow import Hook
from eventflow.eventbus.deadlines import timer
from eventflow.testing import flush

HERE = pathlib.Path(__file__).parent
host = os.environ["EVENTFLOW_HOST_ID"]

def told(kind, definition, run, state):
    with open(HERE / "told", "a") as file:
        file.write(f"{kind} {run.name} {state.name}\\n")

def overdue(definition, run, state):
    told("overdue", definition, run, state)

def slow(definition, run, state):
    told("slow", definition, run, state)

def later(definition, run, state):
    told("later", definition, run, state)

def ended(definition, run, state):
    told("ended", definition, run, state)

@task(task_run_name="task of " + host, hooks=[Hook(slow, state="Running", lasting=0.5)])
def step():
    flush()
    record("ready")
    sys.stdin.readline()

@flow(flow_run_name="flow of " + host, on_overdue=[overdue], overdue_seconds=0.5, on_end=[ended])
def etl():
    step()

etl.on_overdue(after=3600)(later)

if __name__ == "__main__":
    if host == "lost" and len(sys.argv) > 1:
        timer.run = lambda: None
    etl()
"""


class Hosts:
    """Two computers with one journal, each with a home of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.told_in = folder / "told"
        (folder / "lost").mkdir()
        (folder / "other").mkdir()
        self.lost, self.other = Sandbox(folder / "lost"), Sandbox(folder / "other")
        for name, sandbox in {"lost": self.lost, "other": self.other}.items():
            sandbox.url = url
            sandbox.env |= {
                "EVENTFLOW_HOST_ID": name,
                "EVENTFLOW_JOURNAL_URL": url,
                "EVENTFLOW_LEASE_SECONDS": "3",
            }
        self.source = str(self.lost.write("../flow.py", WORK))

    def told(self) -> list[str]:
        """Return what hooks have been told of, in the order of the text."""
        return sorted(self.told_in.read_text().splitlines()) if self.told_in.exists() else []


@pytest.fixture
def hosts(tmp_path: Path, postgres_url: str) -> Iterator[Hosts]:
    made = Hosts(tmp_path, postgres_url)
    yield made
    made.lost.clear()
    made.other.clear()


@pytest.mark.parametrize("has_delivered", [True, False])
def test_another_host_delivers(hosts: Hosts, has_delivered: bool) -> None:
    """What was due before the lease of the lost one ran out, unless that had delivered it."""
    due = ["overdue flow of lost Running", "slow task of lost Running"]
    lost = hosts.lost.start(hosts.source, *([] if has_delivered else ["late"]))
    hosts.lost.wait_for_record("ready")
    if has_delivered:
        wait_until(lambda: hosts.told() == due, hosts.told)
        wait_until(
            lambda: {status for _, status, _ in hosts.lost.deliveries()} == {"delivered"},
            hosts.lost.deliveries,
        )
    hosts.lost.kill_with_guardian(lost)
    other = hosts.other.start(hosts.source)
    hosts.other.wait_for_record("ready")
    end = "ended flow of lost Crashed"
    wait_until(lambda: end in hosts.told(), hosts.told)
    assert [each for each in hosts.told() if "of lost" in each] == sorted([end, *due])

    # The other one goes on, and tells of its own.
    own = ["overdue flow of other Running", "slow task of other Running"]
    wait_until(lambda: set(own) <= set(hosts.told()), hosts.told)
    assert other.popen.stdin is not None
    other.popen.stdin.write("go on\n")
    other.popen.stdin.flush()
    assert other.end() == 0, other.output
    own.append("ended flow of other Completed")
    assert hosts.told() == sorted([end, *due, *own])
    assert hosts.other.journal.verify() == []


def test_a_stopped_process_and_its_guardian(hosts: Hosts) -> None:
    """The guardian delivers on its own host, before the lease is over."""
    lost = hosts.lost.start(hosts.source, EVENTFLOW_GUARDIAN_GRACE_SECONDS="0.1")
    hosts.lost.wait_for_record("ready")
    lost.send(signal.SIGSTOP)
    due = ["overdue flow of lost Running", "slow task of lost Running"]
    wait_until(lambda: hosts.told() == due, hosts.told)
    lost.send(signal.SIGCONT)
    assert lost.popen.stdin is not None
    lost.popen.stdin.write("go on\n")
    lost.popen.stdin.flush()

    assert lost.end() == 0, lost.output
    assert hosts.told() == ["ended flow of lost Completed", *due]
    assert hosts.lost.journal.verify() == []
