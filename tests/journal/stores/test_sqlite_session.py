"""A file with a table missing counts as damaged."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal.contract import RunQuery
from eventflow.journal.stores.sqlite import SqliteJournal
from tests.journal.rows import ARun, a_begun_run, an_owner, commit


@pytest.mark.parametrize("table", ["meta", "owners", "runs", "feed", "deliveries", "requests"])
def test_a_journal_with_a_table_missing_is_set_aside(
    journal: SqliteJournal, path: Path, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    """Like a damaged one: kept for inspection, a new one is begun, and owners keep their tokens."""
    fence = journal.register(an_owner())
    run, records = a_begun_run()
    commit(journal, ARun().enter("P"), fence=fence)
    journal.close()
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"DROP TABLE {table}")

    with caplog.at_level(logging.WARNING):
        commit(journal, records, fence=fence)

    assert [row.id for row in journal.runs(RunQuery())] == [run.id]
    (aside,) = path.parent.glob("journal.db.corrupt-*")
    assert f"damaged (the table {table} is missing)" in caplog.text
    assert str(aside) in caplog.text


def test_a_table_dropped_under_an_open_journal_is_noticed(
    journal: SqliteJournal, path: Path
) -> None:
    """The first use after that fails; the next one has set the file aside."""
    commit(journal, ARun().enter("P"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE feed")
    run, records = a_begun_run()

    with pytest.raises(JournalError, match="no such table"):
        commit(journal, records)
    commit(journal, records)

    assert [row.id for row in journal.runs(RunQuery())] == [run.id]
    assert len(list(path.parent.glob("journal.db.corrupt-*"))) == 1


def test_a_journal_without_a_version_is_set_aside(journal: SqliteJournal, path: Path) -> None:
    """Without it nobody can say which tables there have to be."""
    commit(journal, ARun().enter("P"))
    journal.close()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("DELETE FROM meta WHERE name = 'schema'")

    assert journal.runs(RunQuery()) == []

    assert len(list(path.parent.glob("journal.db.corrupt-*"))) == 1


def test_a_file_of_another_program_is_left_as_it_is(journal: SqliteJournal, path: Path) -> None:
    """It has a table of the same name, which is no reason to rename its file."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE runs (mine)")

    with pytest.raises(JournalError, match="already exists"):
        commit(journal, ARun().enter("P"))

    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("runs",)]
    assert list(path.parent.glob("*corrupt*")) == []
