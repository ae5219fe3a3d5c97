"""Spool and journal fail and recover in any order, and no line is lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventflow.errors import JournalError
from eventflow.journal.spool import RESERVE, Spool
from eventflow.journal.writer import Writer
from tests.journal.fakes import FakeStore, FaultyDisk
from tests.journal.writing import append, append_and_wait, read_spool


class Threadless(Writer):
    """A writer whose lines are committed when a test says so."""

    def _start_thread(self) -> bool:
        return True


class Faults(RuleBasedStateMachine):
    """Appends lines while spool and journal fail and recover, and the folder is deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "owner"
        self.folder.mkdir()
        self.disk = FaultyDisk()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "write", self.disk.write)
        self.store = FakeStore()
        self.appended: list[bytes] = []
        self.rank: dict[bytes, int] = {}
        self.durable: set[bytes] = set()
        self.reports: list[JournalError | None] = []
        # The lines of a deleted file are lost with this process.
        self.deleted = False

    @initialize(
        limit=st.sampled_from([30, 100, 2**30]),
        segment=st.sampled_from([1, 40, 10**6]),
        reserve=st.sampled_from([None, 25, 2**18]),
    )
    def begin(self, limit: int, segment: int, reserve: int | None) -> None:
        spool = Spool(self.folder, limit=limit, segment_bytes=segment)
        if reserve is not None:
            self.patch.setattr("eventflow.journal.spool.RESERVE_BYTES", reserve)
            spool.reserve()
        self.writer = Threadless(
            self.store, lambda error, lost: self.reports.append(error), spool=spool
        )

    def _next(self) -> bytes:
        line = b"line-%04d" % len(self.appended)
        self.rank[line] = len(self.appended)
        self.appended.append(line)
        return line

    @rule(count=st.integers(1, 5))
    def append_some(self, count: int) -> None:
        for _ in range(count):
            append(self.writer, self._next())

    @rule()
    def append_durably(self) -> None:
        line = self._next()
        if append_and_wait(self.writer, line):
            self.durable.add(line)

    @rule()
    def append_unstorable(self) -> None:
        self.store.unstorable.add(self._next())
        append(self.writer, self.appended[-1])

    @rule()
    def append_interrupted(self) -> None:
        fault, self.disk.fault = self.disk.fault, "interrupted"
        with suppress(KeyboardInterrupt):
            append(self.writer, self._next())
        self.disk.fault = fault

    @rule()
    def append_from_handler(self) -> None:
        def handler() -> None:
            self.disk.on_write = lambda: None
            self.append_durably()
            self.writer.flush()

        self.disk.on_write = handler
        last = len(self.appended)
        line = b"line-%04d-late" % last
        append(self.writer, line)
        self.disk.on_write = lambda: None
        # Neither of the two is before the other.
        self.rank[line] = last
        self.appended.append(line)

    @rule()
    def flush(self) -> None:
        lost = self.writer.lost
        done = self.writer.flush()
        if self.store.error is None and self.store.late_error is None:
            assert done is (self.writer.lost == lost)
            self._assert_all_committed()
            self.deleted = False

    @rule(fault=st.sampled_from(["", "full", "short"]))
    def fail_spool(self, fault: str) -> None:
        self.disk.fault = fault

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
        assert {*self.store.distinct_lines} == {*self.appended} - self.store.unstorable

    @invariant()
    def what_is_durable_is_on_disk(self) -> None:
        on_disk = read_spool(self.folder) if self.folder.exists() else []
        both = list(dict.fromkeys(self.store.distinct_lines + on_disk))
        # A recovery commits the spool after the committed lines: the order is the same.
        assert self.deleted or self.durable <= {*both}
        ranks = [self.rank[line] for line in both if line not in self.store.unstorable]
        assert ranks == sorted(ranks)

    @invariant()
    def failure_and_recovery_alternate(self) -> None:
        kinds = [error is None for error in self.reports]
        assert kinds == [place % 2 == 1 for place in range(len(kinds))]

    def teardown(self) -> None:
        try:
            self.disk.fault = ""
            self.store.error = self.store.late_error = None
            self.folder.mkdir(exist_ok=True)
            if hasattr(self, "writer"):
                self.writer.close()
                self._assert_all_committed()
                assert self.writer.lost == len(self.store.unstorable)
                assert {path.name for path in self.folder.iterdir()} <= {RESERVE}
        finally:
            self.patch.undo()
            shutil.rmtree(self.folder.parent)


TestFaults = Faults.TestCase
TestFaults.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
