"""The tables of the journal, for every database, and the migrations between their versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from eventflow.hooks.ledger import WORKERS
from eventflow.journal.contract import NewerSchemaError
from eventflow.journal.records import LETTERS

__all__ = [
    "LONG",
    "MIGRATIONS",
    "NAME_OF_STATE",
    "VERSION",
    "check_version",
    "statements_after",
    "tables",
]

LONG: Final = 512
"""From how many bytes on the events of a run are moved to a row of their own by the next ones.

Short ones are put together in the row of the run, which most runs need no other beside.
"""

MIGRATIONS: Final[Sequence[str]] = (
    # `@` stands before the name of a table; UUID, BLOB, PLACE, ROWS, SHOWN, MOVE and the type of
    # whole numbers depend on the database. Times are microseconds since 1970, lists are JSON. Only
    # indexes that are needed, and of these few rows have an entry: each one is another page to
    # write in every commit. `keeper` is NULL where it is the owner of the definition, and empty if
    # there is none. A delivery has a row only if the acknowledgement of its run does not tell its
    # status. The events of a run that came before those in its row are `parts`, by their last one;
    # MOVE has them put there when others take their place: else each one would write all anew.
    # A record names only what was `told` `since` the present segment of its owner began; `closed`
    # is when it was noticed that no further record will name it. `logs` has the lines of runs that
    # are kept, `logged` how many each run has had, and how large those are that are kept; the
    # `logged` of an owner is the number of its last line.
    """
    CREATE TABLE @meta (name TEXT PRIMARY KEY, value INT NOT NULL);
    CREATE TABLE @owners (
        id TEXT PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, pid INT NOT NULL,
        started INT NOT NULL, main_file TEXT, main_module TEXT, argv TEXT NOT NULL,
        cwd TEXT NOT NULL, sys_path TEXT NOT NULL, token INT NOT NULL, lease_until INT,
        ended INT, reason TEXT, number INT NOT NULL UNIQUE, since INT NOT NULL,
        logged INT NOT NULL
    );
    CREATE TABLE @definitions (
        id INT PRIMARY KEY, run_type TEXT NOT NULL, name TEXT NOT NULL, reference TEXT NOT NULL,
        version TEXT, tags TEXT NOT NULL, hooks TEXT, global_hooks TEXT, retries INT,
        told INT NOT NULL, closed INT
    ) ROWS;
    CREATE TABLE @hook_lists (
        id TEXT PRIMARY KEY, hooks TEXT NOT NULL, told INT NOT NULL, closed INT
    ) ROWS;
    CREATE TABLE @hook_sets (
        owner TEXT NOT NULL, id TEXT NOT NULL, hooks TEXT NOT NULL, told INT NOT NULL, closed INT,
        PRIMARY KEY (owner, id)
    ) ROWS;
    CREATE TABLE @runs (
        id UUID PRIMARY KEY, parent UUID, definition INT NOT NULL, keeper TEXT,
        created INT NOT NULL, ended INT, state TEXT NOT NULL, sequence INT NOT NULL, acks BLOB,
        name TEXT, facts BLOB, events BLOB NOT NULL SHOWN
    ) ROWS;
    CREATE INDEX @runs_unfinished ON @runs (id) WHERE ended IS NULL;
    CREATE INDEX @runs_owing ON @runs (id) WHERE substr(acks, 1, 1) <> substr(acks, 3, 1);
    CREATE INDEX @runs_not_completed ON @runs (id) WHERE substr(state, 1, 1) <> 'C';
    CREATE INDEX @runs_of_parent ON @runs (parent) WHERE parent IS NOT NULL;
    CREATE INDEX @runs_top ON @runs (id) WHERE parent IS NULL;
    CREATE INDEX @runs_top_of_definition ON @runs (definition, id) WHERE parent IS NULL;
    CREATE INDEX @runs_free ON @runs (id) WHERE keeper = '';
    CREATE TABLE @parts (
        run_id UUID NOT NULL, sequence INT NOT NULL, events BLOB NOT NULL,
        PRIMARY KEY (run_id, sequence)
    ) ROWS;
    MOVE;
    CREATE TABLE @deliveries (
        run_id UUID NOT NULL, sequence INT NOT NULL, ordinal INT NOT NULL, hook TEXT NOT NULL,
        importable INT NOT NULL, status TEXT NOT NULL, attempts INT NOT NULL, updated INT,
        due INT, error TEXT, PRIMARY KEY (run_id, sequence, ordinal)
    ) ROWS;
    CREATE INDEX @deliveries_left ON @deliveries (status, run_id) WHERE status <> 'delivered';
    CREATE TABLE @logs (
        run_id UUID NOT NULL, sequence INT NOT NULL, at INT NOT NULL, level INT NOT NULL,
        logger TEXT NOT NULL, message TEXT NOT NULL, error TEXT, PRIMARY KEY (run_id, sequence)
    ) ROWS;
    CREATE TABLE @logged (run_id UUID PRIMARY KEY, count INT NOT NULL, size INT NOT NULL) ROWS;
    CREATE TABLE @feed (PLACE, at INT NOT NULL, owner INT NOT NULL, data BLOB NOT NULL);
    CREATE TABLE @requests (run_id UUID PRIMARY KEY, asked INT NOT NULL) ROWS;
    """,
    # A worker's claim of what a run owes to hooks that workers run, see `journal.claims`. The index
    # has those that are owed, in the order in which they are claimed.
    f"""
    CREATE TABLE @claims (run_id UUID PRIMARY KEY, id TEXT NOT NULL, lease_until INT NOT NULL) ROWS;
    CREATE INDEX @deliveries_of_workers ON @deliveries (run_id, sequence, ordinal)
        WHERE ordinal >= {WORKERS} AND status <> 'delivered' AND status <> 'dead';
    """,
)
"""The statements from each version of the schema to the next. Never changed once released."""

OLD: Final = "events"
"""A table that only a journal of the shape before had."""

VERSION: Final = len(MIGRATIONS)
"""The version of the schema that this eventflow reads and writes."""


NAME_OF_STATE: Final = (
    "CASE state "
    + " ".join(f"WHEN '{letter}' THEN '{kind.capitalize()}'" for kind, letter in LETTERS.items())
    + " ELSE substr(state, CASE substr(state, 2, 1) WHEN '=' THEN 3 ELSE 2 END) END"
)
"""What a column for people shows, who look into the database with its own tool."""

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
