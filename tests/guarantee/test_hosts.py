"""A run of another host is listed, followed, shown and cancelled, by the journal of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import pytest

from tests.guarantee.sandbox import Sandbox, wait_until

FLOW: Final = """
@task
def step():
    hold()

@flow(flow_run_name="far-away", on_cancellation=[record_state])
def etl():
    step()

if __name__ == "__main__":
    etl()
"""


def a_host(folder: Path, name: str, url: str) -> Sandbox:
    """Return a computer with a home of its own."""
    (folder / name).mkdir()
    made = Sandbox(folder / name)
    made.url = url
    made.env |= {"EVENTFLOW_HOST_ID": name, "EVENTFLOW_JOURNAL_URL": url}

    return made


@pytest.fixture
def hosts(tmp_path: Path, postgres_url: str) -> Iterator[tuple[Sandbox, Sandbox]]:
    far, near = (a_host(tmp_path, name, postgres_url) for name in ("far", "near"))
    yield far, near
    far.clear()
    near.clear()


def test_a_run_of_another_host(hosts: tuple[Sandbox, Sandbox]) -> None:
    """It ends as Cancelled, with its hooks on its own host; nobody else takes it for dead."""
    far, near = hosts
    tail = near.start("-m", "eventflow.cli", "tail", "--since", "1h", "--json")
    program = far.python(FLOW)
    far.wait_for_record("ready")
    page = near.start("-m", "eventflow.cli", "serve", "--port", "0", "--token", "secret")
    assert page.popen.stdout is not None
    address = page.popen.stdout.readline().split()[-1].partition("/?")[0]

    def listed() -> dict[str, str]:
        runs = json.loads(near.eventflow("runs", "ls", "--json"))
        return {run["name"]: run["id"] for run in runs if run["run_type"] == "flow"}

    run_id = wait_until(lambda: listed().get("far-away"), listed)
    request = Request(f"{address}/", headers={"Authorization": "Bearer secret"})
    with urlopen(request) as answer:
        assert b"far-away" in answer.read()
    near.eventflow("cancel", str(run_id), "--wait")
    program.end()

    assert far.records()[1:] == [["etl", "Cancelling", 1]]
    assert {state for _, state in near.states()} == {"Cancelled"}
    assert near.recover() == []
    assert tail.popen.stdout is not None
    states = []
    while "Cancelled" not in states:
        event = json.loads(tail.popen.stdout.readline())
        if event["run_id"] == run_id:
            states.append(event["to_state"]["name"])
    assert states == ["Pending", "Running", "Cancelling", "Cancelled"]
