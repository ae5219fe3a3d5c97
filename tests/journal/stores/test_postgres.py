"""What only a journal in PostgreSQL has to get right."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal.contract import START, Journal, RunQuery
from eventflow.journal.stores import postgres, schema
from eventflow.journal.stores.postgres import PostgresJournal
from eventflow.journal.stores.postgres_session import Connection, NoAnswer, PostgresSession
from tests.journal.rows import HOOK, ARun, a_begun_run, a_completed_run, an_owner, commit, ids


@pytest.fixture
def journal(postgres_url: str) -> Iterator[Journal]:
    made = open_journal(postgres_url)
    yield made
    made.close()


def test_an_event_of_a_slow_transaction_is_not_overtaken(
    journal: Journal, postgres_url: str
) -> None:
    """A cursor waits for transactions that began earlier, and skips no event."""
    (slow, records), (fast, others) = a_begun_run(), a_begun_run()
    commit(journal, records)
    with psycopg.connect(postgres_url) as other:
        other.execute(
            "INSERT INTO eventflow_feed (at, owner, data) SELECT at, owner, data"
            " FROM eventflow_feed"
        )
        _, cursor = journal.events_after(START, 9)
        commit(journal, others)
        assert journal.events_after(cursor, 9)[0] == []
        assert journal.cursor() < (2**61, 0, 0)

    events, _ = journal.events_after(cursor, 9)
    assert ids(events) == [slow.event_id(), fast.event_id()]


def test_a_group_is_one_round_trip(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once definitions and lists of hooks are recorded; also if a run has two records in it."""
    fence = journal.register(an_owner())
    commit(journal, ARun().enter("P", HOOK), fence=fence)
    trips: list[int] = []
    wait = Connection.wait

    def counted(*args: Any, **options: Any) -> Any:
        trips.append(1)
        return wait(*args, **options)

    monkeypatch.setattr(Connection, "wait", counted)
    runs = [ARun() for _ in range(3)]
    for run in runs:
        run.described = b""

    commit(journal, *(run.enter("P") for run in runs), fence=fence)
    once = len(trips)
    commit(journal, *(run.enter(state) for state in "RC" for run in runs), fence=fence)

    assert once == 1
    assert [row.sequence for run in runs if (row := journal.run(run.id))] == [2, 2, 2]
    assert len(journal.events_after(START, 99)[0]) == 1 + 3 * 3


def test_tables_of_the_shape_before_are_set_aside(
    journal: Journal, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are renamed with their indexes, which is logged, and new ones are made."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("CREATE TABLE eventflow_meta (name TEXT PRIMARY KEY, value BIGINT)")
        other.execute("INSERT INTO eventflow_meta VALUES ('schema', 3)")
        other.execute("CREATE TABLE eventflow_runs (id UUID PRIMARY KEY)")
        other.execute("CREATE INDEX eventflow_runs_top ON eventflow_runs (id)")
        other.execute("CREATE TABLE eventflow_events (place BIGINT GENERATED ALWAYS AS IDENTITY)")

    run, records = a_begun_run()
    with caplog.at_level(logging.WARNING):
        commit(journal, records)

    assert journal.run(run.id) is not None
    assert "older version" in caplog.text
    with psycopg.connect(postgres_url, client_encoding="utf8") as other:
        text = "SELECT tablename FROM pg_tables WHERE tablename LIKE 'old%'"
        names = {name.partition("_eventflow_")[2] for (name,) in other.execute(text).fetchall()}
    assert names == {"events", "meta", "runs"}


def test_an_unreachable_server_is_an_error_without_the_password() -> None:
    """The error names the journal, and shows no credentials."""
    journal = PostgresJournal("postgresql://me:secret@127.0.0.1:1/x")

    with pytest.raises(JournalError, match=r"127\.0\.0\.1:1") as caught:
        commit(journal, ARun().enter("P"))

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
    commit(journal, ARun().enter("P"))
    with psycopg.connect(postgres_url) as other:
        tables = sorted(schema.tables(schema.VERSION))
        other.execute(f"DROP TABLE {', '.join(f'eventflow_{table}' for table in tables)}".encode())
    run, records = a_begun_run()

    with pytest.raises(JournalError, match="cannot be used"):
        commit(journal, records)
    commit(journal, records)

    assert journal.run(run.id) is not None


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

    made = [a_completed_run(HOOK) for _ in range(70)]
    with psycopg.connect(postgres_url, autocommit=True) as other, monkeypatch.context() as patch:
        patch.setattr(Connection, "wait", wait_and_check)
        commit(journal, *(records for _, records in made))
        commit(journal, *(run.settle(DeliveryStatus.FAILED) for run, _ in made))

    assert {*ids(journal.runs(RunQuery(limit=100)))} == {*ids(run for run, _ in made)}
    assert len(idle) > 4
    assert all(idle)


def test_a_claim_checks_the_keeper_twice(
    journal: Journal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that another process claims after the query is not claimed again."""
    run, records = a_begun_run()
    commit(journal, records, owner="gone")
    slow = journal.register(an_owner("slow"))
    other = open_journal(postgres_url)
    fast = other.register(an_owner("fast"))
    taken: list[UUID] = []
    select = PostgresSession.all

    def overtaken(session: PostgresSession, text: str, values: Any = ()) -> list[tuple[Any, ...]]:
        rows = select(session, text, values)
        if "NOT EXISTS" in text and not taken:
            taken.append(run.id)
            taken.extend(ids(other.claim(fast)))
        return rows

    # Without locks, as if the other had claimed the run before they were taken.
    monkeypatch.setattr(PostgresSession, "FOR_UPDATE", "")
    monkeypatch.setattr(PostgresSession, "all", overtaken)

    assert journal.claim(slow) == []
    assert taken == [run.id, run.id]
    assert ids(journal.runs(RunQuery(keeper="fast"))) == [run.id]
    other.close()
