"""What an ended process has left is taken in by whoever comes next, and by nobody else."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflow import flow, hook
from eventflow.client.journals import opened_journal
from eventflow.errors import JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.journal.stores.sqlite import SqliteJournal
from eventflow.journal.wal.spool import commit_in_parts
from eventflow.owners import folders as folders_module
from eventflow.owners import leftovers
from eventflow.owners.folders import dead, ended, owners_folder
from eventflow.recovery.supervisor import recover
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import Isolated, isolated
from eventflow.wiring import detach
from tests.forked import in_a_fork
from tests.journal.reading import the_recorder
from tests.owners.owning import folders, session, work

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.fixture(params=["process", "power"])
def own(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Isolated]:
    """Use a bus with each kind of journal that has all records in files of this host.

    Nothing is committed in the background, and this process takes in nothing by itself.
    """
    monkeypatch.setattr("eventflow.journal.wal.writer.LINGER_SECONDS", 600)
    monkeypatch.setattr("eventflow.owners.session.SETTLE_SECONDS", 600)
    with (
        temporary_settings({EVENTFLOW_DURABILITY: request.param}),
        isolated(tmp_path / "own") as made,
    ):
        yield made


def root() -> Path:
    """Return the folder of all owners."""
    folder = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert folder is not None

    return folder


def take_in() -> None:
    """Take in what was left to the journal in force."""
    leftovers.take_in(EVENTFLOW_JOURNAL_URL.value(), "process")


def states() -> list[str]:
    """Return the states of the runs in the journal, which must be whole, without taking in."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    try:
        assert journal.verify() == []
        return [run.state_name for run in journal.runs(RunQuery())]
    finally:
        journal.close()


def leave(calls: int = 1) -> str:
    """Run a task, and leave its records as at the end of the process; return the owner."""
    for _ in range(calls):
        work()
    owner = the_recorder().owner_id
    session().leave()
    assert [each.id for each in ended(root())] == [owner]
    assert dead(root()) == []

    return owner


def test_an_end_commits_nothing(own: Isolated) -> None:
    """Nor does it open the journal; the next reader finds the runs, the hooks and the owner."""
    calls: list[object] = []
    hook(state="Completed")(lambda *_: calls.append(1))
    owner = leave(3)
    assert not Path(EVENTFLOW_JOURNAL_URL.value().removeprefix("sqlite:///")).exists()

    with opened_journal() as journal:
        assert journal is not None
        assert [run.state_name for run in journal.runs(RunQuery())] == ["Completed"] * 3
        assert {row.status for row in journal.deliveries(DeliveryQuery())} == {"delivered"}
        (row,) = journal.owners()
        assert (row.id, row.reason, row.pid) == (owner, "ended", os.getpid())
    assert folders() == []
    assert calls == [1] * 3


def test_what_was_committed_before_is_not_committed_twice(own: Isolated) -> None:
    """Neither runs that were in the journal at the end, nor those that were begun there."""

    @flow
    def main() -> None:
        work()
        assert the_recorder().flush()

    main()
    assert the_recorder().flush()
    leave()
    take_in()
    take_in()

    assert states() == ["Completed"] * 3


def test_an_owner_that_owes_a_hook_is_not_left(own: Isolated) -> None:
    """It commits, and counts as dead: its folder is not taken in, but recovered."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow(on_completion=[interrupted])(work)()
    session().leave()

    assert ended(root()) == []
    assert len(folders()) == 1
    assert states() == ["Completed"] * 2


def test_an_owner_with_an_unfinished_run_is_not_left(own: Isolated) -> None:
    """It commits, also if nothing else executes any more."""
    ends: list[Callable[[], None]] = []

    @flow
    def main() -> None:
        work()
        ends.append(session().leave)
        session().leave()

    main()

    assert ended(root()) == []
    assert "Running" in states()


def test_a_hook_that_failed_is_in_the_journal_at_the_end(own: Isolated) -> None:
    """What is not told by the record of the run alone is committed as long as somebody can."""

    @hook(state="Completed", retries=0)
    def fail(*_: Any) -> None:
        raise ValueError

    work()
    session().leave()

    assert folders() == []
    assert states() == ["Completed"]


def test_a_disk_that_is_full_has_an_end_commit(
    own: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be noted that the process has ended, its records are not left."""
    opened = vars(folders_module)["open_file"]

    def refuse(path: Path, flags: int) -> int:
        if path.name == folders_module.ENDED:
            raise OSError(errno.ENOSPC, "full")
        descriptor: int = opened(path, flags)

        return descriptor

    monkeypatch.setattr(folders_module, "open_file", refuse)
    work()
    session().leave()

    assert folders() == []
    assert states() == ["Completed"]


def test_files_that_were_deleted_have_an_end_commit(own: Isolated) -> None:
    """Nobody would find the records there."""
    work()
    for path in root().glob("*/segment-*"):
        path.unlink()
    session().leave()

    assert states() == ["Completed"]


@pytest.mark.parametrize("moment", ["commit", "end", "unlink"])
def test_who_takes_in_may_be_killed(
    own: Isolated, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """After a commit, before or after the files are gone: the next one goes on from there."""
    leave(2)
    holder: Any = Path if moment == "unlink" else SqliteJournal
    plain = getattr(holder, moment)

    def kill(*args: Any, **kwargs: Any) -> None:
        plain(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    def die() -> bool:
        setattr(holder, moment, kill)
        take_in()
        return True

    assert not in_a_fork(die)
    assert len(folders()) == 1
    take_in()

    assert states() == ["Completed"] * 2
    assert folders() == []


def test_a_reader_waits_for_another_that_takes_in(own: Isolated, tmp_path: Path) -> None:
    """Both see all runs, whoever commits them."""
    leave(2)
    begun = tmp_path / "begun"
    commit = commit_in_parts

    def slow(*args: Any) -> None:
        begun.touch()
        time.sleep(0.3)
        commit(*args)

    def first() -> bool:
        vars(leftovers)["commit_in_parts"] = slow
        take_in()
        return states() == ["Completed"] * 2

    child = os.fork()
    if child == 0:
        os._exit(0 if first() else 1)
    while not begun.exists():
        time.sleep(0.001)
    take_in()

    assert states() == ["Completed"] * 2
    assert os.waitpid(child, 0)[1] == 0


def test_a_folder_may_be_deleted_meanwhile(
    own: Isolated, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no error; its records are lost with it."""
    leave()
    registered = SqliteJournal.register

    def delete(journal: SqliteJournal, *args: Any) -> Any:
        for path in root().iterdir():
            shutil.rmtree(path)
        return registered(journal, *args)

    monkeypatch.setattr(SqliteJournal, "register", delete)
    take_in()

    assert states() == []
    assert caplog.text == ""


def test_a_journal_that_cannot_be_written_is_read(
    own: Isolated, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left stays where it is, with one line in the log, and is taken in later."""
    work()
    assert the_recorder().flush()
    leave()
    leftovers._warn.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(SqliteJournal, "commit", _refuse)
        take_in()
        take_in()
        assert states() == ["Completed"]
    assert caplog.text.count("cannot be read yet") == 1
    take_in()

    assert states() == ["Completed"] * 2


def _refuse(*_: Any) -> None:
    raise JournalError("no")


def test_an_owner_that_owes_after_all_is_recovered(
    own: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was left by mistake counts as dead once that is known."""

    @flow
    def main() -> None:
        writer = session().writer
        the_recorder().record_open_runs()
        writer.unfinished.clear()
        monkeypatch.setattr("eventflow.owners.session.active_runs", {})
        session().leave()

    main()
    detach(current_bus())
    assert len(ended(root())) == 1
    take_in()

    assert ended(root()) == []
    assert len(dead(root())) == 1
    (report,) = recover(EVENTFLOW_JOURNAL_URL.value())
    assert (report.crashed, report.problem) == (1, None)
    assert states() == ["Crashed"]
