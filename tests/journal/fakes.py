"""Stand-ins for what the writer and the recorder use: a journal, a disk, a sink."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

import pytest

from eventflow.errors import JournalError
from eventflow.journal.contract import Group, UnstorableError
from eventflow.journal.records import BEGUN, Acknowledged, RunRecord, content_of, scan
from tests.journal.writing import numbers_in

__all__ = ["FakeStore", "FaultyDisk", "StatusLog", "hold_up"]


class FakeStore:
    """Keeps the committed records; `error` is raised instead of a commit, `late_error` after it.

    `attempts` and `committers` are the names of the threads that tried, and that committed.
    `surprises` counts the groups with another number of runs than was said.
    """

    def __init__(self) -> None:
        self.in_hurry = False
        self.received: list[Group] = []
        self.committers: list[str] = []
        self.error: Exception | None = None
        self.late_error: JournalError | None = None
        self.unstorable: set[int] = set()
        self.on_commit: Callable[[], None] = lambda: None
        self.attempts: list[str] = []
        self.surprises = 0
        self._committed = threading.Condition()

    def commit(self, group: Group) -> None:
        self.attempts.append(threading.current_thread().name)
        self.on_commit()
        if self.error is not None:
            raise self.error
        found = [record.kind for record in scan(group.data)]
        if group.runs != found.count("R"):
            self.surprises += 1
        elif "R" in found:
            others = [kind for kind in found if kind not in {"R", BEGUN}]
            assert [kind for kind, _ in group.others] == others
        if self.unstorable.intersection(numbers_in(group.data)):
            raise UnstorableError("no")
        with self._committed:
            self.received.append(group)
            self.committers.append(threading.current_thread().name)
            self._committed.notify_all()
        if self.late_error is not None:
            raise self.late_error

    def in_transaction(self) -> bool:
        return False

    def close(self) -> None:
        pass

    @property
    def groups(self) -> list[list[int]]:
        """The numbers of the records of each group, as they are read from what it consists of."""
        groups = []
        for group in self.received:
            known = {content for kind, content in group.others if kind == "E"}
            known |= {
                numbers_in(group.data[start:end])[0]
                for kind, start, end in scan(group.data)
                if kind == "R"
            }
            groups.append([number for number in numbers_in(group.data) if number in known])

        return groups

    @property
    def numbers(self) -> list[int]:
        """What a journal would hold: to commit a record again changes nothing."""
        return list(dict.fromkeys(number for group in self.groups for number in group))

    @property
    def done(self) -> dict[int, int]:
        """How many hooks of each run are done, by all that was committed."""
        done: dict[int, int] = {}
        for group in self.received:
            for record in scan(group.data):
                if record.kind == "R":
                    run = RunRecord.read(group.data, record.start, record.end)
                    done[run.run] = max(done.get(run.run, 0), run.done)
                elif record.kind == "A":
                    late = Acknowledged(*content_of(group.data, record))
                    number = int(late.run, 16)
                    done[number] = max(done.get(number, 0), late.done)

        return done

    def wait_for(self, *numbers: int) -> None:
        with self._committed:
            assert self._committed.wait_for(lambda: {*numbers} <= {*self.numbers}, 60)

    def recover(self) -> None:
        """Let everything be committed from now on."""
        self.error = self.late_error = None
        self.on_commit = lambda: None


def hold_up(store: FakeStore) -> tuple[threading.Event, threading.Event]:
    """Have the next commit set the first event, and wait for the second."""
    begun, release = threading.Event(), threading.Event()

    def wait() -> None:
        store.on_commit = lambda: None
        begun.set()
        assert release.wait(60)

    store.on_commit = wait

    return begun, release


class StatusLog:
    """Keeps what a writer reports, and lets a test wait for it."""

    def __init__(self) -> None:
        self.calls: list[tuple[JournalError | None, int]] = []
        self.failed = threading.Event()
        self.recovered = threading.Event()

    def __call__(self, error: JournalError | None, lost: int) -> None:
        self.calls.append((error, lost))
        (self.recovered if error is None else self.failed).set()


class FaultyDisk:
    """Refuses all new space as long as it is `full`; `on_take` is called when a file is made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.on_take: Callable[[], None] = lambda: None
        self._reserve, self._write = os.posix_fallocate, os.pwrite
        patch.setattr(os, "posix_fallocate", self._posix_fallocate)
        patch.setattr(os, "pwrite", self._pwrite)

    def _posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        self.on_take()
        self._check()
        self._reserve(fd, offset, length)

    def _pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._check()
        return self._write(fd, data, offset)

    def _check(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
