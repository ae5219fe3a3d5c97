"""Forward to a receiver that fails: `python -m tests.crash.forwarding --events 100000`.

Runs of one task are forwarded while their receiver is killed and started again, answers 500, late
or not at all, and refuses some events for good. None may be lost, none be out of order in its run.
With `--rate` nothing fails, and the time is compared to that of the bare client.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from eventflow import flow, task
from eventflow.client import get_client
from eventflow.forwarding import forward
from eventflow.forwarding.envelope import BATCH, STRUCTURED, envelope, event_in_hook
from eventflow.forwarding.origins import own_origin
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.settings import (
    EVENTFLOW_GUARDIAN,
    EVENTFLOW_HOME,
    EVENTFLOW_LOG_LEVEL,
    temporary_settings,
)
from eventflow.testing import flush
from tests.crash.receiver import is_poison

__all__ = ["Outcome", "forwarded"]

EVENTS_OF_A_RUN: Final = 3
ROUNDS: Final = 5


class Service:
    """The receiver, in a process of its own, which can be killed and started again."""

    def __init__(self, log: Path, *, faults: bool) -> None:
        self._log = log
        self._faults = "faults" if faults else "none"
        self._port = 0
        self.start()

    def start(self) -> None:
        """Start it, always on the same port."""
        command = (sys.executable, "-m", "tests.crash.receiver")
        self._process = subprocess.Popen(
            [*command, str(self._log), str(self._port), self._faults],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        self._process.stdout.close()

    @property
    def url(self) -> str:
        """The URL of it."""
        return f"http://127.0.0.1:{self._port}/"

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()


class Outcome(NamedTuple):
    """How many events were owed, what is wrong, and how much was sent again."""

    events: int
    lost: int
    disordered: int
    dead: int
    poison: int
    duplicates: int
    kills: int
    seconds: float

    @property
    def is_clean(self) -> bool:
        """Whether all that could be accepted was, in order, and nothing else is dead."""
        return (self.lost, self.disordered) == (0, 0) and self.dead == self.poison


@task(task_run_name="work-{number}")
def work(number: int) -> int:
    """Do nothing."""
    return number


def forwarded(runs: int, threads: int, batch_size: int, kills: int, folder: Path) -> Outcome:
    """Forward all transitions of so many runs, and kill the receiver so often meanwhile."""
    log = folder / "accepted"
    service = Service(log, faults=True)
    numbers: dict[str, int] = {}

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=threads))
    def many() -> None:
        for start in range(0, runs, 1000):
            futures = work.map(range(start, min(runs, start + 1000)))
            futures.wait()
            numbers.update((str(each.task_run_id), each.result()) for each in futures)

    begun = time.perf_counter()
    with (
        _settings(folder),
        _killing(service, kills, log, runs),
        forward(
            service.url, run_type="task", batch_size=batch_size, retries=10_000,
            retry_delay_seconds=(0.01, 0.05, 0.1), timeout_seconds=5,
        ),
    ):  # fmt: skip
        many()
        seconds = time.perf_counter() - begun
        flush()
        dead = asyncio.run(_dead())
    service.kill()

    return _judged(log, numbers, dead, kills, seconds)


def _judged(log: Path, numbers: dict[str, int], dead: int, kills: int, seconds: float) -> Outcome:
    lines = [line.split() for line in log.read_text().splitlines()]
    seen: dict[str, list[int]] = {}
    for run, sequence in lines:
        seen.setdefault(run, []).append(int(sequence))
    lost = disordered = poison = 0
    for run, number in numbers.items():
        wanted = [each for each in range(EVENTS_OF_A_RUN) if not is_poison(each, number)]
        poison += EVENTS_OF_A_RUN - len(wanted)
        arrived = seen.get(run, [])
        lost += len(set(wanted) - set(arrived))
        disordered += arrived != sorted(arrived)
    unique = sum(len(set(each)) for each in seen.values())

    return Outcome(
        len(numbers) * EVENTS_OF_A_RUN,
        *(lost, disordered, dead, poison, len(lines) - unique, kills, seconds),
    )


async def _dead() -> int:
    async with get_client() as client:
        return len(await client.read_deliveries(status="dead", limit=1_000_000))


@contextmanager
def _settings(folder: Path) -> Iterator[None]:
    values: dict[Any, Any] = {
        EVENTFLOW_HOME: str(folder / "home"),
        EVENTFLOW_LOG_LEVEL: "CRITICAL",
        EVENTFLOW_GUARDIAN: False,
    }
    with temporary_settings(values):
        yield


@contextmanager
def _killing(service: Service, kills: int, log: Path, runs: int) -> Iterator[None]:
    """Kill the receiver, and start it again, each time when so many events more were accepted."""
    places = sorted(random.sample(range(1, runs * 2), kills))
    ended = threading.Event()

    def accepted() -> int:
        return log.stat().st_size // 48 if log.exists() else 0

    def kill() -> None:
        for place in places:
            while accepted() < place and not ended.wait(0.002):
                pass
            service.kill()
            service.start()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# -- rate ----------------------------------------------------------------------------------------


def rates(runs: int, batch_size: int, threads: int, folder: Path) -> list[tuple[float, float]]:
    """Return the events in a second, of the bare client and of `forward`, in each round."""
    service = Service(folder / "accepted", faults=False)
    body = _body(folder)
    found = []
    with _settings(folder):
        for _ in range(ROUNDS):
            bare = _bare(service.url, body, runs * EVENTS_OF_A_RUN, batch_size, threads)
            found.append((bare, _ours(service.url, runs, batch_size, threads)))
    service.kill()

    return found


def _body(folder: Path) -> bytes:
    """Return an event as it is sent."""
    bodies: list[bytes] = []

    def keep(_: Any, run: Any, state: Any) -> None:
        event = event_in_hook(None, run, state)
        made = envelope(event, run, source="/eventflow", origin=own_origin())
        bodies.append(made.model_dump_json().encode())

    with _settings(folder):
        work.with_options(on_completion=[keep])(3)

    return bodies[0]


def _bare(url: str, body: bytes, events: int, batch_size: int, threads: int) -> float:
    """Post as many events with httpx alone, as many in a request as wait for `forward` at most."""
    size = min(batch_size, threads)
    content = body if size == 1 else b"[" + b",".join([body] * size) + b"]"
    headers = {"Content-Type": STRUCTURED if size == 1 else BATCH}
    with httpx.Client() as client:
        begun = time.perf_counter()
        for _ in range(events // size):
            client.post(url, content=content, headers=headers).raise_for_status()

        return events / (time.perf_counter() - begun)


def _ours(url: str, runs: int, batch_size: int, threads: int) -> float:
    @flow(task_runner=ThreadPoolTaskRunner(max_workers=threads))
    def many() -> None:
        if threads == 1:
            for number in range(runs):
                work(number * 1000)
        else:
            work.map([number * 1000 for number in range(runs)]).wait()

    with forward(url, run_type="task", batch_size=batch_size):
        begun = time.perf_counter()
        many()
        seconds = time.perf_counter() - begun

    return runs * EVENTS_OF_A_RUN / seconds


def main() -> int:
    """Run what the arguments ask for, and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", action="store_true")
    options = parser.parse_args()
    runs = -(-options.events // EVENTS_OF_A_RUN)
    with tempfile.TemporaryDirectory() as place:
        if options.rate:
            for bare, ours in rates(runs, options.batch, options.threads, Path(place)):
                print(f"bare {bare:7.0f}/s  forward {ours:7.0f}/s  {ours / bare:.2f}")
            return 0
        outcome = forwarded(runs, options.threads, options.batch, options.kills, Path(place))
    print(outcome)

    return 0 if outcome.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
