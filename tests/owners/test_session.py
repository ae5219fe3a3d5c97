"""This process as an owner: it begins with the first run, and ends with nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventflow import flow, hook, runtime
from eventflow.errors import JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.owners.folders import RECOVERING, dead, owners_folder
from eventflow.owners.locks import lock
from eventflow.owners.process import describe
from eventflow.settings import (
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_LEASE_SECONDS,
    EVENTFLOW_RETENTION_DAYS,
    temporary_settings,
)
from eventflow.testing import Isolated, isolated
from eventflow.wiring import detach
from tests.journal.reading import owed, statuses, the_recorder, the_run, written
from tests.owners.owning import folders, session, work

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@pytest.fixture
def recovered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the owners whose recovery is started; none is really started."""
    started: list[str] = []
    monkeypatch.setattr(
        "eventflow.owners.session.start_recovery",
        lambda folder, _url: started.append("all" if folder is None else folder.name),
    )

    return started


@pytest.fixture
def without_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave it to the test to renew, sweep and prune."""
    monkeypatch.setattr("eventflow.owners.session.Heartbeat.start", lambda _: None)
    monkeypatch.setattr("eventflow.owners.session.SETTLE_SECONDS", 0)


# -- begin and close ---------------------------------------------------------------------------


def test_nothing_is_created_before_the_first_run(own: Isolated) -> None:
    """Neither a file nor a folder; with the first run the owner is in the journal, alive."""
    assert not own.home.exists()
    work()
    owner = the_recorder().owner_id
    (row,) = written().owners(alive=True)

    assert (row.id, row.pid) == (owner, os.getpid())
    assert folders() == [owner]
    assert (row.lease_until is not None) == EVENTFLOW_JOURNAL_URL.value().startswith("postgresql")


def test_an_owner_with_nothing_left_to_do_ends(own: Isolated) -> None:
    """It is ended in the journal, its folder is deleted, and its runs are recorded."""
    hook(state="Completed")(lambda *_: None)
    flow(name="main")(work)()
    owner, url = the_recorder().owner_id, EVENTFLOW_JOURNAL_URL.value()
    detach(own.bus)
    assert folders() == []

    journal = open_journal(url)
    (row,) = journal.owners()
    assert (row.id, row.reason) == (owner, "ended")
    assert {run.state_name for run in journal.runs(RunQuery())} == {"Completed"}
    assert journal.verify() == []
    journal.close()


def test_an_owner_that_owes_a_hook_does_not_end(own: Isolated) -> None:
    """Its folder stays, locked until the process exits, for a recovery."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow(on_completion=[interrupted])(work)()
    owner, url = the_recorder().owner_id, EVENTFLOW_JOURNAL_URL.value()
    detach(own.bus)
    assert folders() == [owner]

    journal = open_journal(url)
    assert [row.id for row in journal.owners(alive=True)] == [owner]
    journal.close()
    work()
    assert the_recorder().owner_id != owner


def test_an_owner_with_an_unfinished_run_does_not_end(own: Isolated) -> None:
    """Its folder stays, for a recovery."""
    url = EVENTFLOW_JOURNAL_URL.value()

    @flow
    def main() -> str:
        owner = the_recorder().owner_id
        detach(current_bus())
        return owner

    owner = main()
    assert folders() == [owner]
    journal = open_journal(url)
    assert [run.state_name for run in journal.runs(RunQuery(keeper=owner))] == ["Running"]
    journal.close()


def test_a_session_can_be_used_after_it_was_closed(own: Isolated) -> None:
    """A later run makes it another owner; closing may be repeated."""
    work()
    closed = session()
    first = closed.owner
    closed.close()
    closed.close()
    assert folders() == []
    work()
    assert the_recorder().owner_id not in {first, ""}
    assert len(written().runs(RunQuery())) == 2
    assert [row.id for row in written().owners(alive=True)] == [the_recorder().owner_id]
    assert written().verify() == []


def test_a_folder_that_cannot_be_created_fails_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log warns of it; the run is journalled without a spool."""
    path = tmp_path / "journal.db"
    Path(f"{path}-owners").write_text("a file")
    with temporary_settings({EVENTFLOW_JOURNAL_URL: f"sqlite:///{path}"}), isolated():
        assert work() == 1
        assert the_run("work").state_name == "Completed"
    assert "nobody will know of it" in caplog.text


def test_runs_need_no_background_thread(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventflow_isolated: Isolated,
) -> None:
    """At the end of the interpreter none can be started: all is written at once, by one owner."""
    starts = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("eventflow"):
            raise RuntimeError("can't start new thread")
        starts(thread)

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", start)
        assert (work(), work()) == (1, 1)
        assert len(folders()) == 1
        detach(eventflow_isolated.bus)
    assert folders() == []
    assert "does not hear of cancellations" in caplog.text
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    assert [run.state_name for run in journal.runs(RunQuery())] == ["Completed"] * 2
    journal.close()


# -- a hook's own transaction ------------------------------------------------------------------


def _rows(url: str) -> list[str]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            return [what for (what,) in lite.execute("SELECT what FROM mine")]
    with psycopg.connect(url, client_encoding="utf8") as connection:
        return [what for (what,) in connection.execute("SELECT what FROM mine")]


def _make_table(url: str) -> None:
    text = "CREATE TABLE mine (what TEXT)"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            lite.execute(text)
    else:
        with psycopg.connect(url) as connection:
            connection.execute(text)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_what_a_hook_writes_is_there_exactly_once(own: Isolated, way: str) -> None:
    """An error rolls it back together with the acknowledgement; the next attempt has both."""
    url = EVENTFLOW_JOURNAL_URL.value()
    work()
    written()
    _make_table(url)
    seen: list[Any] = []

    def writes(*_: Any) -> None:
        with runtime.hook.transaction() as connection:
            connection.execute(f"INSERT INTO mine VALUES ('{runtime.hook.attempt}')")
            work()  # its transitions are committed afterwards
            if runtime.hook.attempt == 1:
                raise ValueError("rolled back")
        seen.append((_rows(url), statuses(main_id())))
        with pytest.raises(JournalError, match="delivered already"), runtime.hook.transaction():
            pass

    def main_id() -> Any:
        return the_run("main").id

    async def awrites(*args: Any) -> None:
        writes(*args)

    on = hook(state="Completed", name="main", retries=1)
    on(writes if way == "sync" else awrites)
    flow(name="main")(lambda: 1)()

    assert seen == [(["2"], [("Completed", "delivered", 2)])]
    assert statuses(main_id()) == [("Completed", "delivered", 2)]
    assert _rows(url) == ["2"]
    assert len(written().runs(RunQuery(definition="work"))) == 3
    assert written().verify() == []


# -- forks -------------------------------------------------------------------------------------


def _forked(target: Any) -> None:
    context = multiprocessing.get_context("fork")
    process = context.Process(target=target)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_is_an_owner_of_its_own(own: Isolated, recovered: list[str]) -> None:
    """Its runs are in the journal as its own, it ends like its parent, which goes on."""
    hook(state="Completed")(lambda *_: None)
    work()
    parent = the_recorder().owner_id
    written()
    _forked(work)
    work()

    runs = written().runs(RunQuery())
    assert [run.state_name for run in runs] == ["Completed"] * 3
    assert [run.owner == parent for run in runs] == [True, False, True]
    assert [(str(row.status), row.attempts) for row in owed()] == [("delivered", 1)] * 3
    (ended,) = [row for row in written().owners() if row.ended]
    assert ended.id == runs[1].owner
    assert folders() == [parent]
    assert written().verify() == []
    assert recovered == []


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_was_forked_within_a_run_does_not_record_it(own: Isolated) -> None:
    """The run goes on in the parent; its copy in the child is not recorded."""

    @flow
    def main() -> int:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        work()
        return child

    if main() == 0:
        detach(current_bus())
        os._exit(0)

    row = the_run("main")
    assert (row.state_name, row.sequence) == ("Completed", 2)
    assert row.owner == the_recorder().owner_id
    runs = written().runs(RunQuery(definition="work"))
    assert [run.owner == row.owner for run in runs] == [True, False]
    assert {run.parent_run_id for run in runs} == {row.id}
    assert written().verify() == []


# -- heartbeat -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_heartbeat")
def test_old_runs_are_pruned(own: Isolated) -> None:
    """By the settings, whatever their number of days, and at most once an hour."""
    for _ in range(3):
        work()
    journal = written()
    with temporary_settings({EVENTFLOW_RETENTION_DAYS: "1e300"}):
        _forget_pruning(journal)
        session().sweep_and_prune()
    assert len(journal.runs(RunQuery())) == 3
    _forget_pruning(journal)
    with temporary_settings({EVENTFLOW_RETENTION_DAYS: "1e-9"}):
        session().sweep_and_prune()
        # SQLite keeps the last.
        assert len(journal.runs(RunQuery())) <= 1
        work()
        work()
        session().sweep_and_prune()
    assert len(written().runs(RunQuery())) >= 2


def _forget_pruning(journal: Any) -> None:
    journal.transact(
        lambda session: session.run("UPDATE @meta SET value = 0 WHERE name = 'pruned'")
    )


@pytest.mark.usefixtures("without_heartbeat")
def test_dead_owners_are_recovered(own: Isolated, recovered: list[str]) -> None:
    """Those whose lock is free, and those whose lease has run out, by one process."""
    work()
    written()
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None
    for name in ("left", "too"):
        (root / name).mkdir()
        (root / name / "owner.json").touch()
    assert [owner.id for owner in dead(root)] == ["left", "too"]
    for _ in range(3):
        session().sweep_and_prune()
    assert recovered == ["all"]
    if session().lease_seconds is not None:
        session().journal.register(describe(), -1)
        for _ in range(3):
            session().sweep_and_prune()
    assert recovered == ["all"] * (1 if session().lease_seconds is None else 2)


@pytest.mark.usefixtures("without_heartbeat")
def test_no_recovery_is_started_beside_another(own: Isolated, recovered: list[str]) -> None:
    """One is started when it has ended: it may have missed the last owner that died."""
    work()
    written()
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None
    (root / "left").mkdir()
    (root / "left" / "owner.json").touch()
    recovering = lock(root / RECOVERING)
    assert recovering is not None
    for _ in range(3):
        session().sweep_and_prune()
    assert recovered == []
    recovering.release()
    for _ in range(3):
        session().sweep_and_prune()
    assert recovered == ["all"]


def test_a_lease_is_renewed(postgres_url: str, tmp_path: Path, recovered: list[str]) -> None:
    """By its full length."""
    values: dict[Any, object] = {
        EVENTFLOW_JOURNAL_URL: postgres_url,
        EVENTFLOW_LEASE_SECONDS: "500",
    }
    with temporary_settings(values), isolated(tmp_path / "own"):
        work()
        (before,) = written().owners()
        session().renew()
        (after,) = written().owners()
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert before.lease_until < after.lease_until
    assert after.lease_until > datetime.now(UTC) + timedelta(seconds=400)
