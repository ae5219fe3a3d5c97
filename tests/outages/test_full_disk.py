"""A full disk fails no run, and everything is journalled once there is room again."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from eventflow.events import JournalFailed, JournalRecovered
from eventflow.journal.spool import Spool
from eventflow.testing import isolated
from tests.journal.writing import numbered_lines, read_spool
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


def test_the_reserve_can_be_written_on_a_full_disk(small_disk: Path) -> None:
    """Really: no block is free any more, and what is written there is found by others."""
    spool = Spool(small_disk)
    spool.reserve()
    fill(small_disk)
    with pytest.raises(OSError, match="No space"):
        spool.append(b"line-0\n")

    lines = numbered_lines(5000)
    assert all(spool.append_reserved(line) for line in lines)

    assert read_spool(small_disk) == lines
    spool.close()


class FullDisk:
    """Refuses writes to the spool, to the journal, or to both, until it is freed."""

    def __init__(self, refused: str) -> None:
        self._refused = refused
        self._patch = pytest.MonkeyPatch()

    def fill(self) -> None:
        if self._refused in {"spool", "both"}:
            self._patch.setattr(os, "write", self._refuse)
        if self._refused in {"journal", "both"}:
            self._limit_pages(1)

    def free(self) -> None:
        self._patch.undo()
        self._limit_pages(2**30)

    def _refuse(self, fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @staticmethod
    def _limit_pages(limit: int) -> None:
        # SQLite goes no lower than the pages in use, and reports "full" as on a full disk.
        own_journal().transact(
            lambda connection: connection.all(f"PRAGMA max_page_count = {limit}")
        )


@pytest.mark.parametrize("refused", ["spool", "journal", "both"])
def test_runs_go_on_whatever_is_full(
    workload: Workload, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines wait in the spool without the journal, and in memory without both."""
    disk = FullDisk(refused)
    workload.run(5)
    workload.run(60, during=disk.fill)
    failed = workload.wait_for(JournalFailed)
    disk.free()
    workload.wait_for(JournalRecovered)
    workload.run(5)

    workload.assert_journalled()
    assert_logged(caplog, failed)
