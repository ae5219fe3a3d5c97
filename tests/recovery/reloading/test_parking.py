"""Where a run would begin in a file that is loaded, its thread is parked for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.recovery.supervisor import recover
from tests.recovery.scripts import HEAD, ReadTold, RunKilled, owner_folders

# The owner dies in its only run; `by` says who executes a line.
FLOW = """
import asyncio, atexit, contextlib, threading
from concurrent.futures import ThreadPoolExecutor

def by():
    return "owner" if os.environ.get("OWNER", str(os.getpid())) == str(os.getpid()) else "recovery"

os.environ["OWNER"] = str(os.getpid()) if not os.path.exists("begun") else "0"

def page(flow, run, state): tell("page", by())

@flow(on_crashed=[page])
def load():
    open("begun", "w").close()
    die()
"""


@pytest.mark.parametrize(
    "call",
    [
        "try:\n    load()\nfinally:\n    tell('handler', by())\n    os._exit(0)\n",
        "try:\n    load()\nexcept BaseException:\n    tell('handler', by())\n",
        "with contextlib.suppress(BaseException):\n    load()\n",
        "thread = threading.Thread(target=load)\nthread.start()\nthread.join()\n",
        "with ThreadPoolExecutor() as pool:\n    pool.submit(load).result()\n",
        "asyncio.run(asyncio.to_thread(load))\n",
        "atexit.register(lambda: tell('exit', by()))\nload()\n",
        "signal.signal(signal.SIGTERM, lambda *_: tell('signal', by()))\nload()\n",
        "child = os.fork()\nif child == 0:\n    load()\nos.waitpid(child, 0)\n",
    ],
)
def test_nothing_is_executed_past_the_first_run(
    run_killed: RunKilled, url: str, read_told: ReadTold, journal: Journal, call: str
) -> None:
    """No handler, no line after the call, whatever thread or process it is in."""
    forked = "fork" in call
    run_killed(f"{FLOW}{call}tell('after', by())\n", code=0 if forked else -9)
    told = [["after", "owner"]] if forked else []
    assert read_told() == told

    reports = recover(url)

    assert [report.problem for report in reports if report.problem] == []
    assert read_told() == [*told, ["page", "recovery"]]
    (run,) = journal.runs(RunQuery())
    assert run.state_name == "Crashed"
    assert owner_folders(url) == []


def test_a_module_is_usable_while_its_import_is_parked(
    run_killed: RunKilled, url: str, read_told: ReadTold, tmp_path: Path
) -> None:
    """A hook imports it by name: it has what was defined above the call."""
    (tmp_path / "jobs.py").write_text(
        "from eventflow import flow\nimport os, signal\n"
        "@flow\ndef first(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "NAME = 'defined'\nfirst()\n"
    )
    run_killed(
        """
def page(flow, run, state):
    import jobs
    from jobs import NAME
    tell(jobs.NAME, NAME)

hook(state="Crashed")(page)
import jobs
"""
    )

    (report,) = recover(url)

    assert (report.problem, report.crashed) == (None, 1)
    assert read_told() == [["defined", "defined"]]


@pytest.mark.parametrize("end", ["os._exit(0)", "die()"])
def test_a_file_that_ends_the_process_is_done_without(
    run_killed: RunKilled, url: str, read_told: ReadTold, journal: Journal, end: str
) -> None:
    """After three times; the hook that needs it is a dead delivery that says so."""
    run_killed(
        f"""
if os.path.exists("begun"):
    tell("loaded")
    {end}

def page(flow, run, state): ...

@flow(on_crashed=[page])
def load(): die()

open("begun", "w").close()
load()
"""
    )

    reports = recover(url)

    assert [report.problem for report in reports if report.problem] == []
    assert read_told() == [["loaded"]] * 3
    (run,) = journal.runs(RunQuery())
    assert run.state_name == "Crashed"
    (dead,) = journal.deliveries(DeliveryQuery())
    assert dead.status is DeliveryStatus.DEAD
    assert "the process ended in each of 3 attempts" in (dead.error or "")
    assert owner_folders(url) == []
    assert not list(Path(url.removeprefix("sqlite:///")).parent.glob("*-owners/.loading-*"))


def test_a_file_that_never_ends_is_parked(tmp_path: Path) -> None:
    """At its limit of time, in the main thread, with its handlers left out."""
    script = """
import sys
from eventflow.recovery.reloading import parking

def body():
    try:
        while True: pass
    finally:
        print("handler")

def work():
    print(parking.execute(body, 0.2))
    print(parking.execute(lambda: None, 30))
    sys.stdout.flush()
    return 7

parking.serve(work)
"""
    (tmp_path / "endless.py").write_text(script)

    ended = subprocess.run(
        [sys.executable, "endless.py"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (ended.returncode, ended.stdout) == (7, "it takes more than 0.2 s\nNone\n")


NIGHTLY = """
from alerts import tell, work
from eventflow import flow

@flow
def nightly():
    work()

@flow
def side():
    tell("side")

side()
"""

ALERTS = """
from eventflow.context import get_run_context

def page(task, run, state):
    tell("page", get_run_context().flow.fn.__name__)

@task(on_crashed=[page])
def work():
    die()
"""

# Loaded again, it begins a run, which parks the main thread.
SCRIPT = """
import alerts

if os.path.exists("begun"):
    alerts.work()
open("begun", "w").close()

import nightly
nightly.nightly()
"""


def test_a_file_that_a_hook_asks_for_begins_no_run(
    run_killed: RunKilled, url: str, read_told: ReadTold, tmp_path: Path
) -> None:
    """A hook may call flows; a file that is loaded for one of them is executed to its first run."""
    (tmp_path / "alerts.py").write_text(HEAD + ALERTS)
    (tmp_path / "nightly.py").write_text(NIGHTLY)
    run_killed(SCRIPT)

    (report,) = recover(url)

    assert report.problem is None
    assert read_told() == [["side"], ["page", "nightly"]]
