"""Cases: kill a process at a point, have its owner recovered, and check the final state."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from eventflow.journal.wal.spool import has_records
from eventflow.owners.leftovers import take_in
from tests.crash.fork_server import COUNTS, Exit, Request
from tests.crash.invariants import FinalState, violations
from tests.crash.workloads import LOG, RECORD_FILE, RECORDS

ROOT: Final = Path(__file__).parents[2]

LAZY: Final = 1000.0
"""Seconds between two commits of the writer thread: all records are in a segment until the end."""

EAGER: Final = 0.001
"""The same, where records are committed at once, and segments are small."""

SMALL: Final = 4096
"""How many bytes a small segment has: a few runs fill it."""

RECOVERY_SECONDS: Final = 30.0
"""How long a recovery may take."""

WITHIN_SECONDS: Final = 2.0
"""How soon after the kill every run should have ended."""

# How the killed owner is recovered.
GUARDIAN: Final = "guardian"
RECOVERY: Final = "recovery"
COMMAND: Final = "guardian killed too"
TWICE: Final = "recovery killed"
ITS_OWN: Final = "its own guardian"
WAYS: Final = (GUARDIAN, RECOVERY, COMMAND, TWICE, ITS_OWN)


class Point(NamedTuple):
    """Where a process is killed: when it passes the point of this name for the n-th time."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Case:
    """One kill, and how its owner is recovered."""

    way: str
    workload: str
    point: Point
    linger: float = LAZY
    durability: str = "process"
    second: Point | None = None
    mapped: bool = True

    def __str__(self) -> str:
        pace = "lazy" if self.linger == LAZY else "eager"
        how = "" if self.mapped else ", written"
        then = f", then {self.second.name} #{self.second.number}" if self.second else ""

        return (
            f"{self.workload} ({self.way}, {self.durability}, {pace}{how}) at {self.point.name}"
            f" #{self.point.number}{then}"
        )


@dataclass(slots=True)
class Outcome:
    """The outcome of a case: `seconds` is from the kill to the end of the last run."""

    case: Case | None
    kills: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    home: Path | None = None


class ForkServer:
    """The client of `tests.crash.fork_server`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.fork_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, request: Request) -> list[Exit]:
        """Send a request; returns the exit of each child."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(request)) + "\n")
        process.stdin.flush()

        return [Exit(**facts) for facts in json.loads(process.stdout.readline())]

    def close(self) -> None:
        """Close its stdin, and wait for its end."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        process.wait()


class Explorer:
    """Explores cases, several at once, each in a home of its own below `folder`."""

    def __init__(self, folder: Path, workers: int = 2, within: float | None = None) -> None:
        self._folder = folder
        self._within = within
        self._idle: SimpleQueue[ForkServer] = SimpleQueue()
        self._servers = [ForkServer() for _ in range(workers)]
        for server in self._servers:
            self._idle.put(server)
        self._pool = ThreadPoolExecutor(workers)

    def close(self) -> None:
        """End all fork servers."""
        self._pool.shutdown(cancel_futures=True)
        for server in self._servers:
            server.close()

    def all(self, work: Callable[[Case], Outcome], cases: Iterable[Case]) -> Iterator[Outcome]:
        """Run all cases; returns the outcomes in the order of the cases."""
        return self._pool.map(work, cases)

    def random(self, seeds: Iterable[int], kills: int) -> Iterator[Outcome]:
        """Kill so many processes at full speed for each seed; returns the outcomes in order."""
        return self._pool.map(lambda seed: self.random_kills(seed, kills), seeds)

    @contextmanager
    def _home(self) -> Iterator[tuple[ForkServer, Path]]:
        server = self._idle.get()
        try:
            yield server, Path(tempfile.mkdtemp(dir=self._folder, prefix="home-"))
        finally:
            self._idle.put(server)

    # -- which points there are -----------------------------------------------------------------

    def points(self, case: Case) -> list[Point]:
        """Return the points that the workload of a case passes, if it is not killed."""
        with self._home() as (server, home):
            request = _executing(case, request_for(home, case.durability, guardian=True))
            server.run(replace(request, counts=True))
            return _points(home)

    def points_of_recovery(self, case: Case) -> list[Point]:
        """Return the points that the recovery after a case passes."""
        with self._home() as (server, home):
            request = request_for(home, case.durability, guardian=False)
            server.run(replace(_executing(case, request), target=case.point))
            server.run(replace(request, counts=True))
            return _points(home)

    # -- one case -------------------------------------------------------------------------------

    def explore(self, case: Case) -> Outcome:
        """Kill a process, have its owner recovered, and check the final state."""
        with self._home() as (server, home):
            return self._explore(case, server, home)

    def _explore(self, case: Case, server: ForkServer, home: Path) -> Outcome:
        request = request_for(home, case.durability, guardian=case.way in {GUARDIAN, COMMAND})
        (end,) = server.run(
            replace(
                _executing(case, request),
                target=case.point,
                kills_guardian=case.way == COMMAND,
            )
        )
        outcome = Outcome(case, int(end.status < 0), home=home)
        if end.hung:
            outcome.violations.append(f"hung: {_log_tail(home)}")
        if end.status > 0:
            outcome.violations.append(f"ended with {end.status}: {_log_tail(home)}")
        if case.second is not None:
            guarded = request_for(home, case.durability, guardian=case.way == ITS_OWN)
            (second,) = server.run(replace(guarded, target=case.second))
            outcome.kills += int(second.status < 0)
        if case.way == COMMAND:
            _run_recover(request)
        unguarded = request_for(home, case.durability, guardian=False)
        if case.way in {RECOVERY, TWICE} or _wrote_nothing(home):
            _recover(server, unguarded)
        self._check(outcome, end.at)

        return outcome

    def _check(self, outcome: Outcome, killed_at: float) -> None:
        home = outcome.home
        assert home is not None
        if not _all_recovered(home):
            owners = ", ".join(path.name for path in _owners(home))
            outcome.violations.append(f"not recovered: {owners}: {_log_tail(home)}")
        final = FinalState.read(home)
        outcome.violations += violations(final)
        ends = [run.ended for run in final.runs.values() if run.ended is not None]
        outcome.seconds = max((_seconds(ends, killed_at), 0.0))
        if self._within is not None and outcome.seconds > self._within:
            outcome.violations.append(f"late: the last run ended after {outcome.seconds:.1f} s")
        if not outcome.violations:
            # The recovering process may still be writing to it.
            shutil.rmtree(home, ignore_errors=True)

    # -- random kills -----------------------------------------------------------------------------

    def random_kills(self, seed: int, kills: int) -> Outcome:
        """Kill processes that run at full speed on one journal, each after a random moment."""
        generator = random.Random(seed)
        moments = [generator.uniform(0.005, 0.4) for _ in range(kills)]
        with self._home() as (server, home):
            request = request_for(home, "process", guardian=True)
            request.segment_bytes = SMALL if seed % 2 else None
            request.mapped = seed % 5 != 0
            ends = server.run(replace(request, kills=moments, seed=generator.randrange(2**32)))
            outcome = Outcome(None, sum(end.status < 0 for end in ends), home=home)
            if _wrote_nothing(home):
                _recover(server, request_for(home, "process", guardian=False))
            self._check(outcome, max(end.at for end in ends))

        return outcome


def _points(home: Path) -> list[Point]:
    passed: dict[str, int] = json.loads((home / COUNTS).read_text())
    shutil.rmtree(home)

    return [Point(name, 1 + n) for name, count in passed.items() for n in range(count)]


def request_for(home: Path, durability: str, *, guardian: bool) -> Request:
    """Return a request with the settings of a home, and nothing to do yet."""
    return Request(
        str(home),
        {
            "EVENTFLOW_HOME": str(home),
            "EVENTFLOW_JOURNAL_URL": f"sqlite:///{home / 'journal.db'}",
            "EVENTFLOW_GUARDIAN": str(guardian).lower(),
            "EVENTFLOW_DURABILITY": durability,
            "EVENTFLOW_LOG_FORMAT": "json",
            RECORD_FILE: str(home / RECORDS),
        },
    )


def _executing(case: Case, request: Request) -> Request:
    return replace(
        request,
        workload=case.workload,
        linger=case.linger,
        segment_bytes=SMALL if case.linger == EAGER else None,
        mapped=case.mapped,
    )


def _run_recover(request: Request) -> None:
    """Run the command `eventflow recover`."""
    with (Path(request.home) / LOG).open("a") as log:
        subprocess.run(
            [sys.executable, "-m", "eventflow.cli", "recover"],
            cwd=ROOT,
            env=_inherited() | request.environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
            check=False,
        )


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("EVENTFLOW_")}


def _recover(server: ForkServer, request: Request) -> None:
    """Have every dead owner recovered, each in a process of its own."""
    for _ in range(10):
        if not _owners(Path(request.home)):
            return
        server.run(request)


def _owners(home: Path) -> list[Path]:
    folder = home / "journal.db-owners"
    paths: list[Path] = []
    with suppress(FileNotFoundError):
        paths += folder.iterdir()

    # Hidden folders are unfinished or being deleted: they are swept later, unless with records.
    return [path for path in paths if not path.name.startswith(".") or _has_records(path)]


def _has_records(folder: Path) -> bool:
    # It may be deleted meanwhile.
    with suppress(OSError):
        return has_records(folder)

    return False


def _wrote_nothing(home: Path) -> bool:
    """Whether the remaining owners had not written anything: then they have no guardian."""
    path = home / RECORDS
    lines = path.read_text().splitlines() if path.exists() else []
    pids = {json.loads(line)[-1] for line in lines}

    return not any(_has_records(owner) or _pid(owner) in pids for owner in _owners(home))


def _pid(folder: Path) -> int:
    try:
        return int(json.loads((folder / "owner.json").read_bytes())["pid"])
    except (OSError, ValueError):
        return 0


def _all_recovered(home: Path) -> bool:
    """Wait until no owner is left, and take in what those have left that ended."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    take_in(f"sqlite:///{home / 'journal.db'}", "process")
    while _owners(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
        take_in(f"sqlite:///{home / 'journal.db'}", "process")

    return True


def _seconds(ends: Sequence[datetime], killed_at: float) -> float:
    return max(end.timestamp() for end in ends) - killed_at if ends else 0.0


def _log_tail(home: Path) -> str:
    return (home / LOG).read_text(errors="replace")[-2000:]
