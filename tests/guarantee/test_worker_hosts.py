"""Three hosts, one journal: one is cut off, one is killed, and the one that is left does it all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.guarantee.sandbox import Program, Sandbox, wait_until
from tests.journal.proxy import Proxy
from tests.journal.server import Server

LEASE_SECONDS: Final = "2"

# In the same place for each, like a program that is installed on all hosts.
FLOW: Final = """
import pathlib
from eventflow import Hook

HERE = pathlib.Path(__file__).parent
host = os.environ["EVENTFLOW_HOST_ID"]

def told(*facts):
    with open(HERE / "told", "a") as file:
        file.write(" ".join([host, *facts]) + "\\n")

def until(name):
    while not (HERE / name).exists():
        time.sleep(0.02)

def press(flow, run, state):
    told("presses", run.name, state.name)
    if state.name == "Running":
        until(f"{host} goes on")

def crashed(flow, run, state):
    told("saw", run.name, state.name)

def completed(flow, run, state):
    told("saw", run.name, state.name)

@flow(
    flow_run_name="work-of-" + host,
    hooks=[Hook(press, state=["Running", "Completed", "Crashed"], where="worker")],
    on_crashed=[crashed],
    on_completion=[completed],
)
def etl():
    told("runs")
    until(f"{host} goes on")

if __name__ == "__main__":
    etl()
"""


class Host(Sandbox):
    """A computer with a home of its own, a worker, and a flow that goes on until it is told to."""

    def __init__(self, folder: Path, name: str, url: str) -> None:
        (folder / name).mkdir()
        super().__init__(folder / name)
        self.name = name
        self.url = url
        self.source = folder / "flow.py"
        self.env |= {
            "EVENTFLOW_HOST_ID": name,
            "EVENTFLOW_JOURNAL_URL": url,
            "EVENTFLOW_LEASE_SECONDS": LEASE_SECONDS,
        }

    def work(self) -> Program:
        """Start its worker."""
        return self.start("-m", "eventflow.cli", "work", "--every", "0.1")

    def kill(self) -> None:
        """Kill all of its processes at once: the host is gone."""
        for signum in (signal.SIGSTOP, signal.SIGKILL):
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)


class Hosts:
    """Three hosts; the way of one to the journal leads through a proxy."""

    def __init__(self, folder: Path, url: str, server: Server) -> None:
        self.folder = folder
        self.proxy = Proxy(server.port)
        through = url.replace(f":{server.port}", f":{self.proxy.port}")
        self.cut_off, self.killed, self.left = (
            Host(folder, name, through if name == "cut-off" else url)
            for name in ("cut-off", "killed", "left")
        )
        self.left.write("../flow.py", FLOW)

    def told(self) -> list[str]:
        """Return what hooks and flows have told, in the order of the text."""
        path = self.folder / "told"

        return sorted(path.read_text().splitlines()) if path.exists() else []

    def wait_for(self, *told: str) -> None:
        """Wait until all of that was told."""
        wait_until(lambda: set(told) <= set(self.told()), self.told)

    def let_go_on(self, host: Host) -> None:
        """Let the flow and the hooks that execute on a host end."""
        (self.folder / f"{host.name} goes on").touch()


@pytest.fixture
def hosts(tmp_path: Path, postgres_url: str, postgres: Server) -> Iterator[Hosts]:
    made = Hosts(tmp_path, postgres_url, postgres)
    yield made
    for host in (made.cut_off, made.killed, made.left):
        host.clear()
    made.proxy.close()


def test_the_host_that_is_left_does_it_all(hosts: Hosts) -> None:
    """Once the leases are over; who comes back acknowledges nothing, and runs no hook."""
    flows = {host: host.start(str(host.source)) for host in (hosts.cut_off, hosts.killed)}
    hosts.wait_for("cut-off runs", "killed runs")
    workers = {host: host.work() for host in (hosts.cut_off, hosts.killed)}
    wait_until(lambda: sum("presses" in each for each in hosts.told()) == 2, hosts.told)
    before = hosts.told()
    assert {each.split()[0] for each in before if "presses" in each} == {"cut-off", "killed"}

    hosts.let_go_on(hosts.left)
    hosts.killed.kill()
    hosts.proxy.close()
    hosts.left.work()
    hosts.left.start("-m", "eventflow.cli", "recover", "--watch", "--every", "0.2")
    taken_over = sorted(
        f"left {what} work-of-{name} {state}"
        for name in ("cut-off", "killed")
        for what, state in (("presses", "Running"), ("presses", "Crashed"), ("saw", "Crashed"))
    )
    hosts.wait_for(*taken_over)
    journal = hosts.left.journal
    wait_until(
        lambda: {status for _, status, _ in hosts.left.deliveries()} == {"delivered"},
        hosts.left.deliveries,
    )
    settled = sorted(hosts.left.deliveries())

    # The one that was cut off comes back, and goes on where it was.
    hosts.proxy.listen()
    hosts.let_go_on(hosts.cut_off)
    assert flows[hosts.cut_off].end() == 0, flows[hosts.cut_off].output
    workers[hosts.cut_off].send(signal.SIGTERM)
    assert workers[hosts.cut_off].end() == 0
    assert "nothing was acknowledged" in workers[hosts.cut_off].output

    assert hosts.told() == sorted([*before, *taken_over])
    assert sorted(hosts.left.deliveries()) == settled
    assert [state for _, state in hosts.left.states()] == ["Crashed", "Crashed"]
    assert journal.verify() == []
