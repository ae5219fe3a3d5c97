"""Killing one process and looking at what is left: the cases that the explorer goes through."""

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

from tests.crash.verdict import Remains, violations
from tests.crash.workloads import TOLD
from tests.crash.zygote import COUNTS, SAID, End, Order

ROOT: Final = Path(__file__).parents[2]

LAZY: Final = 1000.0
"""Seconds that the journal's thread lingers: all there is, is in the spool until the end."""

EAGER: Final = 0.001
"""Likewise: whatever is in the spool is being committed."""

QUIET_SECONDS: Final = 30.0
"""How long a recovery may take before it counts as stuck."""

WITHIN_SECONDS: Final = 2.0
"""Within which time after the kill every run is to have its end."""

# Who finishes what the killed process left.
GUARDIAN: Final = "guardian"
RECOVERY: Final = "recovery"
COMMAND: Final = "guardian killed too"
TWICE: Final = "recovery killed"
ITS_OWN: Final = "its own guardian"
WAYS: Final = (GUARDIAN, RECOVERY, COMMAND, TWICE, ITS_OWN)


class Point(NamedTuple):
    """Where a process is killed: when it passes what has this name for the n-th time."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Case:
    """One kill, and who is to finish what it leaves."""

    way: str
    workload: str
    point: Point
    linger: float = LAZY
    durability: str = "process"
    second: Point | None = None

    def __str__(self) -> str:
        pace = "lazy" if self.linger == LAZY else "eager"
        then = f", then {self.second.name} #{self.second.number}" if self.second else ""

        return (
            f"{self.workload} ({self.way}, {self.durability}, {pace}) at {self.point.name}"
            f" #{self.point.number}{then}"
        )


@dataclass(slots=True)
class Outcome:
    """What came of a case: `seconds` is from the kill to the end of the last run."""

    case: Case | None
    kills: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
    home: Path | None = None

    @property
    def spooled(self) -> bool:
        """Whether lines went through a spool."""
        return self.case is None or self.case.durability == "process"


class Zygote:
    """The other side of `tests.crash.zygote`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, order: Order) -> list[End]:
        """Have it done; gives how each child ended."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(asdict(order)) + "\n")
        process.stdin.flush()

        return [End(**one) for one in json.loads(process.stdout.readline())]

    def close(self) -> None:
        """End it."""
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
        self._idle: SimpleQueue[Zygote] = SimpleQueue()
        self._zygotes = [Zygote() for _ in range(workers)]
        for one in self._zygotes:
            self._idle.put(one)
        self._pool = ThreadPoolExecutor(workers)

    def close(self) -> None:
        """End all processes."""
        self._pool.shutdown(cancel_futures=True)
        for one in self._zygotes:
            one.close()

    def all(self, work: Callable[[Case], Outcome], cases: Iterable[Case]) -> Iterator[Outcome]:
        """Do work for all cases; gives the outcomes in their order."""
        return self._pool.map(work, cases)

    def random(self, seeds: Iterable[int], kills: int) -> Iterator[Outcome]:
        """Kill so many processes at full speed for each seed; gives the outcomes in order."""
        return self._pool.map(lambda seed: self.random_kills(seed, kills), seeds)

    @contextmanager
    def _home(self) -> Iterator[tuple[Zygote, Path]]:
        zygote = self._idle.get()
        try:
            yield zygote, Path(tempfile.mkdtemp(dir=self._folder, prefix="home-"))
        finally:
            self._idle.put(zygote)

    # -- which points there are -----------------------------------------------------------------

    def points(self, workload: str, linger: float, durability: str = "process") -> list[Point]:
        """Give the points that a workload passes, in no order of time."""
        with self._home() as (zygote, home):
            order = order_for(home, durability, guardian=True)
            zygote.run(replace(order, workload=workload, linger=linger, counts=True))
            return _points(home)

    def points_of_recovery(self, case: Case) -> list[Point]:
        """Give the points that the recovery passes of what the kill of a case leaves."""
        with self._home() as (zygote, home):
            order = order_for(home, case.durability, guardian=False)
            zygote.run(
                replace(order, workload=case.workload, linger=case.linger, target=case.point)
            )
            zygote.run(replace(order, counts=True))
            return _points(home)

    # -- one case -------------------------------------------------------------------------------

    def explore(self, case: Case) -> Outcome:
        """Kill a process, see to it that the rest is finished, and look at what is left."""
        with self._home() as (zygote, home):
            return self._explore(case, zygote, home)

    def _explore(self, case: Case, zygote: Zygote, home: Path) -> Outcome:
        order = order_for(home, case.durability, guardian=case.way in {GUARDIAN, COMMAND})
        (end,) = zygote.run(
            replace(
                order,
                workload=case.workload,
                target=case.point,
                linger=case.linger,
                takes_guardian_along=case.way == COMMAND,
            )
        )
        outcome = Outcome(case, int(end.status < 0), home=home)
        if end.hung:
            outcome.violations.append(f"hung: {_said(home)}")
        if end.status > 0:
            outcome.violations.append(f"ended with {end.status}: {_said(home)}")
        if case.second is not None:
            guarded = order_for(home, case.durability, guardian=case.way == ITS_OWN)
            (second,) = zygote.run(replace(guarded, target=case.second))
            outcome.kills += int(second.status < 0)
        if case.way == COMMAND:
            _command(order)
        unguarded = order_for(home, case.durability, guardian=False)
        if case.way in {RECOVERY, TWICE} or _nothing_written(home):
            _recover(zygote, unguarded)
        self._judge(outcome, end.at)

        return outcome

    def _judge(self, outcome: Outcome, killed_at: float) -> None:
        home = outcome.home
        assert home is not None
        if not _quiet(home):
            left = ", ".join(one.name for one in _owners(home))
            outcome.violations.append(f"stuck: {left} remains: {_said(home)}")
        remains = Remains.read(home)
        outcome.violations += violations(remains, spooled=outcome.spooled)
        ends = [one.ended for one in remains.runs.values() if one.ended is not None]
        outcome.seconds = max((_seconds(ends, killed_at), 0.0))
        if self._within is not None and outcome.seconds > self._within:
            outcome.violations.append(f"late: the last run ended after {outcome.seconds:.1f} s")
        if not outcome.violations:
            # Whoever recovered it may not have left yet.
            shutil.rmtree(home, ignore_errors=True)

    # -- random kills -----------------------------------------------------------------------------

    def random_kills(self, seed: int, kills: int) -> Outcome:
        """Kill processes that run at full speed on one journal, each after a random moment."""
        chance = random.Random(seed)
        moments = [chance.uniform(0.005, 0.4) for _ in range(kills)]
        with self._home() as (zygote, home):
            order = order_for(home, "process", guardian=True)
            ends = zygote.run(replace(order, kills=moments, seed=chance.randrange(2**32)))
            outcome = Outcome(None, sum(one.status < 0 for one in ends), home=home)
            if _nothing_written(home):
                _recover(zygote, order_for(home, "process", guardian=False))
            self._judge(outcome, max(one.at for one in ends))

        return outcome


def _points(home: Path) -> list[Point]:
    passed: dict[str, int] = json.loads((home / COUNTS).read_text())
    shutil.rmtree(home)

    return [Point(name, 1 + n) for name, count in passed.items() for n in range(count)]


def order_for(home: Path, durability: str, *, guardian: bool) -> Order:
    """Give an order for nothing yet, with the settings of a home."""
    return Order(
        str(home),
        {
            "EVENTFLOW_HOME": str(home),
            "EVENTFLOW_JOURNAL_URL": f"sqlite:///{home / 'journal.db'}",
            "EVENTFLOW_GUARDIAN": str(guardian).lower(),
            "EVENTFLOW_DURABILITY": durability,
            TOLD: str(home / "told"),
        },
    )


def _command(order: Order) -> None:
    """Do what a person would do."""
    with (Path(order.home) / SAID).open("a") as said:
        subprocess.run(
            [sys.executable, "-m", "eventflow.cli", "recover"],
            cwd=ROOT,
            env=_rest_of_environment() | order.environment,
            stdout=said,
            stderr=said,
            check=False,
        )


def _rest_of_environment() -> dict[str, str]:
    return {name: one for name, one in os.environ.items() if not name.startswith("EVENTFLOW_")}


def _recover(zygote: Zygote, order: Order) -> None:
    """Have every dead owner recovered, each in a process of its own."""
    for _ in range(10):
        if not _owners(Path(order.home)):
            return
        zygote.run(order)


def _owners(home: Path) -> list[Path]:
    folder = home / "journal.db-owners"
    found: list[Path] = []
    with suppress(FileNotFoundError):
        found += folder.iterdir()

    # What is on its way is litter, which is swept later, unless it holds lines.
    return [one for one in found if not one.name.startswith(".") or _has_lines(one)]


def _has_lines(folder: Path) -> bool:
    # It may be gone in the next moment.
    with suppress(OSError):
        return any(one.stat().st_size for one in folder.glob("spool-*"))

    return False


def _nothing_written(home: Path) -> bool:
    """Whether the owners that are left had not written anything: then they have no guardian."""
    told = home / "told"
    pids = {json.loads(line)[-1] for line in told.read_text().splitlines()} if told.exists() else ()

    return not any(_has_lines(one) or _pid(one) in pids for one in _owners(home))


def _pid(folder: Path) -> int:
    try:
        return int(json.loads((folder / "owner.json").read_bytes())["pid"])
    except (OSError, ValueError):
        return 0


def _quiet(home: Path) -> bool:
    """Wait until no owner is left."""
    deadline = time.monotonic() + QUIET_SECONDS
    while _owners(home):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)

    return True


def _seconds(ends: Sequence[datetime], killed_at: float) -> float:
    return max(one.timestamp() for one in ends) - killed_at if ends else 0.0


def _said(home: Path) -> str:
    return (home / SAID).read_text(errors="replace")[-2000:]
