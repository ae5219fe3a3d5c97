"""Stand-ins for what the writer and the recorder use: a journal, a disk, a sink."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from eventflow.errors import JournalError
from eventflow.hooks.declaration import Hook
from eventflow.hooks.sets import Guard
from eventflow.journal.contract import Fence, UnstorableError
from eventflow.journal.stores.memory import MemoryJournal

__all__ = ["FakeSink", "FakeStore", "FaultyDisk", "StatusLog", "hold_up"]


class FakeStore:
    """Keeps the committed lines; `error` is raised instead of a commit, `late_error` after it.

    `attempts` and `committers` are the names of the threads that tried, and that committed.
    """

    def __init__(self) -> None:
        self.in_hurry = False
        self.groups: list[list[bytes]] = []
        self.committers: list[str] = []
        self.fences: list[Fence | None] = []
        self.error: Exception | None = None
        self.late_error: JournalError | None = None
        self.unstorable: set[bytes] = set()
        self.on_commit: Callable[[], None] = lambda: None
        self.attempts: list[str] = []
        self._committed = threading.Condition()

    def commit_lines(self, lines: Sequence[bytes], fence: Fence | None = None) -> None:
        self.attempts.append(threading.current_thread().name)
        self.on_commit()
        if self.error is not None:
            raise self.error
        if self.unstorable.intersection(lines):
            raise UnstorableError("no")
        with self._committed:
            self.groups.append(list(lines))
            self.committers.append(threading.current_thread().name)
            self.fences.append(fence)
            self._committed.notify_all()
        if self.late_error is not None:
            raise self.late_error

    def in_transaction(self) -> bool:
        return False

    def close(self) -> None:
        pass

    @property
    def lines(self) -> list[bytes]:
        return [line for group in self.groups for line in group]

    @property
    def distinct_lines(self) -> list[bytes]:
        """What a journal would hold: to commit a line again changes nothing."""
        return list(dict.fromkeys(self.lines))

    def wait_for(self, *lines: bytes) -> None:
        with self._committed:
            assert self._committed.wait_for(lambda: set(lines) <= set(self.lines), 60)

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
    """Replaces `os.write`; `fault` says what happens to the next lines."""

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


class FakeSink:
    """Keeps lines, and notes every call; unless a test changes `waits`, lines are waited for."""

    waits = True
    begun = True
    owner = "owner"
    loop_thread: threading.Thread | None = None

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.calls: list[str] = []
        self.lines: list[bytes] = []
        self.handed_over: dict[str, str] = {}
        self.guarding: Guard | None = self
        self.lock: AbstractContextManager[object] = threading.RLock()

    def begin(self) -> None:
        """Do nothing: it has begun."""

    def append(self, line: bytes) -> None:
        self.lines.append(line)
        self.calls.append("settlement" if b"settlements" in line else "line")

    def notify(self) -> None:
        self.calls.append("notify")

    def register(self, recorder: Any) -> None:
        """Do nothing: it never commits."""

    def wait(self) -> bool:
        self.calls.append("wait")
        assert threading.current_thread() is not self.loop_thread
        return True

    def flush(self) -> bool:
        return True

    def fence(self) -> Fence:
        return Fence("owner", 1)

    def guard(self) -> None:
        self.calls.append("guard")

    def hand_over(self, key: str, hook: Hook, reason: str) -> None:
        self.handed_over[key] = hook.id
        assert reason

    def let_go(self, key: str) -> None:
        self.handed_over.pop(key)
