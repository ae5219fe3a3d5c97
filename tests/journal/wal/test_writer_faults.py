"""Disk, folder and journal fail and recover in any order, and nothing is lost."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eventflow.errors import JournalError
from eventflow.journal.wal import segments as segments_module
from eventflow.journal.wal import spool as spool_module
from eventflow.journal.wal.appender import Appender
from eventflow.journal.wal.segments import Segment
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import FakeStore, FaultyDisk
from tests.journal.wal.interrupts import interrupted
from tests.journal.writing import append, append_and_wait, late, on_disk, owing


class Threadless(Writer):
    """A writer whose records are committed when a test says so."""

    def _start_thread(self) -> bool:
        return True


class Faults(RuleBasedStateMachine):
    """Appends and acknowledges while disk and journal fail and recover."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "owner"
        self.folder.mkdir()
        self.patch = pytest.MonkeyPatch()
        self.disk = FaultyDisk(self.patch)
        self.store = FakeStore()
        self.appended: list[int] = []
        self.durable: set[int] = set()
        self.places: dict[int, tuple[Segment, int]] = {}
        self.done: dict[int, int] = {}
        self.reports: list[JournalError | None] = []
        self.deleted = False

    @initialize(
        limit=st.sampled_from([1500, 5000, 2**30]),
        segment=st.sampled_from([400, 1024, 10**5]),
        mapped=st.booleans(),
        seconds=st.sampled_from([0.0, 1000.0]),
    )
    def begin(self, limit: int, segment: int, mapped: bool, seconds: float) -> None:
        self.patch.setattr(segments_module, "OPEN_SECONDS", seconds)
        if not mapped:
            self.patch.setattr(spool_module, "MAPPABLE", frozenset())
        self.writer = Threadless(
            self.store,
            lambda error, lost: self.reports.append(error),
            spool=Spool(self.folder, limit=limit, segment_bytes=segment),
        )

    def _next(self) -> int:
        self.appended.append(len(self.appended))
        return self.appended[-1]

    @rule(count=st.integers(1, 5))
    def append_some(self, count: int) -> None:
        for _ in range(count):
            append(self.writer, self._next())

    @rule()
    def append_durably(self) -> None:
        number = self._next()
        if append_and_wait(self.writer, number):
            self.durable.add(number)

    @rule()
    def append_owing(self) -> None:
        number = self._next()
        self.places[number] = self.writer.append(owing(number, 3), owed=True)
        self.done[number] = 0

    def _acknowledge(self, number: int) -> None:
        self.done[number] += 1
        done = self.done[number]
        if not self.writer.acknowledge(*self.places[number], done, done, 10**15 + done):
            self.writer.append(late(number, 3, done))
        if done == 3:
            del self.places[number]

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        self._acknowledge(data.draw(st.sampled_from(sorted(self.places))))

    @precondition(lambda self: self.places)
    @rule(data=st.data(), place=st.integers(0, 40), function=st.sampled_from(["take", "advance"]))
    def acknowledge_during_a_commit(self, data: st.DataObject, place: int, function: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.places)))
        with interrupted(getattr(Segment, function), place, lambda: self._acknowledge(number)):
            self.writer.flush()

    @rule(place=st.integers(0, 70))
    def append_from_a_handler(self, place: int) -> None:
        ours = self._next()
        with interrupted(Appender.append, place, lambda: append(self.writer, self._next())):
            append(self.writer, ours)

    @rule()
    def append_unstorable(self) -> None:
        self.store.unstorable.add(self._next())
        append(self.writer, self.appended[-1])

    @rule()
    def tick(self) -> None:
        self.writer._flush(retry=True, everything=False)

    @rule()
    def flush(self) -> None:
        lost = self.writer.lost
        done = self.writer.flush()
        if self.store.error is None and self.store.late_error is None:
            assert done is (self.writer.lost == lost)
            self._assert_all_committed()
            self.deleted = False

    @rule(full=st.booleans())
    def fill_or_free_the_disk(self, full: bool) -> None:
        self.disk.full = full

    @rule(when=st.sampled_from(["", "before", "after"]))
    def fail_journal(self, when: str) -> None:
        self.store.error = JournalError("down") if when == "before" else None
        self.store.late_error = JournalError("unsure") if when == "after" else None

    @rule()
    def delete_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.deleted = True

    @rule()
    def create_folder(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def _assert_all_committed(self) -> None:
        assert {*self.store.numbers} == {*self.appended} - self.store.unstorable
        known = self.store.done
        assert {number: known[number] for number in self.done} == self.done

    @invariant()
    def what_is_durable_is_in_files_or_committed(self) -> None:
        found = on_disk(self.folder) if self.folder.exists() else []
        assert self.deleted or self.durable <= {*self.store.numbers, *found}

    @invariant()
    def failure_and_recovery_alternate(self) -> None:
        kinds = [error is None for error in self.reports]
        assert kinds == [place % 2 == 1 for place in range(len(kinds))]

    def teardown(self) -> None:
        try:
            self.disk.full = False
            self.store.recover()
            self.folder.mkdir(exist_ok=True)
            if hasattr(self, "writer"):
                self.writer.close()
                self._assert_all_committed()
                assert self.writer.lost == len(self.store.unstorable)
                assert list(self.folder.iterdir()) == []
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder.parent)


TestFaults = Faults.TestCase
TestFaults.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
