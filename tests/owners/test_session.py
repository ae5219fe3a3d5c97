"""This process as an owner: how it is entered, what it is when it is forked, and how it leaves."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventflow import bus, flow, hook, runtime, task
from eventflow.errors import JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.events import JournalFailed
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.owners.folders import RECOVERING, dead, describe, owners_folder
from eventflow.owners.locks import lock
from eventflow.owners.session import OwnerSession
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_LEASE_SECONDS,
    EVENTFLOW_RETENTION_DAYS,
    temporary_settings,
)
from eventflow.testing import Isolated, isolated
from eventflow.wiring import detach
from tests.journal.reading import owed, statuses, the_recorder, the_run, written

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@task
def work() -> int:
    """Be a task that works."""
    return 1


@pytest.fixture(params=["process", "power", "postgresql"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Isolated]:
    """Put a bus in force whose journal is of each kind that others can see."""
    given: dict[Any, object] = {EVENTFLOW_DURABILITY: request.param}
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
        given = {EVENTFLOW_JOURNAL_URL: url}
    with temporary_settings(given), isolated(tmp_path / "own") as made:
        yield made


@pytest.fixture
def recovered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list of those whose recovery is started, and start none."""
    told: list[str] = []
    monkeypatch.setattr(
        "eventflow.owners.session.start_recovery",
        lambda folder, _url: told.append("all" if folder is None else folder.name),
    )

    return told


def books() -> OwnerSession:
    """Give what writes in the name of this process."""
    found = the_recorder().sink
    assert isinstance(found, OwnerSession)

    return found


def alone() -> OwnerSession:
    """Give the same, when its own threads do nothing any more beside the test."""
    found = books()
    assert found._attendance is not None
    found._attendance.stop()

    return found


def folders() -> list[str]:
    """Give the owners that have a folder."""
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None

    return sorted(one.name for one in root.iterdir()) if root.is_dir() else []


# -- coming and going --------------------------------------------------------------------------


def test_nothing_is_made_before_the_first_run(own: Isolated) -> None:
    """Neither a file nor a folder; with the first run the owner is in the journal and lives."""
    assert not own.home.exists()
    work()
    owner = the_recorder().owner_id
    (row,) = written().owners(alive=True)

    assert (row.id, row.pid) == (owner, os.getpid())
    assert folders() == [owner]
    assert (row.lease_until is not None) == EVENTFLOW_JOURNAL_URL.value().startswith("postgresql")


def test_who_has_nothing_left_to_do_leaves_nothing(own: Isolated) -> None:
    """The owner has ended, its folder is gone, and what it recorded is there."""
    hook(state="Completed")(lambda *_: None)
    flow(name="main")(work)()
    owner, url = the_recorder().owner_id, EVENTFLOW_JOURNAL_URL.value()
    detach(own.bus)
    assert folders() == []

    journal = open_journal(url)
    (row,) = journal.owners()
    assert (row.id, row.reason) == (owner, "ended")
    assert {one.state_name for one in journal.runs(RunQuery())} == {"Completed"}
    assert journal.verify() == []
    journal.close()


def test_who_owes_a_hook_leaves_it_to_others(own: Isolated) -> None:
    """The owner has not ended, and its folder stays, locked until the process is gone."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flow(on_completion=[interrupted])(work)()
    owner, url = the_recorder().owner_id, EVENTFLOW_JOURNAL_URL.value()
    detach(own.bus)
    assert folders() == [owner]

    journal = open_journal(url)
    assert [one.id for one in journal.owners(alive=True)] == [owner]
    journal.close()
    work()
    assert the_recorder().owner_id != owner


def test_who_is_in_the_middle_of_a_run_leaves_it_to_others(own: Isolated) -> None:
    """A run without end keeps the owner from leaving."""
    url = EVENTFLOW_JOURNAL_URL.value()

    @flow
    def main() -> str:
        owner = the_recorder().owner_id
        detach(current_bus())
        return owner

    owner = main()
    assert folders() == [owner]
    journal = open_journal(url)
    assert [one.state_name for one in journal.runs(RunQuery(keeper=owner))] == ["Running"]
    journal.close()


def test_closing_may_be_repeated_and_is_no_end(own: Isolated) -> None:
    """A later run enters another owner."""
    work()
    mine = books()
    first = mine.owner
    mine.close()
    mine.close()
    assert folders() == []
    work()
    assert the_recorder().owner_id not in {first, ""}
    assert len(written().runs(RunQuery())) == 2
    assert [one.id for one in written().owners(alive=True)] == [the_recorder().owner_id]
    assert written().verify() == []


def test_a_folder_that_cannot_be_made_fails_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says what is missing; the run is journalled without a spool."""
    path = tmp_path / "journal.db"
    Path(f"{path}-owners").write_text("a file")
    with temporary_settings({EVENTFLOW_JOURNAL_URL: f"sqlite:///{path}"}), isolated():
        assert work() == 1
        assert the_run("work").state_name == "Completed"
    assert "nobody will know of it" in caplog.text


def test_a_process_without_a_thread_to_spare_runs_on(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventflow_isolated: Isolated,
) -> None:
    """As at the end of the interpreter: all is written at once, and one owner is enough."""
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
    assert [one.state_name for one in journal.runs(RunQuery())] == ["Completed"] * 2
    journal.close()


# -- a hook's own transaction ------------------------------------------------------------------


def _rows(url: str) -> list[str]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            return [one for (one,) in lite.execute("SELECT what FROM mine")]
    with psycopg.connect(url, client_encoding="utf8") as connection:
        return [one for (one,) in connection.execute("SELECT what FROM mine")]


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
    """A raise takes it back together with the acknowledgement; the next attempt has both."""
    url = EVENTFLOW_JOURNAL_URL.value()
    work()
    written()
    _make_table(url)
    seen: list[Any] = []

    def writes(*_: Any) -> None:
        with runtime.hook.transaction() as connection:
            connection.execute(f"INSERT INTO mine VALUES ('{runtime.hook.attempt}')")
            work()  # what is recorded meanwhile waits
            if runtime.hook.attempt == 1:
                raise ValueError("taken back")
        seen.append((_rows(url), statuses(mine())))
        with pytest.raises(JournalError, match="delivered already"), runtime.hook.transaction():
            pass

    def mine() -> Any:
        return the_run("main").id

    async def awrites(*args: Any) -> None:
        writes(*args)

    on = hook(state="Completed", name="main", retries=1)
    on(writes if way == "sync" else awrites)
    flow(name="main")(lambda: 1)()

    assert seen == [(["2"], [("Completed", "delivered", 2)])]
    assert statuses(mine()) == [("Completed", "delivered", 2)]
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
    """What it runs is in the journal under its name, it leaves nothing, the parent goes on."""
    hook(state="Completed")(lambda *_: None)
    work()
    parent = the_recorder().owner_id
    written()
    _forked(work)
    work()

    runs = written().runs(RunQuery())
    assert [one.state_name for one in runs] == ["Completed"] * 3
    assert [one.owner == parent for one in runs] == [True, False, True]
    assert [(str(one.status), one.attempts) for one in owed()] == [("delivered", 1)] * 3
    (ended,) = [one for one in written().owners() if one.ended]
    assert ended.id == runs[1].owner
    assert folders() == [parent]
    assert written().verify() == []
    assert recovered == []


@forks
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_was_forked_within_a_run_does_not_record_it(own: Isolated) -> None:
    """The run goes on in the parent; of what becomes of its copy in the child nothing is told."""

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
    assert [one.owner == row.owner for one in runs] == [True, False]
    assert {one.parent_run_id for one in runs} == {row.id}
    assert written().verify() == []


# -- being given up ------------------------------------------------------------------------------


@pytest.mark.parametrize("finds", ["renew", "write"])
def test_who_was_given_up_writes_no_more_of_its_old_runs(
    own: Isolated, finds: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Others took its runs over: it acknowledges nothing, and is somebody new for new runs."""
    told: list[Any] = []
    noticed = threading.Event()
    bus.subscribe(lambda _: noticed.set(), event_type=JournalFailed)

    def owes(*_: Any) -> None:
        old = the_recorder().owner_id
        journal = written()
        journal.end(old, "taken for dead")
        if finds == "renew":
            books().lease_seconds = 5.0
            books().renew()
        else:
            work()
            the_recorder().flush()
            assert noticed.wait(30)
        with pytest.raises(JournalError, match="taken over by another"):
            runtime.hook.transaction()
        told.append(old)

    @flow(on_running=[owes])
    def main() -> int:
        return work()

    assert main() == 1
    _assert_somebody_new(*told)
    assert caplog.text.count("silent for too long") == 1


def _assert_somebody_new(old: str) -> None:
    the_recorder().flush()
    row = the_run("main")
    assert the_recorder().owner_id != old
    assert (row.owner, row.state_name, row.sequence) == (old, "Running", 1)
    assert statuses(row.id) == [("Running", "running", 1)]
    (last, *_) = written().runs(RunQuery(definition="work"))
    assert (last.owner, last.state_name) == (the_recorder().owner_id, "Completed")
    assert [one.id for one in written().owners(alive=True)] == [the_recorder().owner_id]
    assert {one.kind for one in written().verify()} <= {"abandoned"}
    assert folders() == [the_recorder().owner_id]


def test_what_waits_to_be_written_is_not_written_under_another_name(own: Isolated) -> None:
    """Lines of an owner that was given up meanwhile are lost, however late that is found out."""
    work()
    journal, old = written(), the_recorder().owner_id
    mine = books()
    mine.writer.spool = None  # as where there is none
    lines: list[bytes] = []
    mine.writer.append(b'{"settlements":[]}')
    journal.end(old, "taken for dead")
    real = journal.commit_lines

    def commit(some: Any, fence: Any = None) -> None:
        lines.extend(some)
        real(some, fence)

    journal.commit_lines = commit  # type: ignore[method-assign,assignment]
    mine.lease_seconds = 5.0
    mine.renew()
    assert the_recorder().owner_id != old
    assert lines == []
    work()
    assert the_recorder().flush()
    assert lines


# -- duties --------------------------------------------------------------------------------------


def test_what_is_too_old_goes(own: Isolated) -> None:
    """At most once an hour, by the settings, however long a time they say."""
    for _ in range(3):
        work()
    alone()
    journal = written()
    with temporary_settings({EVENTFLOW_RETENTION_DAYS: "1e300"}):
        _forget_pruning(journal)
        books().sweep_and_prune()
    assert len(journal.runs(RunQuery())) == 3
    _forget_pruning(journal)
    with temporary_settings({EVENTFLOW_RETENTION_DAYS: "1e-9"}):
        books().sweep_and_prune()
        # SQLite keeps the last.
        assert len(journal.runs(RunQuery())) <= 1
        work()
        work()
        books().sweep_and_prune()
    assert len(written().runs(RunQuery())) >= 2


def _forget_pruning(journal: Any) -> None:
    journal.transact(
        lambda session: session.run("UPDATE @meta SET value = 0 WHERE name = 'pruned'")
    )


def test_dead_owners_are_recovered(own: Isolated, recovered: list[str]) -> None:
    """Those whose lock is free, and those whose lease has run out: by one process for all."""
    work()
    alone()
    written()
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None
    for name in ("left", "too"):
        (root / name).mkdir()
        (root / name / "spool-1.jsonl").write_text("{}\n")
    assert [one.id for one in dead(root)] == ["left", "too"]
    for _ in range(3):
        books().sweep_and_prune()
    assert recovered == ["all"]
    if books().lease_seconds is not None:
        books().journal.register(describe(), -1)
        for _ in range(3):
            books().sweep_and_prune()
    assert recovered == ["all"] * (1 if books().lease_seconds is None else 2)


def test_no_recovery_is_started_beside_another(own: Isolated, recovered: list[str]) -> None:
    """Who comes upon one at work looks again: it may not have seen the last that died."""
    work()
    alone()
    written()
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None
    (root / "left").mkdir()
    (root / "left" / "spool-1.jsonl").write_text("{}\n")
    at_it = lock(root / RECOVERING)
    assert at_it is not None
    for _ in range(3):
        books().sweep_and_prune()
    assert recovered == []
    at_it.let_go()
    for _ in range(3):
        books().sweep_and_prune()
    assert recovered == ["all"]


def test_a_lease_is_prolonged(postgres_url: str, tmp_path: Path, recovered: list[str]) -> None:
    """By as much as it was taken for."""
    given: dict[Any, object] = {EVENTFLOW_JOURNAL_URL: postgres_url, EVENTFLOW_LEASE_SECONDS: "500"}
    with temporary_settings(given), isolated(tmp_path / "own"):
        work()
        (before,) = written().owners()
        books().renew()
        (after,) = written().owners()
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert before.lease_until < after.lease_until
    assert after.lease_until > datetime.now(UTC) + timedelta(seconds=400)
