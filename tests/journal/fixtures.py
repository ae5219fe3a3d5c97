"""A journal of each kind for every test of the contract, and the server that one of them needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from tests.journal.server import Server

_schemas = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def postgres_url(postgres: Server) -> Iterator[str]:
    schema = f"test_{next(_schemas)}"
    _execute(postgres, f"CREATE SCHEMA {schema}")
    yield postgres.url(schema)
    _execute(postgres, f"DROP SCHEMA {schema} CASCADE")


def _execute(postgres: Server, text: str) -> None:
    # A connection for each: a test may kill the server in between.
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(text.encode())


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/journal.db"}
    made = open_journal(urls.get(request.param) or request.getfixturevalue("postgres_url"))
    yield made
    made.close()
