"""A forked child writes its own records only, and the end of the interpreter loses none."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from tests.forked import in_a_fork
from tests.journal.fakes import FakeStore, hold_up
from tests.journal.writing import append, append_and_wait, on_disk, owing, record

forking = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
ROOT = Path(__file__).parent.parent.parent
AT_EXIT = """
import sys
from pathlib import Path
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from tests.journal.writing import append, numbers_in

class Journal:
    in_hurry = False
    def commit(self, group):
        print(*numbers_in(group.data), flush=True)
    def in_transaction(self): return False
    def close(self): print("closed", flush=True)

folder = sys.argv[1] if len(sys.argv) > 1 else None
writer = Writer(Journal(), print, spool=Spool(Path(folder)) if folder else None)
for number in range(3):
    append(writer, number)

class Late:
    def __del__(self):
        append(writer, 3)

late = Late()
"""


@forking
def test_a_fork_leaves_the_files_to_the_parent(
    any_writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """The child has no spool and no records; its thread commits its own."""
    begun, release = hold_up(store)
    append(any_writer, 0)
    assert begun.wait(60)
    segment, offset = any_writer.append(owing(1, 2), owed=True)

    def child() -> bool:
        fresh = any_writer.spool is None
        store.received.clear()
        store.on_commit = lambda: None
        known = any_writer.acknowledge(segment, offset, 2, 2, 7)
        append(any_writer, 2)
        store.wait_for(2)
        return fresh and known and store.numbers == [2]

    assert in_a_fork(child)
    assert segment.data[offset + 14 : offset + 16] == b"\1\0"
    if any_writer.spool is not None:
        assert on_disk(spool_folder) == [0, 1]
    release.set()
    assert any_writer.flush()
    assert store.numbers == [0, 1]


@forking
def test_a_fork_while_another_thread_appends(any_writer: Writer, store: FakeStore) -> None:
    """The child does not wait for the lock of a thread that it does not have."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with any_writer.lock, any_writer._commit_lock:
            held.set()
            assert release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(60)

    def child() -> bool:
        append_and_wait(any_writer, 0)
        return any_writer.flush() and store.numbers == [0] and any_writer.close()

    assert in_a_fork(child)
    release.set()
    thread.join(60)
    assert store.numbers == []


@forking
def test_what_is_kept_for_later_is_the_parents(
    writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """A child deletes no file, not even an empty one."""
    writer.append(record(0))
    assert writer.flush()
    with writer.lock:
        writer.segment = None
    assert writer.flush()
    before = sorted(spool_folder.iterdir())
    assert len(before) == 1

    assert in_a_fork(writer.close)
    assert sorted(spool_folder.iterdir()) == before


@forking
def test_a_child_may_have_a_spool_of_its_own(
    writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """Records from before are in memory, and come first."""

    def child() -> bool:
        store.error = JournalError("locked")
        append_and_wait(writer, 0)
        (spool_folder / "child").mkdir()
        writer.spool = Spool(spool_folder / "child")
        return not writer.flush() and append_and_wait(writer, 1)

    assert in_a_fork(child)
    assert on_disk(spool_folder / "child") == [0, 1]
    assert on_disk(spool_folder) == []


@pytest.mark.parametrize("with_spool", [True, False])
def test_the_end_of_the_interpreter_loses_nothing(spool_folder: Path, with_spool: bool) -> None:
    """Neither the last records nor those of a finalizer, when all threads are gone."""
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT, *([str(spool_folder)] if with_spool else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["0", "1", "2", "closed", "3"]
    assert list(spool_folder.iterdir()) == []
