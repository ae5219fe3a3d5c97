"""A connection to PostgreSQL in use: dialect, and an end to waiting for a server that is silent.

A proxy may accept every packet without an answer. The timeouts of the system do not help then: they
are for packets that are lost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import psycopg

from eventflow.journal.rows import sanitized
from eventflow.journal.stores.schema import LONG, NAME_OF_STATE
from eventflow.journal.stores.statements import Session
from eventflow.journal.stores.writing import Dialect
from eventflow.primitives.ids import id_of

__all__ = ["DIALECT", "Connection", "NoAnswer", "PostgresSession", "rendered"]

_DIALECT: Final = {
    "@": "eventflow_",
    "?": "%s",
    "%": "%%",
    "INT": "BIGINT",
    "BLOB": "BYTEA",
    "ROWS": "",
    "SHOWN": f", state_name TEXT GENERATED ALWAYS AS ({NAME_OF_STATE}) STORED",
    "PLACE": (
        "epoch BIGINT NOT NULL DEFAULT pg_current_xact_id()::text::bigint,"
        " place BIGINT GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (epoch, place)"
    ),
    "MOVE": (
        "DO $do$ BEGIN CREATE OR REPLACE FUNCTION eventflow_move() RETURNS trigger"
        " LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO eventflow_parts VALUES (old.id, old.sequence, old.events); RETURN NULL;"
        " END $$; CREATE TRIGGER eventflow_runs_moved AFTER UPDATE OF events ON eventflow_runs"
        f" FOR EACH ROW WHEN (length(old.events) >= {LONG}) EXECUTE FUNCTION eventflow_move();"
        " END $do$"
    ),
}
_WORDS: Final = re.compile(r"[@?%]|\b(?:INT|BLOB|ROWS|SHOWN|PLACE|MOVE)\b")
_NAMED: Final = re.compile(r"(?<!:):(\w+)")
_BYTES: Final = "substr(:data, CAST({at} AS integer), CAST({width} AS integer))"

DIALECT: Final = Dialect(
    raw=_BYTES,
    number=f"CAST(convert_from({_BYTES}, 'UTF8') AS INT)",
    text=f"convert_from({_BYTES}, 'UTF8')",
    id=f"CAST(encode({_BYTES}, 'hex') AS UUID)",
    run=r"'\x52'",
    no_id=f"'{UUID(int=0)}'",
    no_acks=rf"'\x{'00' * 11}'",
    joined=r"@runs.events || '\x0a' || excluded.events",
    whole=r"substr(excluded.events, 1, 1) NOT IN ('\x21', '\x2b')",
    turn=f"row_number() OVER (PARTITION BY {_BYTES.format(at='i + 24', width=16)} ORDER BY i)",
)


@lru_cache(maxsize=256)
def rendered(text: str) -> str:
    """Return a statement in the dialect of PostgreSQL."""
    return _NAMED.sub(r"%(\1)s", _WORDS.sub(lambda match: _DIALECT[match[0]], text))


class PostgresSession(Session):
    """A connection to PostgreSQL in use; `sanitize` replaces characters that it cannot store."""

    FOR_SHARE = " FOR SHARE"
    FOR_UPDATE = " FOR UPDATE OF r SKIP LOCKED"
    FOR_UPDATE_OF = " FOR UPDATE OF {} SKIP LOCKED"
    FOR_CHANGE = " FOR UPDATE"
    # Not `executemany`, which sends row after row without waiting for answers: a process stopped
    # between two rows is not idle to the server, and may keep its locks for ever. Few different
    # statements, none so long that it is split.
    SIZES = (64, 16, 4, 1)
    HEX = "replace(CAST({} AS TEXT), '-', '')"
    PLACE = r"position('\x{}' in {})"
    TEXT = "encode({}, 'escape')"

    __slots__ = ("connection", "lists", "sanitize")

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        lists: dict[str, Any],
        *,
        sanitize: bool = False,
    ) -> None:
        self.connection = connection
        self.lists = lists
        self.sanitize = sanitize

    def execute(self, text: str, values: Sequence[Any] | Mapping[str, Any]) -> psycopg.Cursor[Any]:
        if self.sanitize and not isinstance(values, Mapping):
            values = sanitized(values)
        # Encoded, as the type checker cannot see that the text is made of constants.
        return self.connection.execute(rendered(text).encode(), values)

    def id(self, number: int) -> UUID:
        return id_of(number)

    def number(self, value: UUID) -> int:
        return value.int

    def use_snapshot(self) -> None:
        self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

    def now(self) -> int:
        # The clock of the server: those of many machines differ.
        text = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

        return int(self.all(text)[0][0])

    def glob(self, column: str, pattern: str) -> tuple[str, str]:
        # Python's translation, without its beginning and its end.
        body = translate(pattern)[len("(?s:") : -len(")\\Z")].replace("(?>", "(?:")

        return f"{column} ~ ?", f"^(?:{body})$"

    def names(self) -> list[str]:
        """Return the names of all tables, indexes and sequences of the journal."""
        # Not `to_regclass`: its answer may be cached from before the lock was taken.
        text = (
            "SELECT relname FROM pg_class WHERE relname LIKE '@%' AND pg_table_is_visible(oid)"
            " AND relkind IN ('r', 'i', 'S') ORDER BY relkind, relname"
        )

        return [str(name) for (name,) in self.all(text)]

    def has(self, table: str) -> bool:
        """Return whether there is a table of that name."""
        return rendered(f"@{table}") in self.names()

    def version(self) -> int:
        """Return the version of the schema, 0 where there is none."""
        if not self.has("meta"):
            return 0

        return int(self.all("SELECT value FROM @meta WHERE name = 'schema'")[0][0])


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer within `answer_timeout()` seconds.

    It may change while an answer is waited for; None stands for no limit.
    """

    answer_timeout: Callable[[], float | None] = staticmethod(lambda: None)

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Wait for an answer; psycopg calls this for every request."""
        try:
            return super().wait(_answered(gen, self.answer_timeout), *args, **options)
        except NoAnswer:
            self.close()
            raise


def _answered(gen: Any, timeout: Callable[[], float | None]) -> Generator[Any, Any, Any]:
    """Wait as psycopg does, which resumes this ten times a second while there is no answer."""
    began = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            seconds = None if ready else timeout()
            if seconds is not None and time.monotonic() - began > seconds:
                raise NoAnswer(f"the server did not answer within {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
