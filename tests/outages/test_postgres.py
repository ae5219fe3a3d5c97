"""A PostgreSQL server that is killed, unreachable, or blocked by another client."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventflow.events import JournalFailed, JournalRecovered
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.journal.stores import postgres
from eventflow.journal.stores.postgres import PostgresJournal
from eventflow.journal.stores.postgres_session import PostgresSession
from eventflow.owners.process import describe
from eventflow.settings import EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated
from tests.journal.proxy import Proxy
from tests.journal.server import Server
from tests.outages.workload import TIMEOUT_SECONDS, Workload


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start a server of this module's own, which its tests may kill."""
    server = Server()
    yield server
    server.stop()


@contextmanager
def workload_on(url: str) -> Iterator[Workload]:
    """Make the schema that the URL names, and a workload whose journal is there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {url.rpartition('%3D')[2]}".encode())
    with isolated(), temporary_settings({EVENTFLOW_JOURNAL_URL: url}):
        yield Workload()


def test_runs_go_on_while_the_server_is_killed_and_started_again(server: Server) -> None:
    """Killed with all its processes in the middle of 500 runs: all of them are journalled."""
    with workload_on(server.url("killed")) as workload:
        workload.run(200)
        workload.run(150, during=server.kill)
        failed = workload.wait_for(JournalFailed)
        server.start()
        workload.run(150)
        workload.wait_for(JournalRecovered)

        workload.assert_journalled()
    assert "127.0.0.1" in failed.error.message


KILLED = """
import os, pathlib, sys, time
from eventflow import flow

def told(definition, run, state):
    with open("told", "a") as file:
        file.write(f"{definition.name} {state.name}\\n")

@flow(on_completion=[told], on_crashed=[told])
def done(): ...

@flow(on_completion=[told], on_crashed=[told])
def killed():
    pathlib.Path("began").touch()
    time.sleep(600)

if __name__ == "__main__":
    done()
    pathlib.Path("up").touch()
    while not pathlib.Path("down").exists():
        time.sleep(0.01)
    done()
    killed()
"""


def test_a_process_killed_while_the_server_is_away_loses_nothing(
    server: Server, tmp_path: Path
) -> None:
    """Its records are in a segment: its guardian waits for the server, and delivers what is owed.

    What completed is not crashed, and no hook runs twice.
    """
    url = server.url("spooled")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(b"CREATE SCHEMA spooled")
    (tmp_path / "script.py").write_text(KILLED)
    env = {
        **os.environ,
        "EVENTFLOW_HOME": str(tmp_path / "home"),
        "EVENTFLOW_JOURNAL_URL": url,
        "EVENTFLOW_GUARDIAN": "true",
        "EVENTFLOW_LEASE_SECONDS": "1",
    }
    owner = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=env)
    wait_until((tmp_path / "up").exists)
    server.kill()
    (tmp_path / "down").touch()
    wait_until((tmp_path / "began").exists)
    owner.kill()
    owner.wait(TIMEOUT_SECONDS)
    server.start()

    journal = open_journal(url)
    wait_until(lambda: len(journal.runs(RunQuery(state_names=["Crashed"]))) == 1)
    wait_until(lambda: not list((tmp_path / "home").glob("owners-*/*/")))

    assert sorted((tmp_path / "told").read_text().splitlines()) == [
        "done Completed",
        "done Completed",
        "killed Crashed",
    ]
    states = [(run.definition, run.state_name) for run in journal.runs(RunQuery())]
    assert sorted(states) == [("done", "Completed")] * 2 + [("killed", "Crashed")]
    assert journal.verify() == []
    journal.close()


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until another process has done something."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """Start a proxy in front of the server."""
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def test_runs_go_on_while_the_network_is_cut(
    server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First nothing is forwarded, then connections are closed, then the network is restored."""
    monkeypatch.setattr(postgres, "ANSWER_SECONDS", 1.0)
    monkeypatch.setitem(postgres.CONNECTION, "connect_timeout", 2)
    url = server.url("cut").replace(str(server.port), str(proxy.port))
    with workload_on(url) as workload:
        workload.run(20)
        workload.run(20, during=proxy.cut)
        workload.wait_for(JournalFailed)
        workload.run(20)
        proxy.reset()
        workload.run(20)
        proxy.restore()
        workload.wait_for(JournalRecovered)
        workload.run(20)

        workload.assert_journalled()


def test_an_idle_transaction_holds_up_nobody(server: Server) -> None:
    """The server ends the transaction of a client that froze with a lock; it is run again."""
    idle, other = open_journal(server.url()), open_journal(server.url())
    assert isinstance(idle, PostgresJournal)
    owner = describe()
    idle.register(owner)
    idle.transact(lambda session: session.run("SET idle_in_transaction_session_timeout = '1s'"))
    locked, ended = threading.Event(), threading.Event()

    def stay_idle(connection: Any) -> list[Any]:
        rows: list[Any] = connection.all("SELECT id FROM @owners WHERE ended IS NULL FOR UPDATE")
        locked.set()
        assert ended.wait(TIMEOUT_SECONDS)
        return [*connection.all("SELECT 1"), *rows]

    with ThreadPoolExecutor() as pool:
        result = pool.submit(idle.transact, stay_idle)
        assert locked.wait(TIMEOUT_SECONDS)
        assert other.end(owner.id, "silent")
        ended.set()
        # The second attempt finds no owner without an end: only the row of SELECT 1 is left.
        assert result.result(TIMEOUT_SECONDS) == [(1,)]
    idle.close()
    other.close()


def test_two_that_come_first_make_the_tables_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see an empty schema at the same time; the second uses the tables of the first."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE SCHEMA first")
    both = threading.Barrier(2)
    thread = threading.local()
    version = PostgresSession.version

    def read_together(session: PostgresSession) -> int:
        number = version(session)
        if not getattr(thread, "has_read", False):
            thread.has_read = True
            both.wait(TIMEOUT_SECONDS)
        return number

    monkeypatch.setattr(PostgresSession, "version", read_together)
    journals = [open_journal(server.url("first")) for _ in range(2)]
    with ThreadPoolExecutor() as pool:
        counts = list(pool.map(lambda journal: journal.statistics().runs, journals))

    assert counts == [0, 0]
    for journal in journals:
        journal.close()
