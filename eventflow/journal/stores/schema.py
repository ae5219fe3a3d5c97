"""The tables of the journal, for every database, and the migrations between their versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from eventflow.journal.contract import NewerSchemaError

__all__ = ["MIGRATIONS", "VERSION", "check_version", "statements_after", "tables"]

MIGRATIONS: Final[Sequence[str]] = (
    # `@` stands before the name of a table; UUID, PLACE and the type of whole numbers depend on
    # the database. Times are microseconds since 1970, lists are JSON. Only indexes that are needed:
    # each one is another page to write in every commit.
    """
    CREATE TABLE @meta (name TEXT PRIMARY KEY, value INT NOT NULL);
    CREATE TABLE @owners (
        id TEXT PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, pid INT NOT NULL,
        started INT NOT NULL, main_file TEXT, main_module TEXT, argv TEXT NOT NULL,
        cwd TEXT NOT NULL, sys_path TEXT NOT NULL, token INT NOT NULL, lease_until INT,
        ended INT, reason TEXT
    );
    CREATE TABLE @runs (
        id UUID PRIMARY KEY, run_type TEXT NOT NULL, name TEXT NOT NULL,
        definition TEXT NOT NULL, reference TEXT NOT NULL, version TEXT,
        tags TEXT NOT NULL, parameters TEXT, parent_run_id UUID, flow_run_id UUID,
        root_flow_run_id UUID, owner TEXT NOT NULL, created INT NOT NULL,
        started INT, ended INT, seconds FLOAT NOT NULL, run_count INT NOT NULL,
        sequence INT NOT NULL, state_id UUID NOT NULL, state_type TEXT NOT NULL,
        state_name TEXT NOT NULL, state_at INT NOT NULL, message TEXT, keeper TEXT NOT NULL
    ) ROWS;
    CREATE INDEX @runs_unfinished ON @runs (id) WHERE ended IS NULL;
    CREATE INDEX @runs_ended ON @runs (ended) WHERE ended IS NOT NULL;
    CREATE INDEX @runs_not_completed ON @runs (state_type, id) WHERE state_type <> 'COMPLETED';
    CREATE INDEX @runs_of_parent ON @runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
    CREATE TABLE @events (
        PLACE, id UUID NOT NULL, run_id UUID NOT NULL, sequence INT NOT NULL,
        state_type TEXT NOT NULL, state_name TEXT NOT NULL, occurred INT NOT NULL,
        run_count INT NOT NULL, message TEXT, error TEXT, follows UUID
    );
    CREATE UNIQUE INDEX @events_of_run ON @events (run_id, sequence);
    CREATE TABLE @deliveries (
        id UUID PRIMARY KEY, event_id UUID NOT NULL, run_id UUID NOT NULL, ordinal INT NOT NULL,
        hook TEXT NOT NULL, importable INT NOT NULL,
        status TEXT NOT NULL, attempts INT NOT NULL, due INT, error TEXT, updated INT
    ) ROWS;
    CREATE INDEX @deliveries_of_run ON @deliveries (run_id);
    CREATE INDEX @deliveries_left ON @deliveries (status, run_id) WHERE status <> 'delivered';
    CREATE TABLE @requests (run_id UUID PRIMARY KEY, asked INT NOT NULL) ROWS;
    """,
    # Runs that no other run called, among millions of others; and runs without a keeper, of which
    # there are very few.
    """
    CREATE INDEX @runs_top ON @runs (id) WHERE parent_run_id IS NULL;
    CREATE INDEX @runs_free ON @runs (id) WHERE keeper = '';
    """,
    # The sets of hooks that runs are subject to, of each owner by the hash of their text.
    """
    ALTER TABLE @runs ADD COLUMN hooks TEXT;
    ALTER TABLE @runs ADD COLUMN global_hooks TEXT;
    CREATE TABLE @hook_sets (
        owner TEXT NOT NULL, id TEXT NOT NULL, hooks TEXT NOT NULL, PRIMARY KEY (owner, id)
    ) ROWS;
    """,
)
"""The statements from each version of the schema to the next. Never changed once released."""

VERSION: Final = len(MIGRATIONS)
"""The version of the schema that this eventflow reads and writes."""


_TABLE: Final = re.compile(r"(CREATE|DROP) TABLE @(\w+)")


def tables(version: int) -> frozenset[str]:
    """Return the names of the tables of a version; none of one that is not known."""
    made: set[str] = set()
    for word, name in _TABLE.findall(";".join(MIGRATIONS[:version])) if version <= VERSION else ():
        (made.add if word == "CREATE" else made.discard)(name)

    return frozenset(made)


def statements_after(version: int) -> list[str]:
    """Return the statements that lead from an older version to the present one."""
    return [
        statement
        for migration in MIGRATIONS[version:]
        for statement in migration.split(";")
        if statement.strip()
    ]


def check_version(version: int, where: str) -> None:
    """Refuse a schema that only a newer eventflow can read.

    Raises:
        NewerSchemaError: the schema is newer than this eventflow.
    """
    if version > VERSION:
        raise NewerSchemaError(where, version, VERSION)
