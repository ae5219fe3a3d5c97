"""What only a journal in PostgreSQL has to get right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.journal.contract import START, Journal, RunQuery
from eventflow.journal.stores import postgres
from eventflow.journal.stores.postgres import PostgresJournal, _Session
from eventflow.journal.stores.postgres_connection import Connection, NoAnswer
from tests.journal.rows import a_run, an_owner, entering, ids, line_of


@pytest.fixture
def journal(postgres_url: str) -> Iterator[Journal]:
    made = open_journal(postgres_url)
    yield made
    made.close()


def test_an_event_of_a_slow_transaction_is_not_overtaken(
    journal: Journal, postgres_url: str
) -> None:
    """A cursor waits for transactions that began earlier, and skips no event."""
    slow, fast = a_run(), a_run()
    journal.commit_lines([entering(slow)])
    with psycopg.connect(postgres_url) as other:
        copied = "id, run_id, sequence + 1, state_type, state_name, occurred, run_count"
        names = copied.replace(" + 1", "")
        other.execute(
            f"INSERT INTO eventflow_events ({names}) SELECT {copied} FROM eventflow_events".encode()
        )
        _, cursor = journal.events_after(START, 9)
        journal.commit_lines([entering(fast)])
        assert journal.events_after(cursor, 9)[0] == []
        assert journal.cursor() < (2**61, 0)

    events, _ = journal.events_after(cursor, 9)
    assert [event.run_id for event in events] == [slow.id, fast.id]


def test_an_unreachable_server_is_an_error_without_the_password() -> None:
    """The error names the journal, and shows no credentials."""
    journal = PostgresJournal("postgresql://me:secret@127.0.0.1:1/x")

    with pytest.raises(JournalError, match=r"127\.0\.0\.1:1") as caught:
        journal.commit_lines([entering(a_run())])

    assert "secret" not in str(caught.value)


def test_a_process_in_a_hurry_waits_for_a_silent_server_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shorter time than usual, and after that every use fails at once."""
    assert isinstance(journal, PostgresJournal)
    journal.statistics()
    assert journal._answer_timeout() == postgres.ANSWER_SECONDS
    timeouts: list[float | None] = []

    def silent(connection: Connection, *_: Any, **__: Any) -> Any:
        timeouts.append(connection.answer_timeout())
        raise NoAnswer("the server did not answer")

    journal.in_hurry = True
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "wait", silent)
        for _ in range(3):
            with pytest.raises(JournalError, match="did not answer"):
                journal.owners()

    assert timeouts[0] == postgres.LAST_SECONDS < postgres.ANSWER_SECONDS
    attempts = len(timeouts)
    with pytest.raises(JournalError, match="did not answer"):
        journal.owners()
    assert len(timeouts) == attempts
    journal.in_hurry = False
    assert journal.owners() == []


def test_dropped_tables_are_created_again(journal: Journal, postgres_url: str) -> None:
    """The next commit fails and says so; the one after it succeeds."""
    journal.commit_lines([entering(a_run())])
    with psycopg.connect(postgres_url) as other:
        tables = ("meta", "owners", "runs", "events", "deliveries", "requests", "hook_sets")
        other.execute(f"DROP TABLE {', '.join(f'eventflow_{table}' for table in tables)}".encode())
    run = a_run()

    with pytest.raises(JournalError, match="cannot be used"):
        journal.commit_lines([entering(run)])
    journal.commit_lines([entering(run)])

    assert journal.run(run.id) == run


def test_a_stopped_process_is_idle_to_the_server(
    journal: Journal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every answer: the server ends idle transactions, and their locks are released."""
    journal.register(an_owner("owner"))
    idle: list[bool] = []
    wait = Connection.wait

    def wait_and_check(connection: Connection, *args: Any, **options: Any) -> Any:
        answer = wait(connection, *args, **options)
        pid = connection.info.backend_pid
        text = "SELECT state <> 'active' FROM pg_stat_activity WHERE pid = %s"
        idle.extend(is_idle for (is_idle,) in other.execute(text, (pid,)).fetchall())
        return answer

    runs = [a_run() for _ in range(70)]
    with psycopg.connect(postgres_url, autocommit=True) as other, monkeypatch.context() as patch:
        patch.setattr(Connection, "wait", wait_and_check)
        journal.commit_lines([line_of(runs=runs)])

    assert {*journal.runs(RunQuery(limit=100))} == {*runs}
    assert len(idle) > 4
    assert all(idle)


def test_a_claim_checks_the_keeper_twice(
    journal: Journal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that another process claims after the query is not claimed again."""
    run = a_run(owner="gone")
    journal.commit_lines([entering(run)])
    slow = journal.register(an_owner("slow"))
    other = open_journal(postgres_url)
    fast = other.register(an_owner("fast"))
    taken: list[UUID] = []
    select = _Session.all

    def overtaken(session: _Session, text: str, values: Any = ()) -> list[tuple[Any, ...]]:
        rows = select(session, text, values)
        if "NOT EXISTS" in text and not taken:
            taken.append(run.id)
            taken.extend(ids(other.claim(fast)))
        return rows

    # Without locks, as if the other had claimed the run before they were taken.
    monkeypatch.setattr(_Session, "for_update", "")
    monkeypatch.setattr(_Session, "all", overtaken)

    assert journal.claim(slow) == []
    assert taken == [run.id, run.id]
    assert ids(journal.runs(RunQuery(keeper="fast"))) == [run.id]
    other.close()
