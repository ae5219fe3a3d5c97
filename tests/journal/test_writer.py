"""When the lines of a writer are written, by whom, and what becomes of them in trouble."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventflow.errors import JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal import open_journal
from eventflow.journal import writer as writer_module
from eventflow.journal.backlog import Backlog
from eventflow.journal.contract import Fence, StaleOwnerError, UnstorableError
from eventflow.journal.format import encode
from eventflow.journal.rows import RunRow
from eventflow.journal.spool import Spool, segments
from eventflow.journal.stores.memory import MemoryJournal
from eventflow.journal.writer import Writer
from tests.forked import in_a_fork
from tests.journal.putting import now, soon
from tests.journal.rows import a_delivery, a_run, entering, settled

ROOT = Path(__file__).parent.parent.parent

forking = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


class Ledger:
    """A journal that keeps lines, can be made to fail, and can be held up within a commit."""

    def __init__(self) -> None:
        self.groups: list[list[bytes]] = []
        self.committers: list[str] = []
        self.fences: list[Fence | None] = []
        self.error: Exception | None = None
        self.late: JournalError | None = None
        self.bad: set[bytes] = set()
        self.hold: Callable[[], None] = lambda: None
        self.tries = 0
        self._arrived = threading.Condition()

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        self.tries += 1
        self.hold()
        if self.error is not None:
            raise self.error
        if self.bad.intersection(lines):
            raise UnstorableError("no")
        with self._arrived:
            self.groups.append(list(lines))
            self.committers.append(threading.current_thread().name)
            self.fences.append(fence)
            self._arrived.notify_all()
        if self.late is not None:
            raise self.late

    def engaged(self) -> bool:
        return False

    def close(self) -> None:
        pass

    @property
    def lines(self) -> list[bytes]:
        return [line for group in self.groups for line in group]

    @property
    def view(self) -> list[bytes]:
        """What is in the journal: a line that comes again changes nothing."""
        return list(dict.fromkeys(self.lines))

    def wait_for(self, *lines: bytes) -> None:
        with self._arrived:
            assert self._arrived.wait_for(lambda: set(lines) <= set(self.lines), 60)


class Told:
    """Keeps what a writer tells of, and lets a test wait for it."""

    def __init__(self) -> None:
        self.said: list[tuple[JournalError | None, int]] = []
        self.trouble = threading.Event()
        self.again = threading.Event()

    def __call__(self, error: JournalError | None, lost: int) -> None:
        self.said.append((error, lost))
        (self.again if error is None else self.trouble).set()


class Disk:
    """Stands between a spool and the disk; `fault` says what happens to the next lines."""

    def __init__(self) -> None:
        self.fault = ""
        self.on_write: Callable[[], None] = lambda: None
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        if not data.startswith(b"line"):
            return self._write(fd, data)
        self.on_write()
        if self.fault == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.fault == "short":
            return self._write(fd, data[: len(data) // 2])
        written = self._write(fd, data)
        if self.fault == "interrupted":
            raise KeyboardInterrupt
        return written


@pytest.fixture
def journal() -> Ledger:
    return Ledger()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    one = Disk()
    monkeypatch.setattr(os, "write", one.write)
    return one


@pytest.fixture
def spooled(tmp_path: Path) -> Path:
    found = tmp_path / "owner"
    found.mkdir()
    return found


@pytest.fixture
def plain(journal: Ledger, told: Told) -> Iterator[Writer]:
    """A writer without a spool."""
    yield from living(Writer(journal, told), journal)


@pytest.fixture
def writer(journal: Ledger, told: Told, spooled: Path) -> Iterator[Writer]:
    """A writer with a spool."""
    yield from living(Writer(journal, told, spool=Spool(spooled)), journal)


@pytest.fixture(params=["plain", "writer"])
def either(request: pytest.FixtureRequest) -> Writer:
    found: Writer = request.getfixturevalue(request.param)
    return found


def living(writer: Writer, journal: Ledger) -> Iterator[Writer]:
    yield writer
    journal.error = journal.late = None
    journal.hold = lambda: None
    writer.close()


def entered(run: RunRow) -> bytes:
    return encode(entering(run))


def lines(count: int, start: int = 0) -> list[bytes]:
    return [b"line-%d" % number for number in range(start, start + count)]


def left(folder: Path) -> list[bytes]:
    """Read what somebody else would find in the spool."""
    found = []
    for segment in segments(folder):
        found += list(segment.lines())
        segment.close()
    return found


def name() -> str:
    return threading.current_thread().name


def held_up(journal: Ledger) -> tuple[threading.Event, threading.Event]:
    """Have the next commit say that it has begun, and wait until it may go on."""
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        journal.hold = lambda: None
        begun.set()
        assert go_on.wait(60)

    journal.hold = hold
    return begun, go_on


# -- with a spool -------------------------------------------------------------------------------


def test_a_line_is_durable_at_once(writer: Writer, journal: Ledger, spooled: Path) -> None:
    """It is in the spool before the journal knows of it, and nobody has waited for a commit."""
    begun, go_on = held_up(journal)

    assert now(writer, b"line-0")
    assert begun.wait(60)
    assert now(writer, b"line-1")
    soon(writer, b"line-2")
    assert not writer.waits
    assert writer.wait()

    assert left(spooled) == lines(3)
    assert journal.groups == []
    go_on.set()
    journal.wait_for(*lines(3))
    assert set(journal.committers) == {"eventflow-journal"}


def test_the_spool_is_empty_when_the_journal_has_it_all(
    writer: Writer, journal: Ledger, spooled: Path
) -> None:
    """Nothing is left to be recovered, and no file either."""
    for line in lines(1000):
        soon(writer, line)

    assert writer.flush()

    assert journal.lines == lines(1000)
    assert list(spooled.iterdir()) == []


def test_groups_are_large(writer: Writer, journal: Ledger) -> None:
    """What gathers while one group is committed is one group, up to 10,000 lines."""
    begun, go_on = held_up(journal)
    now(writer, b"line-0")
    assert begun.wait(60)
    for line in lines(12_000, 1):
        soon(writer, line)
    go_on.set()

    assert writer.flush()

    assert [len(group) for group in journal.groups] == [1, 10_000, 2_000]


def test_nothing_is_done_while_there_is_nothing_to_do(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread sleeps without an alarm; not once does it look for work on its own."""
    waits: list[float | None] = []
    asleep = threading.Event()
    bell = writer._bell

    class Bell:
        def get(self, timeout: float | None = None) -> None:
            waits.append(timeout)
            if timeout is None and len(waits) > 1:
                asleep.set()
            bell.get(timeout=timeout)

        def put(self, item: None) -> None:
            bell.put(item)

    monkeypatch.setattr(writer, "_bell", Bell())
    soon(writer, b"line-0")
    assert asleep.wait(60)

    assert waits[0] is None
    assert waits[-1] is None
    assert not writer._rung


def test_a_journal_that_fails_leaves_all_in_the_spool(
    writer: Writer, journal: Ledger, told: Told, spooled: Path
) -> None:
    """Lines are as durable as before; they are written in their order when it is well again."""
    journal.error = JournalError("locked")
    soon(writer, b"line-0")
    assert told.trouble.wait(60)

    assert all(now(writer, line) for line in lines(50, 1))
    assert not writer.flush()
    assert writer.down
    assert len(writer._backlog.lines) == 0
    assert left(spooled) == lines(51)
    journal.error = None

    assert told.again.wait(60)
    assert [str(error) for error, _ in told.said] == ["locked", "None"]
    assert writer.flush()
    assert journal.lines == lines(51)
    assert not writer.down


def test_any_error_of_the_journal_is_trouble_and_not_the_end(
    writer: Writer, journal: Ledger, told: Told
) -> None:
    """A mistake in the journal's own code keeps lines waiting; the thread lives on."""
    journal.error = ZeroDivisionError("mistake")
    soon(writer, b"line-0")
    assert told.trouble.wait(60)
    journal.error = None

    journal.wait_for(b"line-0")
    assert "ZeroDivisionError" in str(told.said[0][0])


def test_a_full_disk_is_told_once_and_lines_wait_in_memory(
    writer: Writer, journal: Ledger, told: Told, disk: Disk, spooled: Path
) -> None:
    """With the journal on the same disk nothing is durable; all is there when there is room."""
    assert now(writer, b"line-0")
    assert writer.flush()
    disk.fault = "full"
    journal.error = JournalError("disk full")

    assert not any(now(writer, line) for line in lines(10, 1))
    assert writer.down
    assert len(told.said) == 1
    assert len(writer._backlog.lines) == 10
    assert writer.waits
    disk.fault = ""

    # The journal is not well yet, but the lines are safe again.
    assert not writer.flush()
    assert left(spooled) == lines(10, 1)
    assert now(writer, b"line-11")
    journal.error = None
    assert told.again.wait(60)
    assert writer.flush()
    assert journal.view == lines(12)
    assert [error is None for error, _ in told.said] == [False, True]


def test_a_line_that_gets_from_memory_into_the_spool_is_durable(
    writer: Writer, journal: Ledger, disk: Disk, spooled: Path
) -> None:
    """Whatever the journal says: it is asked for no more than that."""
    disk.fault = "full"
    with writer._committing:
        writer.put(b"line-0")
    disk.fault = ""
    journal.error = JournalError("locked")

    assert now(writer, b"line-1")
    assert left(spooled) == lines(2)


@pytest.mark.parametrize("fault", ["full", "short"])
def test_without_a_spool_the_publisher_commits_itself(
    writer: Writer, journal: Ledger, told: Told, disk: Disk, fault: str
) -> None:
    """A spool that cannot be written makes lines slower, not less durable, and is told once."""
    disk.fault = fault

    assert all(now(writer, line) for line in lines(5))

    assert journal.lines == lines(5)
    assert set(journal.committers) == {name()}
    assert [error is None for error, _ in told.said] == [False]
    assert writer.down
    disk.fault = ""
    assert now(writer, b"line-5")
    assert told.again.wait(60)
    assert not writer.down


def test_what_waits_in_memory_does_not_overtake_the_spool(
    writer: Writer, journal: Ledger, disk: Disk
) -> None:
    """Not even if the disk is full just now, in the middle of a commit."""
    begun, go_on = held_up(journal)
    soon(writer, b"line-0")
    assert begun.wait(60)
    assert now(writer, b"line-1")
    disk.fault = "full"
    soon(writer, b"line-2")
    go_on.set()

    assert writer.flush()
    assert journal.lines == lines(3)


def test_a_folder_that_is_gone_is_not_missed_for_long(
    writer: Writer, journal: Ledger, told: Told, spooled: Path
) -> None:
    """Not a line is lost that was in it, the next ones go to the journal; then as before."""
    journal.error = JournalError("locked")
    assert now(writer, b"line-0")
    shutil.rmtree(spooled)
    assert now(writer, b"line-1")
    assert not writer.flush()
    assert not now(writer, b"line-2")
    journal.error = None

    assert writer.flush()
    assert now(writer, b"line-3")
    assert journal.lines == lines(4)
    spooled.mkdir()
    assert now(writer, b"line-4")
    assert told.again.wait(60)


def test_a_spool_that_is_full_gives_way_to_memory_and_memory_to_loss(
    journal: Ledger, told: Told, spooled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is lost are the newest, they are counted, and it is said."""
    writer = Writer(journal, told, spool=Spool(spooled, limit=14), capacity=12)
    journal.error = JournalError("gone")
    for line in lines(6):
        now(writer, line)
    writer.flush()
    journal.error = None

    assert told.again.wait(60)
    assert told.said[-1] == (None, 2)
    assert "2 are lost" in caplog.text
    assert writer.flush()
    assert journal.view == lines(4)
    now(writer, b"line-6")
    assert writer.close()
    assert journal.view == [*lines(4), b"line-6"]


def test_an_interrupt_within_an_append_loses_nothing(
    writer: Writer, journal: Ledger, disk: Disk
) -> None:
    """Neither the line nor those before and behind; the line may come twice."""
    now(writer, b"line-0")
    disk.fault = "interrupted"
    with pytest.raises(KeyboardInterrupt):
        now(writer, b"line-1")
    disk.fault = ""

    now(writer, b"line-2")

    assert writer.flush()
    assert journal.view == lines(3)


def test_a_handler_that_comes_within_an_append_does_not_wait_for_itself(
    writer: Writer, journal: Ledger, disk: Disk, spooled: Path
) -> None:
    """It may put lines, which are durable, and whatever it asks for besides, it comes back."""
    found: list[bool] = []

    def handler() -> None:
        disk.on_write = lambda: None
        found.append(now(writer, b"line-1"))
        found.append(writer.flush())
        found.append(writer.close())
        assert b"line-1" in left(spooled)
        go_on.set()

    begun, go_on = held_up(journal)
    soon(writer, b"line-0")
    # The thread is within a commit and will want the lock that the handler's thread holds.
    assert begun.wait(60)
    disk.on_write = handler
    soon(writer, b"line-2")

    assert found == [True, False, False]
    assert writer.flush()
    assert sorted(journal.view) == lines(3)


@forking
def test_a_fork_leaves_the_spool_to_the_parent(
    writer: Writer, journal: Ledger, spooled: Path
) -> None:
    """The child has no spool, no fence and no lines; its own are written by its own thread."""
    begun, go_on = held_up(journal)
    writer.fence = Fence("parent", 1)
    soon(writer, b"line-0")
    assert begun.wait(60)
    soon(writer, b"line-1")

    def child() -> bool:
        fresh = (writer.forked, writer.fence, writer.spool) == (True, None, None)
        journal.groups.clear()
        journal.fences.clear()
        journal.hold = lambda: None
        soon(writer, b"line-2")
        journal.wait_for(b"line-2")
        return fresh and journal.lines == [b"line-2"] and journal.fences == [None]

    assert in_a_fork(child)
    assert not writer.forked
    assert left(spooled) == lines(2)
    go_on.set()
    assert writer.flush()
    assert journal.lines == lines(2)


@forking
def test_a_child_may_have_a_spool_of_its_own(
    writer: Writer, journal: Ledger, spooled: Path
) -> None:
    """What it put before waits in memory, and comes first."""

    def child() -> bool:
        journal.error = JournalError("locked")
        now(writer, b"line-0")
        (spooled / "child").mkdir()
        writer.spool = Spool(spooled / "child")
        return not writer.flush() and now(writer, b"line-1")

    assert in_a_fork(child)
    assert left(spooled / "child") == lines(2)
    assert left(spooled) == []


AT_EXIT = """
import sys, threading
from pathlib import Path
from eventflow.journal.spool import Spool
from eventflow.journal.writer import Writer
from tests.journal.putting import soon

class Journal:
    def commit_lines(self, lines, fence=None):
        print(*(line.decode() for line in lines), flush=True)
    def engaged(self): return False
    def close(self): print("closed")

folder = sys.argv[1] if len(sys.argv) > 1 else None
writer = Writer(Journal(), print, spool=Spool(Path(folder)) if folder else None)
for number in range(3):
    soon(writer, b"line-%d" % number)

class Late:
    def __del__(self):
        soon(writer, b"late")

late = Late()
"""


@pytest.mark.parametrize("with_spool", [True, False])
def test_the_end_of_the_interpreter_loses_nothing(spooled: Path, with_spool: bool) -> None:
    """Neither what was put last nor what a finalizer says when all threads are gone."""
    ended = subprocess.run(
        [sys.executable, "-c", AT_EXIT, *([str(spooled)] if with_spool else [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["line-0", "line-1", "line-2", "closed", "late"]
    assert left(spooled) == []


def test_where_there_can_be_no_thread_the_publisher_writes(
    either: Writer, journal: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit of threads or at the end of the process nothing waits for one."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    soon(either, b"line-0")
    assert journal.lines == lines(1)

    journal.error = JournalError("gone")
    soon(either, b"line-1")
    journal.error = None
    soon(either, b"line-2")
    assert journal.lines == lines(3)


# -- without one --------------------------------------------------------------------------------


def test_what_cannot_wait_is_written_by_its_publisher(plain: Writer, journal: Ledger) -> None:
    """It is durable on return, with all that came before, and no other thread was needed."""
    plain.put(b"line-0")

    assert now(plain, b"line-1")

    assert journal.groups == [lines(2)]
    assert journal.committers == [name()]


def test_what_can_wait_is_written_soon(plain: Writer, journal: Ledger) -> None:
    """A thread in the background does it, without being asked again."""
    soon(plain, b"line-0")

    journal.wait_for(b"line-0")
    assert journal.committers == ["eventflow-journal"]


def test_publishers_share_a_commit(plain: Writer, journal: Ledger) -> None:
    """Those that come while one commits are written together by the next."""
    begun, go_on = held_up(journal)
    durable: list[bool] = []
    threads = [
        threading.Thread(target=lambda line=line: durable.append(now(plain, line)))
        for line in lines(9)
    ]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(plain._backlog.lines) < 9:
        pass
    go_on.set()
    for thread in threads:
        thread.join()

    assert durable == [True] * 9
    assert [len(group) for group in journal.groups] == [1, 8]


def test_who_is_in_the_journal_does_not_wait_for_what_comes_later(
    plain: Writer, journal: Ledger
) -> None:
    """One that goes on and on cannot keep those waiting whose lines are there."""
    begun, go_on = held_up(journal)
    over, served = threading.Event(), threading.Semaphore(0)

    def hold() -> None:
        # Not the commit that serves those who wait, but all after it.
        assert len(journal.groups) < 2 or over.wait(60)

    def go_on_and_on() -> None:
        now(plain, b"first")
        journal.hold = hold
        while not over.is_set():
            now(plain, b"more")

    def wait_once() -> None:
        now(plain, b"one")
        served.release()

    busy, *waiting = [threading.Thread(target=one) for one in (go_on_and_on, *[wait_once] * 8)]
    busy.start()
    assert begun.wait(60)
    for thread in waiting:
        thread.start()
    while len(plain._backlog.lines) < 9:
        pass
    go_on.set()
    try:
        assert all(served.acquire(timeout=60) for _ in waiting)
    finally:
        over.set()
        for thread in (busy, *waiting):
            thread.join()


def test_publishers_do_not_try_a_journal_that_just_failed(plain: Writer, journal: Ledger) -> None:
    """Those that waited behind the one that saw it fail go on at once."""
    begun, go_on = held_up(journal)
    journal.error = JournalError("locked for long")
    durable: list[bool] = []
    threads = [
        threading.Thread(target=lambda line=line: durable.append(now(plain, line)))
        for line in lines(5)
    ]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(plain._backlog.lines) < 5:
        pass
    # The background thread would try once more: that one is meant to.
    plain._closing = True
    go_on.set()
    for thread in threads:
        thread.join()

    assert durable == [False] * 5
    assert journal.tries == 1


def test_trouble_is_told_once_and_so_is_its_end(plain: Writer, journal: Ledger, told: Told) -> None:
    """Lines are kept in their order, and written by the thread when that works again."""
    journal.error = JournalError("disk full")

    assert not any(now(plain, line) for line in lines(5))
    assert not plain.wait()
    assert plain.down
    journal.error = None

    assert told.again.wait(60)
    assert [str(error) for error, _ in told.said] == ["disk full", "None"]
    assert journal.lines == lines(5)
    assert now(plain, b"line-5")


def test_memory_has_an_end(journal: Ledger, told: Told) -> None:
    """Beyond it the newest are lost, are counted, and the number is told."""
    writer = Writer(journal, told, capacity=18)
    journal.error = JournalError("gone")
    for line in lines(5):
        now(writer, line)
    journal.error = None

    assert told.again.wait(60)
    assert told.said[-1] == (None, 2)
    assert journal.lines == lines(3)
    writer.close()


def test_with_durability_off_nobody_waits(journal: Ledger, told: Told) -> None:
    """A publisher goes on at once; the background thread writes."""
    writer = Writer(journal, told, waits=False)

    assert not now(writer, b"line-0")

    journal.wait_for(b"line-0")
    assert journal.committers == ["eventflow-journal"]
    writer.close()


def test_within_a_hooks_transaction_lines_are_kept(told: Told) -> None:
    """They are not durable yet, nothing counts as trouble, and they are written afterwards."""
    journal = MemoryJournal()
    writer = Writer(journal, told)
    run, other = a_run(), a_run()
    delivery = a_delivery(run)
    journal.commit(entering(run, delivery))

    with journal.transaction(settled(delivery, DeliveryStatus.DELIVERED)):
        assert not now(writer, entered(other))
        assert not writer.down

    assert writer.flush()
    assert journal.run(other.id) == other
    writer.close()


# -- with and without ---------------------------------------------------------------------------


def test_a_line_that_cannot_be_stored_keeps_no_other_out(
    either: Writer, journal: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found among many, in few commits, and is the only one that is lost."""
    journal.bad = {b"line-300", b"line-301", b"line-777"}
    with either._committing:
        for line in lines(1000):
            either.put(line)

    assert not either.flush()

    assert set(lines(1000)) - set(journal.lines) == journal.bad
    assert journal.lines == [line for line in lines(1000) if line not in journal.bad]
    assert journal.tries < 120
    assert either.lost == 3
    assert "will not be" in caplog.text
    assert either.flush()


def test_a_stale_owner_is_told_so(either: Writer, journal: Ledger, told: Told) -> None:
    """What it had to say is refused for good; with a new fence it goes on."""
    either.fence = Fence("owner", 1)
    journal.error = StaleOwnerError("owner", 1)

    now(either, b"line-0")
    either.flush()

    assert told.trouble.wait(60)
    assert isinstance(told.said[0][0], StaleOwnerError)
    assert either.lost == 1
    journal.error = None
    either.fence = Fence("owner", 2)
    assert now(either, b"line-1")
    assert either.flush()
    assert journal.lines == [b"line-1"]
    assert journal.fences == [Fence("owner", 2)]


def test_a_commit_of_unknown_outcome_is_repeated(either: Writer, journal: Ledger) -> None:
    """Until the journal says that it was done."""
    journal.late = JournalError("connection lost")
    now(either, b"line-0")
    assert not either.flush()
    journal.late = None

    assert either.flush()
    assert journal.view == [b"line-0"]


def test_an_interrupt_within_a_commit_loses_nothing(either: Writer, journal: Ledger) -> None:
    """The lines are still there for the next commit, and the writer is usable."""

    def interrupt() -> None:
        journal.hold = lambda: None
        raise KeyboardInterrupt

    either.put(b"line-0")
    journal.hold = interrupt
    with pytest.raises(KeyboardInterrupt):
        either.flush()

    assert either.flush()
    assert journal.lines == [b"line-0"]


def test_publishing_from_within_a_commit_does_not_wait_for_itself(
    either: Writer, journal: Ledger
) -> None:
    """A finalizer may publish at any moment: its line is kept, and written later."""
    inner: list[bool] = []

    def finalizer() -> None:
        journal.hold = lambda: None
        now(either, b"line-1")
        inner.append(either.flush())

    either.put(b"line-0")
    journal.hold = finalizer
    assert either.flush()

    assert inner == [False]
    journal.wait_for(b"line-1")
    assert journal.lines == lines(2)


def test_a_listener_that_fails_does_not_end_the_thread(journal: Ledger) -> None:
    """Whoever is told of trouble may raise: the lines are written all the same."""

    def fail(error: JournalError | None, lost: int) -> None:
        raise ZeroDivisionError

    writer = Writer(journal, fail)
    journal.error = JournalError("gone")
    soon(writer, b"line-0")
    while journal.tries == 0:
        pass
    journal.error = None

    journal.wait_for(b"line-0")
    soon(writer, b"line-1")
    journal.wait_for(b"line-1")
    writer.close()


def test_closing_writes_what_is_left(either: Writer, journal: Ledger) -> None:
    """It may be repeated, and what comes afterwards is written at once."""
    soon(either, b"line-0")

    assert either.close()
    assert either.close()
    soon(either, b"line-1")

    assert journal.lines == lines(2)


def test_closing_says_if_something_is_left_behind(either: Writer, journal: Ledger) -> None:
    """A journal that is down at the end is tried once more, and no longer."""
    journal.error = JournalError("gone")
    soon(either, b"line-0")

    assert not either.close()


def test_many_threads_lose_nothing_and_keep_their_order(either: Writer, journal: Ledger) -> None:
    """Each one's lines come in its order, while others flush."""

    def put(number: int) -> None:
        for place in range(300):
            line = b"line-%d-%03d" % (number, place)
            if place % 50 == 7:
                assert now(either, line)
            else:
                soon(either, line)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert either.flush()
    for thread in threads:
        thread.join()

    assert either.flush()
    assert len(journal.lines) == 1800
    for number in range(6):
        own = [line for line in journal.lines if line.startswith(b"line-%d-" % number)]
        assert own == sorted(own)


@forking
def test_a_forked_child_leaves_the_parents_lines_to_it(tmp_path: Path, told: Told) -> None:
    """Each line is written once, and the child's own by its own thread, in a real journal."""
    url = f"sqlite:///{tmp_path}/journal.db"
    writer = Writer(open_journal(url), told)
    ours, theirs = a_run(), a_run()
    now(writer, entered(a_run()))
    writer.put(entered(ours))

    def child() -> bool:
        cursor = writer.journal.cursor()  # type: ignore[attr-defined]
        soon(writer, entered(theirs))
        journal = open_journal(url)
        return journal.wait(cursor, 60) and journal.run(ours.id) is None

    assert in_a_fork(child)
    assert writer.flush()
    journal = open_journal(url)
    assert journal.run(ours.id) == ours
    assert journal.run(theirs.id) == theirs
    journal.close()
    writer.close()


def test_large_lines_are_not_held_in_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group has an end in bytes too, but always a line."""
    monkeypatch.setattr("eventflow.journal.backlog.GROUP_BYTES", 10)
    backlog = Backlog(1000)
    for line in (b"four", b"four", b"four", b"far too long for it"):
        assert backlog.put(line)

    found = []
    while group := backlog.peek():
        found.append(len(group))
        backlog.advance()

    assert found == [2, 1, 1]


# -- anything in any order ----------------------------------------------------------------------


class Threadless(Writer):
    """A writer whose lines are committed when a test says so."""

    def _start(self) -> bool:
        return True


class Troubles(RuleBasedStateMachine):
    """Puts lines while spool and journal fail and recover, and the folder comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "owner"
        self.folder.mkdir()
        self.disk = Disk()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "write", self.disk.write)
        self.patch.setattr(writer_module, "say", lambda what: None)
        self.journal = Ledger()
        self.put: list[bytes] = []
        self.rank: dict[bytes, int] = {}
        self.durable: set[bytes] = set()
        self.told: list[JournalError | None] = []
        # What is in a deleted file is safe only while this process lives.
        self.deleted = False

    @initialize(limit=st.sampled_from([30, 100, 2**30]), segment=st.sampled_from([1, 40, 10**6]))
    def begin(self, limit: int, segment: int) -> None:
        spool = Spool(self.folder, limit=limit, segment_bytes=segment)
        self.writer = Threadless(
            self.journal, lambda error, lost: self.told.append(error), spool=spool
        )

    def _next(self) -> bytes:
        line = b"line-%04d" % len(self.put)
        self.rank[line] = len(self.put)
        self.put.append(line)
        return line

    @rule(count=st.integers(1, 5))
    def soon(self, count: int) -> None:
        for _ in range(count):
            soon(self.writer, self._next())

    @rule()
    def now(self) -> None:
        line = self._next()
        if now(self.writer, line):
            self.durable.add(line)

    @rule()
    def bad(self) -> None:
        self.journal.bad.add(self._next())
        soon(self.writer, self.put[-1])

    @rule()
    def interrupted(self) -> None:
        fault, self.disk.fault = self.disk.fault, "interrupted"
        with suppress(KeyboardInterrupt):
            soon(self.writer, self._next())
        self.disk.fault = fault

    @rule()
    def handler_within(self) -> None:
        def handler() -> None:
            self.disk.on_write = lambda: None
            self.now()
            self.writer.flush()

        self.disk.on_write = handler
        last = len(self.put)
        line = b"line-%04d-late" % last
        soon(self.writer, line)
        self.disk.on_write = lambda: None
        # Neither of the two came first.
        self.rank[line] = last
        self.put.append(line)

    @rule()
    def drain(self) -> None:
        lost = self.writer.lost
        done = self.writer.flush()
        if self.journal.error is None and self.journal.late is None:
            assert done is (self.writer.lost == lost)
            self._all_there()
            self.deleted = False

    @rule(fault=st.sampled_from(["", "full", "short"]))
    def spool_trouble(self, fault: str) -> None:
        self.disk.fault = fault

    @rule(when=st.sampled_from(["", "before", "after"]))
    def journal_trouble(self, when: str) -> None:
        self.journal.error = JournalError("down") if when == "before" else None
        self.journal.late = JournalError("unsure") if when == "after" else None

    @rule()
    def folder_goes(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.deleted = True

    @rule()
    def folder_comes(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def _all_there(self) -> None:
        assert {*self.journal.view} == {*self.put} - self.journal.bad

    @invariant()
    def what_is_durable_is_on_disk(self) -> None:
        on_disk = left(self.folder) if self.folder.exists() else []
        both = list(dict.fromkeys(self.journal.view + on_disk))
        # A reader of the spool would commit it again behind what is there: in order all the same.
        assert self.deleted or self.durable <= {*both}
        ranks = [self.rank[line] for line in both if line not in self.journal.bad]
        assert ranks == sorted(ranks)

    @invariant()
    def trouble_and_its_end_take_turns(self) -> None:
        kinds = [error is None for error in self.told]
        assert kinds == [place % 2 == 1 for place in range(len(kinds))]

    def teardown(self) -> None:
        try:
            self.disk.fault = ""
            self.journal.error = self.journal.late = None
            self.folder.mkdir(exist_ok=True)
            if hasattr(self, "writer"):
                self.writer.close()
                self._all_there()
                assert self.writer.lost == len(self.journal.bad)
                assert list(self.folder.iterdir()) == []
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder.parent)


TestTroubles = Troubles.TestCase
TestTroubles.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
