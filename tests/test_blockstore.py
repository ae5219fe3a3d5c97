"""The contract of every block store, and the errors of the one on SQLite."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from eventflow import blockstore as module
from eventflow.blockstore import BlockStore, BlockToSave, SqliteBlockStore, open_store
from eventflow.errors import BlockExistsError, BlockNotFoundError, HomeError, StoreError

MakeStore = Callable[[Path], BlockStore]
IMPLEMENTATIONS: list[MakeStore] = [lambda folder: SqliteBlockStore(folder / "blocks.db")]


@pytest.fixture(params=IMPLEMENTATIONS, ids=["sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlockStore:
    """Return an empty store, of each implementation in turn."""
    make: MakeStore = request.param
    return make(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of the SQLite store."""
    return tmp_path / "blocks.db"


def block(name: str = "one", slug: str = "string", value: object = 1) -> BlockToSave:
    """Make a block to store."""
    return BlockToSave(slug=slug, name=name, origin="m:C", data={"value": value}, secrets=b"\x00s")


def test_what_is_put_can_be_got(store: BlockStore) -> None:
    """Every field is restored."""
    put = store.put(block())
    assert store.get("string", "one") == put
    assert (put.data, put.secrets, put.origin) == ({"value": 1}, b"\x00s", "m:C")
    assert put.created == put.updated
    assert put.created.utcoffset() == timedelta(0)


def test_a_name_is_taken_once_per_type(store: BlockStore) -> None:
    """The same name of another type is another block."""
    store.put(block())
    store.put(block(slug="json"))
    with pytest.raises(BlockExistsError, match="overwrite=True"):
        store.put(block(value=2))

    assert store.get("string", "one").data == {"value": 1}


def test_overwriting_keeps_the_id_and_the_creation_time(store: BlockStore) -> None:
    """Only the content and the time of the update change."""
    old = store.put(block(), overwrite=True)
    new = store.put(block(value=2), overwrite=True)
    assert (new.id, new.created) == (old.id, old.created)
    assert new.updated >= old.updated
    assert store.get("string", "one").data == {"value": 2}


def test_a_missing_block_is_an_error_that_says_which_there_are(store: BlockStore) -> None:
    """The nearest name is offered, and only names of that type."""
    store.put(block("alpha"))
    store.put(block("beta", slug="json"))
    with pytest.raises(BlockNotFoundError, match="Did you mean 'alpha'") as caught:
        store.get("string", "alhpa")

    assert "beta" not in str(caught.value)


def test_every_gives_all_or_those_of_a_type(store: BlockStore) -> None:
    """Ordered by type and name."""
    assert store.every() == []
    for name, slug in (("b", "string"), ("a", "string"), ("z", "json")):
        store.put(block(name, slug))

    assert [(stored.slug, stored.name) for stored in store.every()] == [
        ("json", "z"),
        ("string", "a"),
        ("string", "b"),
    ]
    assert [stored.name for stored in store.every("string")] == ["a", "b"]
    assert store.every("none") == []


def test_remove_takes_one_block_away(store: BlockStore) -> None:
    """A second removal is an error."""
    removed, other = store.put(block("a")), store.put(block("b"))
    store.remove(removed.id)
    assert store.every() == [other]
    with pytest.raises(BlockNotFoundError, match=str(removed.id)):
        store.remove(removed.id)

    with pytest.raises(BlockNotFoundError, match=str(other.id)):
        store.remove(uuid7())


def test_threads_may_share_a_store(store: BlockStore) -> None:
    """Of many that put the same name at once, one succeeds; those of other names all do."""
    barrier = threading.Barrier(8)

    def put(number: int) -> bool:
        barrier.wait()
        store.put(block(f"own-{number}"))
        try:
            store.put(block("shared"))

        except BlockExistsError:
            return False

        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(put, range(8))) == 1

    assert len(store.every()) == 9


def test_the_store_is_a_file_for_its_owner_only(folder: Path) -> None:
    """Home 0700, the file and its companions 0600."""
    open_store().put(block())
    with closing(sqlite3.connect(folder / "blocks.db")) as reader:
        reader.execute("SELECT * FROM block").fetchall()
        files = sorted(folder.iterdir())
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    assert len(files) == 3
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_an_unusable_home_is_an_error(folder: Path) -> None:
    """A file in place of the folder."""
    folder.touch()
    with pytest.raises(HomeError, match="EVENTFLOW_HOME"):
        open_store()


def test_a_missing_folder_is_an_error(path: Path) -> None:
    """The file cannot be made."""
    with pytest.raises(StoreError, match="Check the folder"):
        SqliteBlockStore(path / "no" / "blocks.db").every()


def test_a_folder_in_place_of_the_file_is_an_error(path: Path) -> None:
    """SQLite cannot open it."""
    path.mkdir()
    with pytest.raises(StoreError, match="writable"):
        SqliteBlockStore(path).every()


def test_a_corrupt_file_is_an_error_that_says_what_to_do(path: Path) -> None:
    """And the file is not changed."""
    path.write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match="restore it from a backup, or move it away"):
        SqliteBlockStore(path).every()

    assert path.read_bytes().startswith(b"not a database")


def test_a_newer_schema_is_refused(path: Path) -> None:
    """An older eventflow does not change a newer schema."""
    SqliteBlockStore(path).put(block())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")

    with pytest.raises(StoreError, match=r"version 7.*knows 1.*Upgrade eventflow"):
        SqliteBlockStore(path).put(block("two"))


def test_a_failed_write_leaves_nothing_behind(path: Path) -> None:
    """The transaction is rolled back, and the next writer succeeds."""
    store = SqliteBlockStore(path)
    with pytest.raises(TypeError):
        store.put(block(value=object()))

    assert store.every() == []
    store.put(block())


def test_a_file_held_for_too_long_is_an_error_that_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never as 'database is locked'."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.1)
    store = SqliteBlockStore(path)
    store.put(block())
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process kept it for") as caught:
            store.put(block("two"))

    assert "locked" not in str(caught.value)


def test_a_file_held_for_a_while_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite fails at once here, and the store retries."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0)
    store = SqliteBlockStore(path)
    store.put(block())
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("time.sleep", lambda _: holder.rollback())
        store.put(block("two"))

    assert [stored.name for stored in store.every()] == ["one", "two"]


def test_processes_that_make_the_store_at_once_all_succeed(
    together: Callable[[str, int], list[str]], folder: Path
) -> None:
    """Also while several of them make the file."""
    code = (
        "for i in range(20):\n"
        "    String('x').save(f'p{number}-{i}')\n"
        "    String('y').save('all', overwrite=True)"
    )
    together(code, 6)
    assert len(open_store().every("string")) == 6 * 20 + 1
    assert folder.is_dir()
