"""Hooks of states that last on the command line, from the run of a flow to its past."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.cli.conftest import Invoke, Spawn

FLOWS = """
import time
from eventflow import Hook, flow, hook, task

def page(definition, run, state):
    print("PAGE", definition.name, state.name, flush=True)

def fail(definition, run, state):
    raise ValueError("no pager")

@task(hooks=[Hook(page, state="Running", lasting=0.1)], on_end=[page])
def step():
    time.sleep(0.5)

@flow(on_overdue=[page, fail], overdue_seconds=0.2)
def nightly():
    step()

@flow(on_overdue=[page], overdue_seconds=60)
def quick(): ...

lasting = Hook(page, state="Running", lasting=0.1, run_type="flow")
long = Hook(page, state="Running", lasting=60)
overdue = Hook(page, overdue_seconds=0.2)

@hook(run_type="flow", state="Cancelling", lasting=60)
def stuck(definition, run, state): ...
"""


@pytest.fixture
def shared(eventflow_isolated: object) -> dict[str, str]:
    """Return the environment of processes that have the journal of `invoke`."""
    return {"EVENTFLOW_JOURNAL_URL": EVENTFLOW_JOURNAL_URL.value()}


@pytest.fixture
def past(folder: Path, spawn: Spawn, invoke: Invoke, shared: dict[str, str]) -> str:
    """Run both flows, each in a process of its own; return the log of the first."""
    (folder / "timed.py").write_text(FLOWS)
    run = spawn("run", "timed.py:nightly", env=shared)
    out, log = run.communicate(timeout=60)
    assert run.returncode == 0, log
    assert sorted(line for line in out.splitlines() if line.startswith("PAGE")) == [
        "PAGE nightly Running",
        "PAGE step Completed",
        "PAGE step Running",
    ]
    other = spawn("run", "timed.py:quick", env=shared)
    other.communicate(timeout=60)
    assert other.returncode == 0

    return str(log)


def test_overdue_runs_are_marked(invoke: Invoke, past: str) -> None:
    """On the terminal, once; in the list, in the details of a run, and in JSON with the time."""
    said = [line for line in past.splitlines() if "Overdue" in line]
    assert len(said) == 1
    assert "WARNING nightly/" in said[0]
    assert said[0].endswith("Overdue: it has not ended within 200 ms.")

    _, *lines = invoke("runs", "ls").stdout.splitlines()
    quick, nightly = lines
    assert "Completed, was overdue" in nightly
    assert "overdue" not in quick

    listed = json.loads(invoke("runs", "ls", "--json").stdout)
    assert [run["overdue"] is None for run in listed] == [True, False]
    shown = invoke("runs", "show", listed[1]["name"]).stdout
    assert "Completed, was overdue" in shown.splitlines()[0]
    assert re.search("^overdue +since 20", shown, re.MULTILINE)
    assert "overdue after 200 ms" in shown


def test_deliveries_say_what_for(invoke: Invoke, past: str) -> None:
    """For how long a state has lasted, or after how long the run was overdue."""
    listed = json.loads(invoke("deliveries", "ls", "--json").stdout)
    times = {
        (each["hook"], each["definition_name"], each["lasting"], each["overdue_seconds"])
        for each in listed
    }
    assert times == {
        ("timed:page", "step", 0.1, None),
        ("timed:page", "step", None, None),
        ("timed:page", "nightly", None, 0.2),
        ("timed:fail", "nightly", None, 0.2),
    }
    table = invoke("deliveries", "ls").stdout
    assert "Running for 100 ms" in table
    (dead,) = [each for each in listed if each["status"] == "dead"]
    shown = invoke("deliveries", "show", dead["id"]).stdout
    assert "\non        overdue after 200 ms\n" in shown
    assert "ValueError: no pager" in shown
    assert invoke("verify").stdout.startswith("Nothing is wrong")


def test_a_dead_delivery_is_redriven(
    invoke: Invoke, past: str, folder: Path, spawn: Spawn, shared: dict[str, str]
) -> None:
    """Though its run has ended: it was overdue."""
    (folder / "timed.py").write_text(FLOWS.replace("raise ValueError", "print"))
    assert "1 delivery is pending again" in invoke("deliveries", "redrive", "--all").stdout
    recovery = spawn("recover", env=shared)
    recovery.communicate(timeout=60)
    assert recovery.returncode == 0
    assert {each["status"] for each in json.loads(invoke("deliveries", "ls", "--json").stdout)} == {
        "delivered"
    }


def test_hooks_that_are_checked(invoke: Invoke, past: str) -> None:
    """With the time that each asks for."""
    checked = json.loads(invoke("hooks", "check", "timed.py", "--json").stdout)
    assert {(each["hook"], each["on"], each["states"]) for each in checked} == {
        ("timed:page", "task step", "Running for 100 ms"),
        ("timed:page", "task step", "COMPLETED, FAILED, CANCELLED, CRASHED"),
        ("timed:page", "flow nightly", "overdue after 200 ms"),
        ("timed:fail", "flow nightly", "overdue after 200 ms"),
        ("timed:page", "flow quick", "overdue after 1 min 00 s"),
        ("timed:stuck", "every run", "Cancelling for 1 min 00 s"),
    }
    assert all(each["guaranteed"] for each in checked)


def test_a_replay_respects_the_time(invoke: Invoke, past: str) -> None:
    """Of past states that lasted so long, and of runs that were overdue."""
    counts = {"lasting": 1, "long": 0, "overdue": 2, "page": 9}
    for hook, count in counts.items():
        arguments = ("--hook", f"timed.py:{hook}", "--since", "1h", "--dry-run", "--json")
        document = json.loads(invoke("replay", *arguments).stdout)
        assert len(document["events"]) == count, hook
