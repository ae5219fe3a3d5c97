"""Notes in segments: the record of the run takes their place, if nothing has followed them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from eventflow.journal.records import BEGUN, scan
from eventflow.journal.wal.appender import Appender, Note
from eventflow.journal.wal.beginnings import pack_begun
from eventflow.journal.wal.segments import HEAD
from eventflow.journal.wal.spool import Spool, peek_segments
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import FakeStore, StatusLog
from tests.journal.wal.interrupts import interrupted
from tests.journal.writing import numbers_in, record

RUN, HANDLERS, LAST = 900, 901, 903


class Threadless(Writer):
    """A writer whose records are committed when a test says so."""

    def _start_thread(self) -> bool:
        return True


@pytest.fixture
def make(store: FakeStore, status_log: StatusLog, tmp_path: Path) -> Callable[[], Threadless]:
    """Return what makes writers with a record, each with a folder of its own."""
    numbers = count()

    def new() -> Threadless:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        store.received.clear()
        made = Threadless(store, status_log, spool=Spool(folder, segment_bytes=4096))
        made.append(record(0))
        return made

    return new


def note(writer: Writer, run: int = RUN) -> Note:
    """Note that a run has begun."""
    made = writer.note(beginning(run), told(writer))
    assert made is not None

    return made


def beginning(run: int) -> bytes:
    return pack_begun(run, 0, 1, 10**15, 10**15 + 1, b"[[{}]]")


def append_over(writer: Writer, made: Note) -> None:
    writer.append(record(RUN), over=made)


def told(writer: Writer) -> set[object]:
    assert writer.segment is not None

    return writer.segment.told


def kinds(writer: Writer) -> str:
    """Return the kinds of the records in the present segment, the whole file of it."""
    assert writer.segment is not None

    return "".join(each.kind for each in scan(bytes(writer.segment.data), HEAD))


def others_see(writer: Writer) -> list[int]:
    """Return the runs of which others know by what is not committed."""
    assert writer.spool is not None

    return [
        number for each in peek_segments(writer.spool.folder) for number in numbers_in(each.data)
    ]


def test_the_record_of_a_run_takes_the_place_of_its_note(
    make: Callable[[], Threadless], store: FakeStore
) -> None:
    """Others know of the run before and after; no commit has the note."""
    writer = make()
    made = note(writer)
    assert others_see(writer) == [0, RUN]

    segment, offset = writer.append(record(RUN), over=made)
    assert (segment, offset) == made[:2]
    assert others_see(writer) == [0, RUN]
    assert kinds(writer) == "RR"
    assert writer.flush()
    assert store.numbers == [0, RUN]
    assert (store.surprises, writer.kept) == (0, 0)


def test_a_note_that_something_follows_stays(
    make: Callable[[], Threadless], store: FakeStore
) -> None:
    """A commit skips it, and others take the record for the run."""
    writer = make()
    made = note(writer)
    writer.append(record(1))
    writer.append(record(RUN), over=made)

    assert kinds(writer) == f"R{BEGUN}RR"
    assert others_see(writer) == [0, 1, RUN]
    assert writer.flush()
    assert store.numbers == [0, 1, RUN]
    assert store.surprises == 0


def test_a_note_that_a_commit_has_taken_stays(
    make: Callable[[], Threadless], store: FakeStore
) -> None:
    """Whether the commit succeeds or not, and if the record comes in the middle of it."""
    for error in (None, OSError("later")):
        writer = make()
        made = note(writer)
        store.on_commit = lambda: append_over(writer, made)  # noqa: B023 - called in this turn
        store.error = error
        writer.flush()
        store.on_commit, store.error = lambda: None, None
        assert kinds(writer) == f"R{BEGUN}R"
        assert writer.flush()
        assert store.numbers == [0, RUN]
        assert others_see(writer) == []
        writer.close()


def test_the_last_note_of_a_segment(make: Callable[[], Threadless], store: FakeStore) -> None:
    """If the record has no room there it is appended to the next one, and the note stays."""
    writer = make()
    assert writer.segment is not None
    first, size = writer.segment, len(beginning(RUN))
    while first.end + 2 * size < len(first.data):
        writer.append(record(1))
    made = note(writer)
    assert writer.note(beginning(RUN), told(writer)) is None, "it has no room either"

    segment, _ = writer.append(record(RUN), over=made)
    assert segment is not first
    # The note in one file, the record in the other.
    assert others_see(writer)[-2:] == [RUN, RUN]
    assert writer.flush()
    assert store.numbers.count(RUN) == 1
    assert store.surprises == 0


def test_where_nothing_is_noted(
    make: Callable[[], Threadless], store: FakeStore, status_log: StatusLog, no_mapping: None
) -> None:
    """Where a file is written and not mapped, and where the segment tells nothing of the run."""
    writer = make()
    assert writer.note(beginning(RUN), told(writer)) is None
    assert writer.note(beginning(RUN), set()) is None
    assert Threadless(store, status_log).note(beginning(RUN), None) is None
    assert kinds(writer) == "R"


@pytest.mark.parametrize("function", [Appender.note, Appender.append, Appender._uncover])
def test_what_interrupts_a_note_or_its_record_appends_too(
    make: Callable[[], Threadless], store: FakeStore, function: Callable[..., object]
) -> None:
    """At whichever instruction: all records are whole, each there once."""
    for place in count():
        writer = make()
        with interrupted(function, place, partial(writer.append, record(HANDLERS))) as inside:
            made = writer.note(beginning(RUN), told(writer))
            writer.append(record(RUN), over=made)
        if not inside.happened:
            break
        writer.append(record(LAST))
        assert sorted(set(others_see(writer))) == [0, RUN, HANDLERS, LAST]
        assert writer.flush()
        numbers = [number for group in store.groups for number in group]
        assert sorted(numbers) == [0, RUN, HANDLERS, LAST]
        writer.close()
    assert place > 20


@pytest.mark.parametrize("function", [Appender.note, Appender.append])
def test_an_interrupt_that_raises_leaves_nothing_behind(
    make: Callable[[], Threadless], store: FakeStore, function: Callable[..., object]
) -> None:
    """What comes after it is appended as ever, and a file that is used again holds no note."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    for place in count():
        writer = make()
        made = None
        with interrupted(function, place, interrupt, after_calls=True) as inside:
            try:
                made = writer.note(beginning(RUN), told(writer))
                writer.append(record(RUN), over=made)
            except KeyboardInterrupt:
                writer.append(record(RUN), over=made)
        if not inside.happened:
            break
        assert writer.note(beginning(LAST), told(writer)) is not None
        assert writer.flush()
        assert set(store.numbers) == {0, RUN}
        assert writer.segment is not None
        data = bytes(writer.segment.data)
        assert all(each.end <= writer.segment.end for each in scan(data, HEAD))
        writer.close()
    assert place > 2
