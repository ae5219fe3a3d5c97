"""What can happen to the file of a journal, and what the journal makes of it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from eventflow.errors import JournalError, SettingError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import START, DeliveryQuery, RunQuery, StaleOwnerError
from eventflow.journal.stores import schema
from eventflow.journal.stores.sqlite import ATTEMPTS, LAST_ATTEMPTS, READ_ATTEMPTS, SqliteJournal
from eventflow.journal.stores.sqlite_session import SqliteSession
from eventflow.states import StateType
from tests.journal.rows import a_delivery, a_run, an_owner, entering, later, settled, settling

# Undoes what each migration after the first one does.
BACK_TO_THE_FIRST = """
DROP INDEX runs_top;
DROP INDEX runs_free;
DROP TABLE hook_sets;
ALTER TABLE runs DROP COLUMN hooks;
ALTER TABLE runs DROP COLUMN global_hooks;
UPDATE meta SET value = 1 WHERE name = 'schema';
"""


def test_the_journal_is_private_and_created_on_first_use(path: Path) -> None:
    """Nothing exists before the first use; then a folder and a file for their user only."""
    journal = open_journal(f"sqlite:///{path}")
    assert not path.parent.exists()

    journal.commit_lines([entering(a_run())])

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    journal.close()


def test_a_url_with_an_unknown_scheme_is_refused() -> None:
    """The error names the known schemes."""
    with pytest.raises(SettingError, match="sqlite"):
        open_journal("mysql://x")


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 11, 12, 95, 96, 383, 384, 700])
def test_any_number_of_rows_is_written(journal: SqliteJournal, count: int) -> None:
    """Each row once, whatever numbers of rows the statements are made for."""
    runs = [a_run() for _ in range(count)]
    owed = [a_delivery(run) for run in runs]
    journal.commit_lines([entering(*pair) for pair in zip(runs, owed, strict=True)])
    outcomes = [settled(delivery, DeliveryStatus.DELIVERED, 2) for delivery in owed]
    journal.commit_lines([settling(*outcomes)])

    events, cursor = journal.events_after(START, 2 * count)
    assert [event.run_id for event in events] == [run.id for run in runs]
    assert cursor == (0, count)
    rows = journal.deliveries(DeliveryQuery(limit=2 * count))
    assert {(row.status, row.attempts) for row in rows} == {(DeliveryStatus.DELIVERED, 2)}
    assert {row.id for row in rows} == {row.id for row in owed}
    assert len(journal.runs(RunQuery(limit=2 * count))) == count


def test_a_newer_schema_is_refused(journal: SqliteJournal, path: Path) -> None:
    """The error names both versions, and what to do; the file is not changed."""
    journal.statistics()
    journal.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    other.close()

    with pytest.raises(JournalError, match=r"schema 99.*newer eventflow.*Upgrade"):
        journal.commit_lines([entering(a_run())])

    assert sorted(entry.name for entry in path.parent.iterdir()) == ["journal.db"]


def test_a_file_of_the_first_schema_is_brought_up_to_date(
    journal: SqliteJournal, path: Path
) -> None:
    """Its content remains, only the missing migrations are executed, and it is like a new file."""
    run = a_run()
    journal.commit_lines([entering(run)])
    new = layout(path)
    journal.close()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(BACK_TO_THE_FIRST)
    assert layout(path) != new

    assert journal.run(run.id) == run

    assert layout(path) == new
    assert journal.statistics().schema == new[1] == schema.VERSION


def layout(path: Path) -> tuple[set[tuple[str, str]], int]:
    """Return the tables and indexes of a file, and the version of its schema."""
    with closing(sqlite3.connect(path)) as other:
        made = set(other.execute("SELECT name, coalesce(sql, '') FROM sqlite_master"))
        ((version,),) = other.execute("SELECT value FROM meta WHERE name = 'schema'")

    return made, version


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(top=True), "runs_top"),
        (RunQuery(top=True, since=datetime.now(UTC)), "runs_top"),
        (RunQuery(keeper=""), "runs_free"),
        (RunQuery(unfinished=True, keeper="someone"), "runs_unfinished"),
        (RunQuery(state_types=[StateType.FAILED]), "runs_not_completed"),
        (RunQuery(parent_run_id=uuid4()), "runs_of_parent"),
    ],
)
def test_few_runs_among_many_are_found_by_an_index(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch, query: RunQuery, index: str
) -> None:
    """A journal of millions of runs is not read as a whole."""
    plans: list[str] = []
    plain = SqliteSession.all

    def explained(self: SqliteSession, text: str, values: Sequence[Any] = ()) -> Any:
        if "FROM @runs" in text:
            steps = plain(self, f"EXPLAIN QUERY PLAN {text}", values)
            plans.extend(str(step[3]) for step in steps)
        return plain(self, text, values)

    monkeypatch.setattr(SqliteSession, "all", explained)
    assert journal.runs(query) == []
    assert [index in plan for plan in plans] == [True]


@pytest.mark.parametrize("how", ["garbage", "torn"])
def test_a_damaged_file_is_set_aside(
    journal: SqliteJournal, path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """It is renamed and logged, and a new one is begun, in which live owners keep their tokens."""
    fence = journal.register(an_owner())
    for _ in range(50):
        journal.commit_lines([entering(a_run(parameters="x" * 500))], fence)
    journal.close()
    content = path.read_bytes()
    damaged = b"no database" * 100 if how == "garbage" else content[:4096] + b"\xff" * 65536
    path.write_bytes(damaged)

    run = a_run()
    with caplog.at_level(logging.WARNING):
        journal.commit_lines([entering(run)], fence)

    assert journal.run(run.id) == run
    (aside,) = path.parent.glob("journal.db.corrupt-*")
    assert aside.read_bytes()[4096:] == damaged[4096:]
    assert "damaged" in caplog.text
    assert str(aside) in caplog.text
    assert journal.verify() == []


def test_a_damaged_file_is_set_aside_only_once(path: Path) -> None:
    """If several processes find the damage, one renames the file, and no new file is lost."""
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    journals = [SqliteJournal(path) for _ in range(4)]
    runs = [a_run() for _ in journals]
    start = threading.Barrier(len(journals))

    def commit(number: int) -> None:
        start.wait()
        journals[number].commit_lines([entering(runs[number])])

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
    assert [journals[0].run(run.id) for run in runs] == runs
    for journal in journals:
        journal.close()


@pytest.mark.parametrize(
    "names", [["journal.db", "journal.db-wal", "journal.db-shm"], ["journal.db"]]
)
def test_a_deleted_file_is_created_again(
    journal: SqliteJournal, path: Path, names: list[str]
) -> None:
    """The next commit is in the new file, under the same fence."""
    fence = journal.register(an_owner())
    run = a_run()
    journal.commit_lines([entering(run)], fence)
    for name in names:
        (path.parent / name).unlink()

    run = later(run._replace(created=datetime.now(UTC) - timedelta(hours=1)), StateType.RUNNING)
    journal.commit_lines([entering(run)], fence)

    journal.close()
    assert journal.run(run.id) == run
    # The first event was lost with the old file, which is no fault of the new one.
    assert journal.verify() == []


def test_a_file_deleted_within_a_commit_loses_nothing(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written to the deleted file is written again."""
    run = a_run()
    journal.statistics()

    def delete_and_write(session: SqliteSession, *statement: Any) -> None:
        monkeypatch.undo()
        path.unlink()
        session.many(*statement)

    monkeypatch.setattr(SqliteSession, "many", delete_and_write)
    journal.commit_lines([entering(run)])

    journal.close()
    assert journal.run(run.id) == run


def test_a_stale_owner_is_not_registered_again_by_a_new_connection(
    journal: SqliteJournal, path: Path
) -> None:
    """Opening the same file again registers no owner."""
    fence = journal.register(an_owner())
    other = SqliteJournal(path)
    other.end("owner", "vanished")
    other.close()

    journal.close()

    with pytest.raises(StaleOwnerError):
        journal.commit_lines([entering(a_run())], fence)


def test_a_full_disk_is_an_error_until_there_is_room(journal: SqliteJournal) -> None:
    """Nothing of the line is written; the same line is, once there is room."""
    # SQLite goes no lower than the pages in use.
    journal.transact(lambda session: session.all("PRAGMA max_page_count = 1"))
    run = a_run(parameters="x" * 100_000)

    with pytest.raises(JournalError, match="full"):
        journal.commit_lines([entering(run)])
    assert journal.run(run.id) is None

    journal.transact(lambda session: session.all("PRAGMA max_page_count = 100000"))
    journal.commit_lines([entering(run)])
    assert journal.run(run.id) == run


def test_a_lock_is_an_error_after_the_timeout(journal: SqliteJournal, path: Path) -> None:
    """The error is a JournalError; afterwards the journal can be used as before."""
    journal.statistics()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run = a_run()

    with pytest.raises(JournalError, match="kept locked"):
        journal.commit_lines([entering(run)])

    other.execute("COMMIT")
    other.close()
    journal.commit_lines([entering(run)])
    assert journal.run(run.id) == run


def test_a_writer_that_holds_up_no_run_waits_longer(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries many times, and fails only if the lock is held all the time.

    With `power` the runs themselves wait: it tries less often.
    """
    journal.statistics()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run = a_run()
    tries: list[int] = []
    attempt = journal._attempt

    def counted(work: Any) -> Any:
        tries.append(1)
        if len(tries) == 2 + ATTEMPTS["process"]:
            other.execute("COMMIT")
        return attempt(work)

    monkeypatch.setattr(journal, "_attempt", counted)

    with pytest.raises(JournalError, match="kept locked"):
        journal.commit_lines([entering(run)])
    journal.commit_lines([entering(run)])

    assert ATTEMPTS["power"] < ATTEMPTS["process"]
    assert len(tries) == 2 + ATTEMPTS["process"]
    assert journal.run(run.id) == run
    other.close()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of the file in the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def counted_attempts(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an item for every attempt of the journal."""
    tries: list[int] = []
    attempt = journal._attempt

    def counted(work: Any) -> Any:
        tries.append(1)
        return attempt(work)

    monkeypatch.setattr(journal, "_attempt", counted)

    return tries


def test_a_reader_needs_no_write_lock(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a new connection: its first attempt succeeds while another process writes."""
    run = a_run()
    journal.commit_lines([entering(run)])
    journal.close()
    tries = counted_attempts(journal, monkeypatch)

    with locked(path):
        assert journal.run(run.id) == run
        assert journal.owners() == []
        assert journal.deliveries(DeliveryQuery()) == []

    assert len(tries) == 3
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_reader_of_an_older_schema_waits_for_the_lock_less_long(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has to bring the schema up to date once; while another writes, that is an error."""
    run = a_run()
    journal.commit_lines([entering(run)])
    journal.close()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(BACK_TO_THE_FIRST)
    tries = counted_attempts(journal, monkeypatch)

    with locked(path), pytest.raises(JournalError, match="kept locked"):
        journal.run(run.id)

    assert len(tries) == READ_ATTEMPTS
    assert journal.run(run.id) == run


def test_a_process_in_a_hurry_soon_gives_up(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few attempts in all; then each use tries once, until one succeeds."""
    monkeypatch.setattr("eventflow.journal.stores.sqlite.LAST_BUSY_SECONDS", 0.001)
    journal.statistics()
    journal.in_hurry = True
    tries = counted_attempts(journal, monkeypatch)
    with locked(path):
        for _ in range(3):
            with pytest.raises(JournalError, match="kept locked"):
                journal.commit_lines([entering(a_run())])
    assert len(tries) == LAST_ATTEMPTS + 2 < ATTEMPTS["power"] * 2

    journal.commit_lines([entering(a_run())])
    tries.clear()
    with locked(path), pytest.raises(JournalError, match="kept locked"):
        journal.commit_lines([entering(a_run())])
    assert len(tries) == LAST_ATTEMPTS


def test_a_process_in_a_hurry_has_its_turn_while_others_commit(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it tries in vain: the lock is handed on, and not kept."""
    monkeypatch.setattr("eventflow.journal.stores.sqlite.LAST_BUSY_SECONDS", 0.001)
    journal.commit_lines([entering(a_run())])
    journal.in_hurry = True
    tries = counted_attempts(journal, monkeypatch)
    log = path.with_name(f"{path.name}-wal")

    with contextlib.ExitStack() as kept:
        kept.enter_context(locked(path))

        def others_commit(_: float) -> None:
            os.utime(log, ns=(0, len(tries)))
            if len(tries) == 2 * LAST_ATTEMPTS:
                kept.close()

        monkeypatch.setattr("eventflow.journal.stores.sqlite.time.sleep", others_commit)
        journal.commit_lines([entering(a_run())])

    assert len(tries) > 2 * LAST_ATTEMPTS
    assert len(journal.runs(RunQuery())) == 2


def test_a_path_that_cannot_be_used_is_an_error_of_the_journal(tmp_path: Path) -> None:
    """Whatever is wrong with the path, it is a JournalError that names it."""
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="file"):
        SqliteJournal(tmp_path / "file" / "journal.db").commit_lines([entering(a_run())])


def test_a_file_deleted_within_a_hooks_transaction_is_an_error(
    journal: SqliteJournal, path: Path
) -> None:
    """What the hook wrote is lost with the file, so that it must not count as delivered."""
    run = a_run()
    delivery = a_delivery(run)
    journal.commit_lines([entering(run, delivery)])

    with (
        pytest.raises(JournalError, match="removed"),
        journal.transaction(settled(delivery, DeliveryStatus.DELIVERED)),
    ):
        path.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(journal: SqliteJournal) -> None:
    """Parent and child can both write; both rows are there."""
    ours, theirs = a_run(), a_run()
    journal.commit_lines([entering(a_run())])

    child = os.fork()
    if child == 0:
        journal.commit_lines([entering(theirs)])
        os._exit(0)
    journal.commit_lines([entering(ours)])
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert journal.run(ours.id) == ours
    assert journal.run(theirs.id) == theirs
