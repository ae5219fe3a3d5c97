"""A full disk fails no run, and everything is journalled once there is room again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from eventflow.errors import JournalError
from eventflow.events import JournalFailed, JournalRecovered
from eventflow.journal.wal import spool
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from eventflow.testing import isolated
from tests.journal.fakes import FakeStore
from tests.journal.writing import on_disk, record
from tests.outages.workload import Workload, assert_logged, own_journal


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a small file system, which only root may."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        assert not os.environ.get("CI"), "CI has to mount a small disk to fill it"
        pytest.skip("no file system can be mounted here, which needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte free on a disk: all of it is taken by the file `ballast`."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        for size in (2**16, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))


def test_a_full_disk_fails_no_run(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk is really full, from the middle of a run on, until the ballast is deleted."""
    caplog.set_level("WARNING", "eventflow")
    with isolated(small_disk / "home"):
        workload = Workload()
        workload.run(5)
        workload.run(40, during=lambda: fill(small_disk))
        # Not at once: what fits into the blocks of the journal's own files can be written.
        for _ in range(200):
            if workload.first(JournalFailed) is None:
                workload.run(5)
        failed = workload.wait_for(JournalFailed)
        (small_disk / "ballast").unlink()
        workload.wait_for(JournalRecovered)
        workload.run(5)

        workload.assert_journalled()
    reason = failed.error.message.rpartition(": ")[2]
    assert reason in {"database or disk is full.", "disk I/O error."} or "No space" in reason
    assert_logged(caplog, failed)


def test_a_segment_can_be_filled_on_a_full_disk(small_disk: Path) -> None:
    """Really: no block is free any more, and what is appended there is found by others."""
    store = FakeStore()
    store.error = JournalError("full too")
    writer = Writer(store, lambda error, lost: None, spool=Spool(small_disk))
    writer.append(record(0))
    fill(small_disk)

    numbers = list(range(20_000))
    for number in numbers[1:]:
        writer.append(record(number))
    assert writer.kept == 0
    assert on_disk(small_disk) == numbers

    for number in range(20_000, 60_000):
        writer.append(record(number))
    assert writer.kept > 0
    store.error = None
    assert writer.close()
    assert store.numbers == list(range(60_000))


class FullDisk:
    """Refuses space to segments, to the journal, or to both, until it is freed."""

    def __init__(self, refused: str, patch: pytest.MonkeyPatch) -> None:
        self._refused = refused
        self._patch = patch

    def fill(self) -> None:
        if self._refused in {"segments", "both"}:
            self._patch.setattr(os, "posix_fallocate", self._refuse)
            self._patch.setattr(os, "pwrite", self._refuse)
        if self._refused in {"journal", "both"}:
            self._limit_pages(1)

    def free(self) -> None:
        self._patch.undo()
        self._limit_pages(2**30)

    def _refuse(self, fd: int, *rest: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @staticmethod
    def _limit_pages(limit: int) -> None:
        # SQLite goes no lower than the pages in use, and reports "full" as on a full disk.
        own_journal().transact(
            lambda connection: connection.all(f"PRAGMA max_page_count = {limit}")
        )


@pytest.fixture(params=[True, False], ids=["mapped", "written"])
def small_segments(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have segments that a few runs fill, and that are mapped, or written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Spool.__init__.__kwdefaults__ or {}, "segment_bytes", 8192)
        if not request.param:
            patch.setattr(spool, "MAPPABLE", frozenset())
        yield


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("refused", ["segments", "journal", "both"])
def test_runs_go_on_whatever_is_full(
    workload: Workload,
    refused: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Records wait in segments without the journal, and in memory without both."""
    disk = FullDisk(refused, monkeypatch)
    workload.run(5)
    workload.run(60, during=disk.fill)
    # Not at once: a segment that is committed is used again.
    for _ in range(200):
        if workload.first(JournalFailed) is None:
            workload.run(5)
    workload.wait_for(JournalFailed)
    disk.free()
    workload.wait_for(JournalRecovered)
    again = "The journal can be written again."
    # A segment that is used again ends an outage, until the next one is needed: that may not have
    # been the last one.
    for _ in range(200):
        workload.run(5)
        if caplog.messages[-1] == again:
            break

    workload.assert_journalled()
    *messages, last = caplog.messages
    assert last == again
    assert messages != []
    assert all("full" in text or "No space" in text for text in messages if text != last)
