"""What can happen to the file of a journal, and what the journal makes of it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventflow.errors import JournalError, SettingError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import START, DeliveryQuery, RunQuery, StaleOwnerError
from eventflow.journal.stores import maintenance, schema, sqlite
from eventflow.journal.stores.sqlite import ATTEMPTS, LAST_ATTEMPTS, READ_ATTEMPTS, SqliteJournal
from eventflow.journal.stores.sqlite_session import SqliteSession
from tests.journal.rows import HOOK, ARun, a_begun_run, a_completed_run, an_owner, commit

MORE = ("CREATE TABLE @more (id INT);", "CREATE INDEX @more_ids ON @more (id);")
"""Migrations to come."""


@pytest.fixture
def old(path: Path) -> Iterator[ARun]:
    """Make a file of the present schema, with a run in it, and be a version with newer ones."""
    run, records = a_begun_run()
    with closing(SqliteJournal(path)) as journal:
        commit(journal, records)
    version = schema.VERSION + len(MORE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, *MORE))
        for module in (schema, sqlite, maintenance):
            patch.setattr(module, "VERSION", version)
        yield run


def test_the_journal_is_private_and_created_on_first_use(path: Path) -> None:
    """Nothing exists before the first use; then a folder and a file for their user only."""
    journal = open_journal(f"sqlite:///{path}")
    assert not path.parent.exists()

    commit(journal, ARun().enter("P"))

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
    made = [a_completed_run(HOOK, done=0) for _ in range(count)]
    commit(journal, *(records for _, records in made))
    commit(journal, *(run.settle(DeliveryStatus.DELIVERED, 2) for run, _ in made))

    events, _ = journal.events_after(START, 9 * count)
    assert len(events) == 3 * count
    rows = journal.deliveries(DeliveryQuery(limit=2 * count))
    assert {(row.status, row.attempts) for row in rows} == {(DeliveryStatus.DELIVERED, 2)}
    assert [row.id for row in rows] == [run.delivery_id() for run, _ in made]
    assert len(journal.runs(RunQuery(limit=2 * count))) == count


def test_a_newer_schema_is_refused(journal: SqliteJournal, path: Path) -> None:
    """The error names both versions, and what to do; the file is not changed."""
    journal.statistics()
    journal.close()
    with sqlite3.connect(path) as other:
        other.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    other.close()

    with pytest.raises(JournalError, match=r"schema 99.*newer eventflow.*Upgrade"):
        commit(journal, ARun().enter("P"))

    assert sorted(entry.name for entry in path.parent.iterdir()) == ["journal.db"]


def test_a_file_of_an_older_schema_is_brought_up_to_date(
    journal: SqliteJournal, path: Path, old: ARun
) -> None:
    """Its content remains, only the missing migrations are executed, and it is like a new file."""
    assert layout(path)[1] == schema.VERSION - len(MORE)

    assert journal.run(old.id) is not None

    with closing(SqliteJournal(path.with_name("new.db"))) as new:
        new.statistics()
    assert layout(path) == layout(path.with_name("new.db"))
    assert layout(path)[1] == schema.VERSION


def layout(path: Path) -> tuple[set[tuple[str, str]], int]:
    """Return the tables and indexes of a file, and the version of its schema."""
    with closing(sqlite3.connect(path)) as other:
        made = set(other.execute("SELECT name, coalesce(sql, '') FROM sqlite_master"))
        ((version,),) = other.execute("SELECT value FROM meta WHERE name = 'schema'")

    return made, version


def test_a_journal_of_the_shape_before_is_set_aside(
    journal: SqliteJournal, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is renamed, which is logged, and a new one is begun."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.executescript(
            "CREATE TABLE meta (name, value); INSERT INTO meta VALUES ('schema', 3);"
            "CREATE TABLE runs (id); CREATE TABLE events (id); INSERT INTO events VALUES (1);"
        )

    run, records = a_begun_run()
    with caplog.at_level(logging.WARNING):
        commit(journal, records)

    assert journal.run(run.id) is not None
    (aside,) = path.parent.glob("journal.db.old-*")
    with closing(sqlite3.connect(aside)) as other:
        assert other.execute("SELECT * FROM events").fetchall() == [(1,)]
    assert [str(aside) in record.message for record in caplog.records] == [True]
    assert "older version" in caplog.text


@pytest.mark.parametrize("how", ["garbage", "torn"])
def test_a_damaged_file_is_set_aside(
    journal: SqliteJournal, path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """It is renamed and logged, and a new one is begun, in which live owners keep their tokens."""
    fence = journal.register(an_owner())
    for _ in range(50):
        commit(journal, ARun(facts=f'[["{"x" * 500}"]]').enter("P"), fence=fence)
    journal.close()
    content = path.read_bytes()
    damaged = b"no database" * 100 if how == "garbage" else content[:4096] + b"\xff" * 65536
    path.write_bytes(damaged)

    run, records = a_begun_run()
    with caplog.at_level(logging.WARNING):
        commit(journal, records, fence=fence)

    assert journal.run(run.id) is not None
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
    made = [a_begun_run() for _ in journals]
    start = threading.Barrier(len(journals))

    def write(number: int) -> None:
        start.wait()
        commit(journals[number], made[number][1])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(list(path.parent.glob("*.corrupt-*"))) == 1
    assert None not in [journals[0].run(run.id) for run, _ in made]
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
    run, records = a_begun_run()
    commit(journal, records, fence=fence)
    for name in names:
        (path.parent / name).unlink()

    run.described = b""
    commit(journal, run.enter("R"), fence=fence)

    journal.close()
    assert journal.run(run.id) is not None
    # The first event was lost with the old file, which is no fault of the new one; what the run
    # refers to is in it again.
    assert journal.verify() == []


def test_a_file_deleted_within_a_commit_loses_nothing(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written to the deleted file is written again."""
    run, records = a_begun_run()
    journal.statistics()

    def delete_and_write(session: SqliteSession, *statement: Any) -> int:
        monkeypatch.undo()
        path.unlink()
        return session.run(*statement)

    monkeypatch.setattr(SqliteSession, "run", delete_and_write)
    commit(journal, records)

    journal.close()
    assert journal.run(run.id) is not None


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
        commit(journal, ARun().enter("P"), fence=fence)


def test_a_full_disk_is_an_error_until_there_is_room(journal: SqliteJournal) -> None:
    """Nothing of the line is written; the same line is, once there is room."""
    # SQLite goes no lower than the pages in use.
    journal.transact(lambda session: session.all("PRAGMA max_page_count = 1"))
    run, records = a_begun_run(facts=f'[["{"x" * 100_000}"]]')

    with pytest.raises(JournalError, match="full"):
        commit(journal, records)
    assert journal.run(run.id) is None

    journal.transact(lambda session: session.all("PRAGMA max_page_count = 100000"))
    commit(journal, records)
    assert journal.run(run.id) is not None


def test_a_lock_is_an_error_after_the_timeout(journal: SqliteJournal, path: Path) -> None:
    """The error is a JournalError; afterwards the journal can be used as before."""
    journal.statistics()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run, records = a_begun_run()

    with pytest.raises(JournalError, match="kept locked"):
        commit(journal, records)

    other.execute("COMMIT")
    other.close()
    commit(journal, records)
    assert journal.run(run.id) is not None


def test_a_writer_that_holds_up_no_run_waits_longer(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries many times, and fails only if the lock is held all the time.

    With `power` the runs themselves wait: it tries less often.
    """
    journal.statistics()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    run, records = a_begun_run()
    tries: list[int] = []
    attempt = journal._attempt

    def counted(work: Any) -> Any:
        tries.append(1)
        if len(tries) == 2 + ATTEMPTS["process"]:
            other.execute("COMMIT")
        return attempt(work)

    monkeypatch.setattr(journal, "_attempt", counted)

    with pytest.raises(JournalError, match="kept locked"):
        commit(journal, records)
    commit(journal, records)

    assert ATTEMPTS["power"] < ATTEMPTS["process"]
    assert len(tries) == 2 + ATTEMPTS["process"]
    assert journal.run(run.id) is not None
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
    run, records = a_begun_run()
    commit(journal, records)
    journal.close()
    tries = counted_attempts(journal, monkeypatch)

    with locked(path):
        assert journal.run(run.id) is not None
        assert journal.owners(alive=True) == []
        assert journal.deliveries(DeliveryQuery()) == []

    assert len(tries) == 3
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_what_is_free_is_released_in_few_steps(journal: SqliteJournal, path: Path) -> None:
    """Of many pages each: every step is a transaction, for which others wait."""
    commit(journal, *(a_completed_run(facts=f'[["{"x" * 900}"]]')[1] for _ in range(3000)))
    size = path.stat().st_size
    steps: list[bool] = []
    session = journal._open()
    session.connection.set_trace_callback(lambda text: steps.append("vacuum" in text))

    assert journal.prune(max_bytes=0).runs == 3000
    session.connection.set_trace_callback(None)
    # What is left is the feed, mostly.
    assert path.stat().st_size < size
    assert session.all("PRAGMA freelist_count") == [(0,)]
    assert 1 <= sum(steps) <= 5


def test_a_reader_of_an_older_schema_waits_for_the_lock_less_long(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch, old: ARun
) -> None:
    """It has to bring the schema up to date once; while another writes, that is an error."""
    tries = counted_attempts(journal, monkeypatch)

    with locked(path), pytest.raises(JournalError, match="kept locked"):
        journal.run(old.id)

    assert len(tries) == READ_ATTEMPTS
    assert journal.run(old.id) is not None


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
                commit(journal, ARun().enter("P"))
    assert len(tries) == LAST_ATTEMPTS + 2 < ATTEMPTS["power"] * 2

    commit(journal, ARun().enter("P"))
    tries.clear()
    with locked(path), pytest.raises(JournalError, match="kept locked"):
        commit(journal, ARun().enter("P"))
    assert len(tries) == LAST_ATTEMPTS


def test_a_process_in_a_hurry_has_its_turn_while_others_commit(
    journal: SqliteJournal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it tries in vain: the lock is handed on, and not kept."""
    monkeypatch.setattr("eventflow.journal.stores.sqlite.LAST_BUSY_SECONDS", 0.001)
    commit(journal, ARun().enter("P"))
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
        commit(journal, ARun().enter("P"))

    assert len(tries) > 2 * LAST_ATTEMPTS
    assert len(journal.runs(RunQuery())) == 2


def test_a_path_that_cannot_be_used_is_an_error_of_the_journal(tmp_path: Path) -> None:
    """Whatever is wrong with the path, it is a JournalError that names it."""
    (tmp_path / "file").write_text("")

    with pytest.raises(JournalError, match="file"):
        commit(SqliteJournal(tmp_path / "file" / "journal.db"), ARun().enter("P"))


def test_a_file_deleted_within_a_hooks_transaction_is_an_error(
    journal: SqliteJournal, path: Path
) -> None:
    """What the hook wrote is lost with the file, so that it must not count as delivered."""
    run, records = a_completed_run(HOOK, done=0)
    commit(journal, records)

    with (
        pytest.raises(JournalError, match="removed"),
        journal.transaction(run.settled(DeliveryStatus.DELIVERED)),
    ):
        path.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(journal: SqliteJournal) -> None:
    """Parent and child can both write; both rows are there."""
    (ours, our_records), (theirs, their_records) = a_begun_run(), a_begun_run()
    commit(journal, ARun().enter("P"))

    child = os.fork()
    if child == 0:
        commit(journal, their_records)
        os._exit(0)
    commit(journal, our_records)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert journal.run(ours.id) is not None
    assert journal.run(theirs.id) is not None
