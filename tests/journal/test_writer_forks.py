"""A forked child writes its own lines only, and the end of the interpreter loses none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.journal.contract import Fence
from eventflow.journal.spool import Spool
from eventflow.journal.writer import Writer
from tests.forked import in_a_fork
from tests.journal.fakes import FakeStore, StatusLog, hold_up
from tests.journal.rows import a_run, entering
from tests.journal.writing import append, append_and_wait, numbered_lines, read_spool

forking = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
ROOT = Path(__file__).parent.parent.parent
AT_EXIT = """
import sys, threading
from pathlib import Path
from eventflow.journal.spool import Spool
from eventflow.journal.writer import Writer
from tests.journal.writing import append

class Journal:
    def commit_lines(self, lines, fence=None):
        print(*(line.decode() for line in lines), flush=True)
    def in_transaction(self): return False
    def close(self): print("closed")

folder = sys.argv[1] if len(sys.argv) > 1 else None
writer = Writer(Journal(), print, spool=Spool(Path(folder)) if folder else None)
for number in range(3):
    append(writer, b"line-%d" % number)

class Late:
    def __del__(self):
        append(writer, b"late")

late = Late()
"""


@forking
def test_a_fork_leaves_the_spool_to_the_parent(
    writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """The child has no spool, no fence and no lines; its thread commits its own."""
    begun, release = hold_up(store)
    writer.fence = Fence("parent", 1)
    append(writer, b"line-0")
    assert begun.wait(60)
    append(writer, b"line-1")

    def child() -> bool:
        fresh = (writer.forked, writer.fence, writer.spool) == (True, None, None)
        store.groups.clear()
        store.fences.clear()
        store.on_commit = lambda: None
        append(writer, b"line-2")
        store.wait_for(b"line-2")
        return fresh and store.lines == [b"line-2"] and store.fences == [None]

    assert in_a_fork(child)
    assert not writer.forked
    assert read_spool(spool_folder) == numbered_lines(2)
    release.set()
    assert writer.flush()
    assert store.lines == numbered_lines(2)


@forking
def test_a_child_may_have_a_spool_of_its_own(
    writer: Writer, store: FakeStore, spool_folder: Path
) -> None:
    """Lines from before are in memory, and come first."""

    def child() -> bool:
        store.error = JournalError("locked")
        append_and_wait(writer, b"line-0")
        (spool_folder / "child").mkdir()
        writer.spool = Spool(spool_folder / "child")
        return not writer.flush() and append_and_wait(writer, b"line-1")

    assert in_a_fork(child)
    assert read_spool(spool_folder / "child") == numbered_lines(2)
    assert read_spool(spool_folder) == []


@forking
def test_a_forked_child_leaves_the_parents_lines_to_it(
    tmp_path: Path, status_log: StatusLog
) -> None:
    """In a real journal, each line is written once, the child's by its own thread."""
    url = f"sqlite:///{tmp_path}/journal.db"
    writer = Writer(open_journal(url), status_log)
    ours, theirs = a_run(), a_run()
    append_and_wait(writer, entering(a_run()))
    writer.append(entering(ours))

    def child() -> bool:
        cursor = writer.journal.cursor()  # type: ignore[attr-defined]
        append(writer, entering(theirs))
        journal = open_journal(url)
        return journal.wait(cursor, 60) and journal.run(ours.id) is None

    assert in_a_fork(child)
    assert writer.flush()
    journal = open_journal(url)
    assert journal.run(ours.id) == ours
    assert journal.run(theirs.id) == theirs
    journal.close()
    writer.close()


@pytest.mark.parametrize("with_spool", [True, False])
def test_the_end_of_the_interpreter_loses_nothing(spool_folder: Path, with_spool: bool) -> None:
    """Neither the last lines nor those of a finalizer, when all threads are gone."""
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT, *([str(spool_folder)] if with_spool else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["line-0", "line-1", "line-2", "closed", "late"]
    assert read_spool(spool_folder) == []
