"""A side that runs: its home, its server if it has one, its worker, and its scripts."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Final

from benchmarks.peers.workers import PATIENCE_SECONDS, Group, PeerFailed, Worker
from benchmarks.peers.works import Side
from benchmarks.processes import IMPORT, ROOT

__all__ = ["RunningSide", "running"]

SCRIPTS: Final = Path(__file__).parent / "hello"
PREFIXES: Final = ("COVERAGE", "EVENTFLOW_", "PYTHON", "PREFECT_", "DBOS_", "DASK_")
"""Variables that would change what is measured."""


@contextmanager
def running(side: Side, python: Path) -> Iterator[RunningSide]:
    """Start a side with a home of its own, until the block ends.

    Raises:
        PeerFailed: its server did not start.
    """
    with TemporaryDirectory(prefix=f"{side.name}-", ignore_cleanup_errors=True) as home:
        group = Group(_environment(side, home), Path(home))
        try:
            if side.served:
                _serve(group, python)
            yield RunningSide(side, python, group)
        finally:
            group.close()


def _environment(side: Side, home: str) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(PREFIXES)}
    own = {key: value.format(home=home) for key, value in side.environment.items()}

    return {**inherited, **own, "PYTHONPATH": str(ROOT)}


class RunningSide:
    """One side, which does its work in processes of its own."""

    def __init__(self, side: Side, python: Path, group: Group) -> None:
        self.side = side
        self._python = str(python)
        self._group = group
        self._worker: Worker | None = None

    def turn(self, work: str, count: int) -> int:
        """Do a work so many times; returns the nanoseconds.

        Raises:
            PeerFailed: it could not be done.
        """
        with self._group.resumed():
            if work == "import":
                statement = IMPORT.format(self.side.statement)
                return sum(int(self._run("-c", statement)) for _ in range(count))
            if work == "hello":
                begin = perf_counter_ns()
                for _ in range(count):
                    self._run(str(SCRIPTS / f"with_{self.side.module}.py"))
                return perf_counter_ns() - begin

            return self._started_worker().turn(work, count)

    def version(self) -> str:
        """Return the version of what is measured."""
        statement = (
            "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
        )

        return self._run("-c", statement, self.side.package).strip()

    def _started_worker(self) -> Worker:
        if self._worker is None:
            command = [self._python, "-m", f"benchmarks.peers.sides.{self.side.module}"]
            self._worker = Worker(self._group, command)

        return self._worker

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._python, *arguments],
                cwd=self._group.home,
                env=self._group.environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=PATIENCE_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise PeerFailed(error.stderr[-2_000:]) from None
        except subprocess.TimeoutExpired as error:
            raise PeerFailed(str(error)) from None

        return done.stdout


def _serve(group: Group, python: Path) -> None:
    """Start Prefect's server on a free port of loopback, and point the side to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = group.start(
        [str(python), "-m", "prefect", "server", "start", f"--port={port}", "--host=127.0.0.1"]
    )
    group.environment["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    end = time.monotonic() + PATIENCE_SECONDS
    while not _answers(f"http://127.0.0.1:{port}/api/health"):
        if server.poll() is not None or time.monotonic() > end:
            raise PeerFailed(f"Prefect's server did not start. Its log ends: {group.log_tail()}")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
