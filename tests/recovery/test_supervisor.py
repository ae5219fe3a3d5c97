"""Every dead owner is recovered by a process of its own, and what goes wrong is reported."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow.journal import open_journal
from eventflow.owners.folders import LockedFolder, is_recovery_at_work, owners_folder
from eventflow.owners.process import describe
from eventflow.recovery import supervisor
from eventflow.recovery.owner import Report
from eventflow.recovery.supervisor import recover
from tests.guarantee.sandbox import wait_until
from tests.journal.elsewhere import Process
from tests.recovery.scripts import ReadTold, RunKilled, owner_folders


def test_a_recovery_that_cannot_be_started_is_reported(
    run_killed: RunKilled, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner stays as it is, to be recovered later."""
    run_killed("@flow\ndef etl(): die()\netl()\n")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr(subprocess, "Popen", refuse)

    (report,) = recover(url)

    assert report.problem == "its recovery cannot be started: too many processes"
    assert len(owner_folders(url)) == 1


def test_no_owner_waits_behind_the_hook_of_another(
    run_killed: RunKilled, url: str, read_told: ReadTold
) -> None:
    """Not one that was dead before, and not one that dies while the first recovery hangs."""
    script = """
import time

def page(flow, run, state):
    tell(run.parameters["n"])
    while run.parameters["n"] == 1 and not os.path.exists("go"): time.sleep(0.02)

@flow(on_crashed=[page])
def etl(n): die()

if __name__ == "__main__":
    etl(int(open("n").read()) if os.path.exists("n") else 1)
"""
    run_killed(script)
    folder = Path(url.removeprefix("sqlite:///")).parent
    (folder / "n").write_text("2")
    run_killed(script)
    reports: list[Report] = []
    recovery = threading.Thread(target=lambda: reports.extend(recover(url)))
    recovery.start()
    wait_until(lambda: len(read_told()) == 2, read_told)
    (folder / "n").write_text("3")
    run_killed(script)
    wait_until(lambda: len(read_told()) == 3, read_told)
    assert recovery.is_alive()
    assert recover(url, wait=False) == []
    (folder / "go").touch()
    recovery.join(60)

    assert sorted(told for (told,) in read_told()) == [1, 2, 3]
    assert [(report.problem, report.crashed) for report in reports] == [(None, 1)] * 3
    assert owner_folders(url) == []


def test_what_a_hook_has_started_does_not_keep_up_the_recovery(
    run_killed: RunKilled, url: str, read_told: ReadTold, tmp_path: Path
) -> None:
    """A fork of a hook that lives on has the other end of the report."""
    run_killed(
        """
import time

def fork(flow, run, state):
    if os.fork() == 0:
        while not os.path.exists("go"): time.sleep(0.02)
        os._exit(0)
    tell("forked", sorted(name for name in os.environ if "GENERATION" in name))

@flow(on_crashed=[fork])
def etl(): die()

etl()
"""
    )

    (report,) = recover(url)

    (tmp_path / "go").touch()
    assert (report.problem, report.crashed) == (None, 1)
    assert read_told() == [["forked", []]]


def test_an_owner_that_lives_here_is_not_recovered_by_its_lease(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may have been away for longer; who holds the lock of the folder is alive."""
    monkeypatch.setenv("EVENTFLOW_HOME", str(tmp_path / "home"))
    root, owner = owners_folder(postgres_url), describe()
    assert root is not None
    journal = open_journal(postgres_url)
    fence = journal.register(owner, lease_seconds=-1)

    with LockedFolder.create(root, owner):
        assert recover(postgres_url) == []

    assert journal.renew(fence, 60)
    journal.close()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc")
def test_a_recovery_that_another_process_began_is_waited_for(
    run_killed: RunKilled, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a guardian; without `wait` it is left to that process."""
    run_killed("@flow\ndef etl(): die()\netl()\n")
    root = owners_folder(url)
    assert root is not None
    (name,) = owner_folders(url)
    code = """
import sys
from pathlib import Path
from eventflow.owners import folders  # as eventflow.recovery does
with folders.DeadOwner.read(Path(sys.argv[1])).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""
    other = Process(code, root / name)
    assert other.line() == "locked"
    waited = threading.Event()

    def is_at_work(root: Path) -> bool:
        at_work = is_recovery_at_work(root)
        if at_work:
            waited.set()
        return at_work

    monkeypatch.setattr(supervisor, "is_recovery_at_work", is_at_work)
    assert recover(url, wait=False) == []
    assert not waited.is_set()

    reports: list[Report] = []
    recovery = threading.Thread(target=lambda: reports.extend(recover(url)))
    recovery.start()
    assert waited.wait(60)
    assert recovery.is_alive()

    other.kill()
    assert other.rest() == ""
    recovery.join(60)
    assert [(report.problem, report.crashed) for report in reports] == [(None, 1)]


def test_an_owner_is_recovered_until_its_runs_are_finished(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another recovery may have kept some meanwhile; what was done each time is added up."""
    open_journal(url).close()
    unfinished = [["x"], ["x"], ["x"], []]
    report = Report("x", crashed=1, dead=2)
    monkeypatch.setattr(supervisor, "_without_folder", lambda *_: unfinished.pop(0))
    monkeypatch.setattr(supervisor, "_run", lambda *_: (0, report))

    (whole,) = recover(url)

    assert (whole.crashed, whole.dead, unfinished) == (3, 6, [])


def test_an_owner_that_cannot_be_recovered_is_not_tried_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a problem once, without one a few times."""
    open_journal(url).close()
    tries: list[str | None] = []
    monkeypatch.setattr(supervisor, "_without_folder", lambda *_: ["x"])
    for problem, count in (("no", 1), (None, supervisor.TRIES_BY_ID)):

        def run(*_: object, problem: str | None = problem) -> tuple[int, Report]:
            tries.append(problem)
            return 0, Report("x", problem=problem)

        monkeypatch.setattr(supervisor, "_run", run)
        recover(url)
        assert tries.count(problem) == count
