"""The store of saved blocks: a protocol, and its implementation on SQLite."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from eventflow.errors import BlockExistsError, BlockNotFoundError, StoreError
from eventflow.primitives.ids import new_id
from eventflow.primitives.private_files import open_file, refuse_foreign
from eventflow.settings import home

if TYPE_CHECKING:
    import sqlite3

__all__ = ["BlockStore", "BlockToSave", "SqliteBlockStore", "StoredBlock", "open_store"]

T = TypeVar("T")

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE block (
    id      TEXT PRIMARY KEY,
    slug    TEXT NOT NULL,
    name    TEXT NOT NULL,
    origin  TEXT NOT NULL,
    data    TEXT NOT NULL,
    secrets BLOB,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    UNIQUE (slug, name)
)
"""
COLUMNS = "id, slug, name, origin, data, secrets, created, updated"
# How long SQLite waits for a lock, and how long a call is retried in all.
BUSY_SECONDS = 5.0
RETRY_SECONDS = 30.0
# SQLITE_BUSY and SQLITE_LOCKED.
BUSY_CODES = frozenset({5, 6})


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockToSave:
    """A block before it is stored.

    `data` is plain JSON with every secret masked; `secrets` holds those secrets, encrypted, or
    is None; `origin` is the class as `module:qualname`.
    """

    slug: str
    name: str
    origin: str
    data: Mapping[str, Any]
    secrets: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock(BlockToSave):
    """A block in the store; the times are in UTC."""

    id: UUID
    created: datetime
    updated: datetime


class BlockStore(Protocol):
    """Keeps blocks by type and name; safe to call from any thread and any process."""

    def put(self, block: BlockToSave, *, overwrite: bool = False) -> StoredBlock:
        """Store a block; an overwritten one keeps its id and its creation time.

        Raises:
            BlockExistsError: the name is taken, and `overwrite` is false.
            StoreError: the store cannot be written.
        """
        ...

    def get(self, slug: str, name: str) -> StoredBlock:
        """Return the block of that type and name.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be read.
        """
        ...

    def every(self, slug: str | None = None) -> list[StoredBlock]:
        """Return all blocks, or all of one type, ordered by type and name.

        Raises:
            StoreError: the store cannot be read.
        """
        ...

    def remove(self, block_id: UUID) -> None:
        """Delete the block with that id.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be written.
        """
        ...


def open_store() -> BlockStore:
    """Return the store of the home in force.

    Raises:
        HomeError: the home cannot be used.
    """
    return SqliteBlockStore(home() / "blocks.db")


@dataclass(frozen=True, slots=True)
class SqliteBlockStore:
    """Blocks in one SQLite file, opened for each call: nothing to close, to share or to fork."""

    path: Path

    def put(self, block: BlockToSave, *, overwrite: bool = False) -> StoredBlock:
        """Store a block; an overwritten one keeps its id and its creation time.

        Raises:
            BlockExistsError: the name is taken, and `overwrite` is false.
            StoreError: the store cannot be written.
        """
        return self._retry(lambda connection: _put(connection, block, overwrite=overwrite))

    def get(self, slug: str, name: str) -> StoredBlock:
        """Return the block of that type and name.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be read.
        """
        stored = self._retry(lambda connection: _get(connection, slug, name))
        if stored is None:
            raise BlockNotFoundError(slug, name, [block.name for block in self.every(slug)])

        return stored

    def every(self, slug: str | None = None) -> list[StoredBlock]:
        """Return all blocks, or all of one type, ordered by type and name.

        Raises:
            StoreError: the store cannot be read.
        """
        query = f"SELECT {COLUMNS} FROM block WHERE slug = ? OR ? IS NULL ORDER BY slug, name"  # noqa: S608 - constants only
        rows = self._retry(lambda connection: connection.execute(query, (slug, slug)).fetchall())
        return [_stored(row) for row in rows]

    def remove(self, block_id: UUID) -> None:
        """Delete the block with that id.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be written.
        """
        statement = "DELETE FROM block WHERE id = ?"
        parameters = (str(block_id),)
        if not self._retry(lambda opened: opened.execute(statement, parameters).rowcount):
            raise BlockNotFoundError(
                "any", str(block_id), [str(block.id) for block in self.every()]
            )

    def _retry(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call `work` with a connection, again and again while other processes lock the file."""
        import sqlite3  # noqa: PLC0415 - slow to import, and most programs save no block

        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                with self._connection() as connection:
                    return work(connection)

            except sqlite3.Error as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise self._explained(error) from error

            # SQLite's own busy timeout does not cover a change of journal mode or a recovery.
            time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads contenders, no secret

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        import sqlite3  # noqa: PLC0415 - slow to import, and most programs save no block

        self._create_file()
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        with closing(connection):
            self._prepare(connection)
            yield connection

    def _create_file(self) -> None:
        # SQLite would make it with the umask's mode; its -wal and -shm files copy the mode.
        try:
            with suppress(FileExistsError):
                os.close(open_file(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            refuse_foreign(self.path)

        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(self.path, reason, "Check the folder and its permissions.") from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            version = _create_schema(connection)

        if version != SCHEMA_VERSION:
            raise StoreError(
                self.path,
                f"its schema is version {version}, and this eventflow knows {SCHEMA_VERSION}",
                "Upgrade eventflow, or set EVENTFLOW_HOME to another folder.",
            )

    def _explained(self, error: sqlite3.Error) -> StoreError:
        if _is_busy(error):
            advice = "End the process that holds it."
            return StoreError(self.path, f"another process kept it for {RETRY_SECONDS:g} s", advice)

        if type(error).__name__ == "OperationalError":
            advice = "Check that its folder is writable and that the disk is not full."

        else:
            advice = (
                "It looks damaged: restore it from a backup, or move it away (with its -wal and "
                "-shm files) and save the blocks again."
            )

        return StoreError(self.path, str(error), advice)


def _is_busy(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF in BUSY_CODES


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: a read lock that is upgraded to a write lock cannot wait, it fails at once.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield

    except BaseException:
        connection.rollback()
        raise

    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _create_schema(connection: sqlite3.Connection) -> int:
    with _transaction(connection):
        if _version(connection) == 0:
            connection.execute(SCHEMA)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    return _version(connection)


def _get(connection: sqlite3.Connection, slug: str, name: str) -> StoredBlock | None:
    query = f"SELECT {COLUMNS} FROM block WHERE slug = ? AND name = ?"  # noqa: S608 - constants only
    row = connection.execute(query, (slug, name)).fetchone()
    return None if row is None else _stored(row)


def _put(connection: sqlite3.Connection, block: BlockToSave, *, overwrite: bool) -> StoredBlock:
    now = datetime.now(UTC)
    with _transaction(connection):
        old = _get(connection, block.slug, block.name)
        if old is not None and not overwrite:
            raise BlockExistsError(block.slug, block.name)

        new = StoredBlock(
            id=old.id if old else new_id(),
            slug=block.slug,
            name=block.name,
            origin=block.origin,
            data=block.data,
            secrets=block.secrets,
            created=old.created if old else now,
            updated=now,
        )
        statement = f"INSERT OR REPLACE INTO block ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants only
        connection.execute(statement, _row(new))

    return new


def _row(block: StoredBlock) -> tuple[object, ...]:
    return (
        str(block.id),
        block.slug,
        block.name,
        block.origin,
        json.dumps(block.data),
        block.secrets,
        block.created.isoformat(),
        block.updated.isoformat(),
    )


def _stored(row: tuple[Any, ...]) -> StoredBlock:
    block_id, slug, name, origin, data, secrets, created, updated = row
    return StoredBlock(
        id=UUID(block_id),
        slug=slug,
        name=name,
        origin=origin,
        data=json.loads(data),
        secrets=secrets,
        created=datetime.fromisoformat(created),
        updated=datetime.fromisoformat(updated),
    )
