"""What only a journal in PostgreSQL has to get right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.journal.contract import START, Batch, Journal, RunQuery
from eventflow.journal.stores.postgres import PostgresJournal, _Session
from eventflow.journal.stores.postgres_connection import Connection
from tests.journal.rows import a_run, an_owner, entering, ids


@pytest.fixture
def journal(postgres_url: str) -> Iterator[Journal]:
    one = open_journal(postgres_url)
    yield one
    one.close()


def test_an_event_of_a_slow_transaction_is_not_overtaken(
    journal: Journal, postgres_url: str
) -> None:
    """A cursor waits for who began earlier, and then leaves out neither."""
    slow, fast = a_run(), a_run()
    journal.commit(entering(slow))
    with psycopg.connect(postgres_url) as other:
        copied = "id, run_id, sequence + 1, state_type, state_name, occurred, run_count"
        names = copied.replace(" + 1", "")
        other.execute(
            f"INSERT INTO eventflow_events ({names}) SELECT {copied} FROM eventflow_events".encode()
        )
        _, cursor = journal.events_after(START, 9)
        journal.commit(entering(fast))
        assert journal.events_after(cursor, 9)[0] == []
        assert journal.cursor() < (2**61, 0)

    found, _ = journal.events_after(cursor, 9)
    assert [one.run_id for one in found] == [slow.id, fast.id]


def test_a_server_that_is_not_there_is_an_error_without_the_password() -> None:
    """The error names the journal, and nothing that must not be read in a log."""
    journal = PostgresJournal("postgresql://me:secret@127.0.0.1:1/x")

    with pytest.raises(JournalError, match=r"127\.0\.0\.1:1") as caught:
        journal.commit(entering(a_run()))

    assert "secret" not in str(caught.value)


def test_tables_that_vanish_are_made_anew(journal: Journal, postgres_url: str) -> None:
    """The next commit but one is there, and the one before says that it is not."""
    journal.commit(entering(a_run()))
    with psycopg.connect(postgres_url) as other:
        tables = ("meta", "owners", "runs", "events", "deliveries", "requests")
        other.execute(f"DROP TABLE {', '.join(f'eventflow_{one}' for one in tables)}".encode())
    run = a_run()

    with pytest.raises(JournalError, match="cannot be used"):
        journal.commit(entering(run))
    journal.commit(entering(run))

    assert journal.run(run.id) == run


def test_a_process_that_stands_still_is_idle_to_the_server(
    journal: Journal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it has been answered last: idle transactions are ended, and their locks let go."""
    journal.register(an_owner("owner"))
    idle: list[bool] = []
    wait = Connection.wait

    def look(connection: Connection, *args: Any, **options: Any) -> Any:
        answer = wait(connection, *args, **options)
        pid = connection.info.backend_pid
        text = "SELECT state <> 'active' FROM pg_stat_activity WHERE pid = %s"
        idle.extend(is_idle for (is_idle,) in other.execute(text, (pid,)).fetchall())
        return answer

    runs = {run.id: run for run in (a_run() for _ in range(70))}
    with psycopg.connect(postgres_url, autocommit=True) as other, monkeypatch.context() as patch:
        patch.setattr(Connection, "wait", look)
        journal.commit(Batch(runs=runs))

    assert {one.id for one in journal.runs(RunQuery(limit=100))} == {*runs}
    assert len(idle) > 4
    assert all(idle)


def test_a_claimer_looks_twice(
    journal: Journal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who saw a run without a keeper, and was overtaken by another claimer, does not take it."""
    run = a_run(owner="gone")
    journal.commit(entering(run))
    slow = journal.register(an_owner("slow"))
    other = open_journal(postgres_url)
    fast = other.register(an_owner("fast"))
    taken: list[UUID] = []
    seen = _Session.all

    def overtaken(session: _Session, text: str, values: Any = ()) -> list[tuple[Any, ...]]:
        found = seen(session, text, values)
        if "NOT EXISTS" in text and not taken:
            taken.append(run.id)
            taken.extend(ids(other.claim(fast)))
        return found

    # Without locks, as if the other had come and gone before they were taken.
    monkeypatch.setattr(_Session, "take", "")
    monkeypatch.setattr(_Session, "all", overtaken)

    assert journal.claim(slow) == []
    assert taken == [run.id, run.id]
    assert ids(journal.runs(RunQuery(keeper="fast"))) == [run.id]
    other.close()
