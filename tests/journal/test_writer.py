"""When the rows of a writer are written, by whom, and what becomes of them in trouble."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.journal.base import Batch, StaleOwnerError
from eventflow.journal.memory import MemoryJournal
from eventflow.journal.rows import DeliveryStatus, RunRow
from eventflow.journal.writer import Change, Writer
from tests.journal.rows import a_delivery, a_run, an_event, an_owner, entering, settled


class Faulty(MemoryJournal):
    """A journal that can be made to fail, and that can be held up in the middle of a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.error: JournalError | None = None
        self.groups: list[int] = []
        self.committers: list[str] = []
        self.hold: Callable[[], None] = lambda: None

    def commit(self, batch: Batch) -> None:
        self.hold()
        if self.error is not None:
            raise self.error
        super().commit(batch)
        self.groups.append(len(batch.events))
        self.committers.append(threading.current_thread().name)


class Told:
    """Keeps what a writer tells of, and lets a test wait for it."""

    def __init__(self) -> None:
        self.said: list[tuple[JournalError | None, int]] = []
        self.again = threading.Event()

    def __call__(self, error: JournalError | None, lost: int) -> None:
        self.said.append((error, lost))
        if error is None:
            self.again.set()


@pytest.fixture
def journal() -> Faulty:
    return Faulty()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def writer(journal: Faulty, told: Told) -> Iterator[Writer]:
    one = Writer(journal, told)
    yield one
    journal.error = None
    journal.hold = lambda: None
    one.close()


def entered(run: RunRow) -> Change:
    def change(batch: Batch) -> None:
        batch.runs[run.id] = run
        batch.events.append(an_event(run))

    return change


def broken(batch: Batch) -> None:
    raise ZeroDivisionError


def test_what_cannot_wait_is_written_by_its_publisher(writer: Writer, journal: Faulty) -> None:
    """It is durable on return, with all that came before, and no other thread was needed."""
    before, run = a_run(), a_run()
    writer._take(entered(before))

    assert writer.now(entered(run))

    assert journal.run(run.id) == run
    assert journal.groups == [2]
    assert journal.committers == [threading.current_thread().name]


def test_what_can_wait_is_written_soon(writer: Writer, journal: Faulty) -> None:
    """A thread in the background does it, without being asked again."""
    run = a_run()
    cursor = journal.cursor()

    writer.soon(entered(run))

    assert journal.wait(cursor, 60)
    assert journal.committers == ["eventflow-journal"]


def test_publishers_share_a_commit(writer: Writer, journal: Faulty) -> None:
    """Those that come while one commits are written together by the next."""
    first, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        journal.hold = lambda: None
        first.set()
        assert go_on.wait(60)

    journal.hold = hold
    durable: list[bool] = []
    threads = [
        threading.Thread(target=lambda: durable.append(writer.now(entered(a_run()))))
        for _ in range(9)
    ]
    threads[0].start()
    assert first.wait(60)
    for thread in threads[1:]:
        thread.start()
    while len(writer._changes) < 8:
        pass
    go_on.set()
    for thread in threads:
        thread.join()

    assert durable == [True] * 9
    assert journal.groups == [1, 8]


def test_trouble_is_told_once_and_so_is_its_end(
    writer: Writer, journal: Faulty, told: Told
) -> None:
    """Rows are kept in their order, and written by the background thread when that works again."""
    journal.error = JournalError("disk full")
    runs = [a_run() for _ in range(5)]

    assert not any(writer.now(entered(run)) for run in runs)
    assert writer.down
    journal.error = None

    assert told.again.wait(60)
    assert [str(error) for error, _ in told.said] == ["disk full", "None"]
    assert [one.run_id for one in journal.events_after((0, 0), 9)[0]] == [run.id for run in runs]
    assert writer.now(entered(a_run()))


def test_the_buffer_has_an_end(journal: Faulty, told: Told) -> None:
    """Beyond it the newest are lost, are counted, and the number is told."""
    writer = Writer(journal, told, capacity=3)
    journal.error = JournalError("gone")
    for _ in range(5):
        writer.now(entered(a_run()))
    journal.error = None

    assert told.again.wait(60)
    assert told.said[-1] == (None, 2)
    assert journal.statistics().runs == 3
    writer.close()


def test_a_change_that_cannot_be_made_stops_no_other(
    writer: Writer, journal: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither one that raises nor one whose row cannot be stored keeps others out."""
    good, also_good = a_run(), a_run()
    writer._take(entered(good))
    writer._take(broken)
    writer._take(entered(a_run(name=None)))

    assert writer.now(entered(also_good))

    assert journal.statistics().runs == 2
    assert "ZeroDivisionError" in caplog.text
    assert "cannot be stored" in caplog.text


def test_a_stale_owner_is_told_so(writer: Writer, journal: Faulty, told: Told) -> None:
    """What it had to say is refused for good; with a new fence it goes on."""
    writer.fence = journal.register(an_owner())
    journal.end("owner", "taken for dead")

    writer.now(entered(a_run()))

    assert isinstance(told.said[0][0], StaleOwnerError)
    assert writer.lost == 1
    writer.fence = journal.register(an_owner())
    run = a_run()
    assert writer.now(entered(run))
    assert journal.run(run.id) == run


def test_an_interrupt_within_a_commit_loses_nothing(writer: Writer, journal: Faulty) -> None:
    """The rows are still there for the next commit, and the writer is usable."""
    run = a_run()

    def interrupt() -> None:
        journal.hold = lambda: None
        raise KeyboardInterrupt

    journal.hold = interrupt
    with pytest.raises(KeyboardInterrupt):
        writer.now(entered(run))

    assert writer.flush()
    assert journal.run(run.id) == run


def test_publishing_from_within_a_commit_does_not_wait_for_itself(
    writer: Writer, journal: Faulty
) -> None:
    """A finalizer may publish at any moment: its row is kept, and written later."""
    late = a_run()
    inner: list[bool] = []

    def finalizer() -> None:
        journal.hold = lambda: None
        inner.append(writer.now(entered(late)))

    journal.hold = finalizer
    cursor = journal.cursor()
    assert writer.now(entered(a_run()))

    assert inner == [False]
    writer.flush()
    assert len(journal.events_after(cursor, 9)[0]) == 2


def test_within_a_hooks_transaction_rows_are_kept(writer: Writer, journal: Faulty) -> None:
    """They are not durable yet, nothing counts as trouble, and they are written afterwards."""
    run, other = a_run(), a_run()
    delivery = a_delivery(run)
    MemoryJournal.commit(journal, entering(run, delivery))

    with journal.transaction(settled(delivery, DeliveryStatus.DELIVERED)):
        assert not writer.now(entered(other))
        assert not writer.down

    assert writer.flush()
    assert journal.run(other.id) == other


def test_with_durability_off_nobody_waits(journal: Faulty, told: Told) -> None:
    """A publisher goes on at once; the background thread writes."""
    writer = Writer(journal, told, waits=False)
    cursor = journal.cursor()

    assert not writer.now(entered(a_run()))

    assert journal.wait(cursor, 60)
    assert journal.committers == ["eventflow-journal"]
    writer.close()


def test_closing_writes_what_is_left(writer: Writer, journal: Faulty) -> None:
    """It may be repeated, and what comes afterwards is written at once."""
    run, after = a_run(), a_run()
    writer.soon(entered(run))

    assert writer.close()
    assert writer.close()
    writer.soon(entered(after))

    assert journal.run(run.id) == run
    assert journal.run(after.id) == after


def test_closing_says_if_something_is_left_behind(writer: Writer, journal: Faulty) -> None:
    """A journal that is down at the end is tried once more, and no longer."""
    journal.error = JournalError("gone")
    writer.soon(entered(a_run()))

    assert not writer.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_parents_rows_to_it(tmp_path: Path, told: Told) -> None:
    """Each row is written once, and the child's own are written by its own thread."""
    url = f"sqlite:///{tmp_path}/journal.db"
    writer = Writer(open_journal(url), told)
    ours, theirs = a_run(), a_run()
    writer.now(entered(a_run()))
    writer._take(entered(ours))

    child = os.fork()
    if child == 0:
        cursor = writer.journal.cursor()
        writer.soon(entered(theirs))
        woken = writer.journal.wait(cursor, 60)
        os._exit(0 if woken and writer.journal.run(ours.id) is None else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert writer.flush()
    assert writer.journal.run(ours.id) == ours
    assert writer.journal.run(theirs.id) == theirs
    writer.close()
