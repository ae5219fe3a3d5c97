"""Audit a Python environment: is every installed file still what was installed?

Each distribution states in its RECORD how large its files are and what they hash to.

    eventflow run examples/integrity_audit.py:integrity_audit
    eventflow run examples/integrity_audit.py:integrity_audit --only 'py*' --workers 2
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.metadata import Distribution, distributions
from pathlib import Path
from threading import Semaphore

from pydantic import DirectoryPath, PositiveInt

from eventflow import Task, TaskRun, flow, get_run_logger, task, unmapped, wait
from eventflow.states import AnyState


@dataclass
class Report:
    """The result of an audit, of one distribution or of all of them."""

    distributions: int = 0
    files: int = 0
    bytes: int = 0
    without_hash: int = 0
    not_verifiable: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Add the figures of another report."""
        for name, theirs in vars(other).items():
            setattr(self, name, getattr(self, name) + theirs)

    def __str__(self) -> str:
        return (
            f"{self.distributions} distributions, {self.files:,} files, {self.bytes / 1e6:,.1f} MB"
            f" ({self.without_hash:,} files without a hash skipped,"
            f" {len(self.not_verifiable)} distributions not verifiable)"
        )


class Damaged(Exception):
    """Files are missing or changed."""

    def __init__(self, report: Report) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        report = self.report
        lines = [f"missing  {path}" for path in report.missing]
        lines += [f"changed  {path}" for path in report.changed]

        return "\n".join([f"{len(report.missing)} missing, {len(report.changed)} changed:", *lines])


def check(path: Path, stated_hash: str, stated_size: str) -> int:
    """Compare a file with its line in RECORD; returns its size in bytes.

    Raises:
        OSError: it cannot be read.
        ValueError: its size or hash is another one.
    """
    algorithm, _, stated = stated_hash.partition("=")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, algorithm).digest()
        size = file.tell()
    if stated_size and size != int(stated_size):
        raise ValueError(f"{size} bytes, not {stated_size}")
    if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != stated.rstrip("="):
        raise ValueError(f"another {algorithm}")

    return size


def may_come_back(task: Task[..., Report], run: TaskRun, state: AnyState) -> bool:
    """Retry where files are missing: an upgrade that is under way puts them back."""
    error = state.result(raise_on_failure=False)

    return isinstance(error, Damaged) and bool(error.report.missing)


def report_damage(task: Task[..., Report], run: TaskRun, state: AnyState) -> None:
    """Log the damage as soon as it is known, long before the audit ends."""
    get_run_logger().error(f"{run.name}: {state.result(raise_on_failure=False)}")


@task(
    task_run_name="{distribution.name}",
    retries=2,
    retry_delay_seconds=[0.1, 0.5],
    retry_condition_fn=may_come_back,
    on_failure=[report_damage],
)
def audit(distribution: Distribution, places: Semaphore) -> Report:
    """Verify every file of one distribution.

    Raises:
        Damaged: files are missing or changed.
    """
    # Not `distribution.files`: from Python 3.12 on it leaves out what is missing.
    record = distribution.read_text("RECORD")
    if record is None:
        return Report(distributions=1, not_verifiable=[distribution.name])

    with places:
        report = verify(distribution, csv.reader(record.splitlines()))

    if report.missing or report.changed:
        raise Damaged(report)

    return report


def verify(distribution: Distribution, record: Iterable[list[str]]) -> Report:
    """Compare every file of a distribution with the lines of its RECORD."""
    report = Report(distributions=1)
    for name, stated_hash, stated_size in filter(None, record):
        path = Path(str(distribution.locate_file(name)))
        if not stated_hash:  # RECORD itself, and what Python has compiled since
            report.without_hash += 1
            continue

        report.files += 1
        try:
            report.bytes += check(path, stated_hash, stated_size)
        except (FileNotFoundError, NotADirectoryError):
            report.missing.append(str(path))
        except (OSError, ValueError) as error:
            report.changed.append(f"{path}: {error}")

    return report


@audit.on("AwaitingRetry", "Failed", "Crashed")
def watch(task: Task[..., Report], run: TaskRun, state: AnyState) -> None:
    """Log the runs that are retried, or that failed or crashed."""
    get_run_logger().warning(f"{run.name} is {state.name} after attempt {run.run_count}")


def installed(paths: list[Path], only: str) -> list[Distribution]:
    """Return the distributions in these folders, each once, whose name matches the pattern.

    Raises:
        ValueError: there is none.
    """
    folders = list(dict.fromkeys(os.path.realpath(path) for path in paths))
    every = distributions(path=folders)
    chosen = [distribution for distribution in every if fnmatch(distribution.name or "", only)]
    if not chosen:
        raise ValueError(f"No distribution is named like {only!r} in {', '.join(folders)}.")

    return chosen


@flow
def integrity_audit(
    paths: list[DirectoryPath] | None = None,
    only: str = "*",
    workers: PositiveInt = 4,
) -> Report:
    """Verify every file of every installed distribution.

    Args:
        paths: the folders to look in, such as a site-packages; by default this environment's.
        only: a pattern that the names of distributions must match.
        workers: how many distributions are read at the same time.

    Raises:
        Damaged: files are missing or changed.
    """
    began = time.perf_counter()
    chosen = installed(paths or [Path(entry) for entry in sys.path], only)
    runs = audit.map(chosen, unmapped(Semaphore(workers)))
    wait(runs)

    total = Report()
    for run in runs:
        try:
            total.add(run.result())
        except Damaged as damaged:
            total.add(damaged.report)

    seconds = time.perf_counter() - began
    print(f"{total} in {seconds:.1f} s, {total.bytes / 1e6 / seconds:,.0f} MB/s")
    if total.missing or total.changed:
        raise Damaged(total)

    return total


if __name__ == "__main__":
    try:
        integrity_audit()
    except Damaged as damaged:
        raise SystemExit(str(damaged)) from None
