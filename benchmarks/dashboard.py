"""The page over a journal of a million runs: first bytes, memory, and pages that are live."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from benchmarks.archives import ALONE
from benchmarks.catalogue import Plan, Target, Unit, workload
from benchmarks.large import archive, at
from benchmarks.measure import Reading
from benchmarks.processes import ROOT, environment
from eventflow.client.archive import Archive
from eventflow.client.journals import opened_journal
from eventflow.journal.contract import RunQuery

__all__ = ["VIEWS"]

TOKEN: Final = "token-of-benchmarks"
AUTHORIZATION: Final = f"Bearer {TOKEN}"

LARGE: Final = "/flow-runs/flow-run/{large}"
VIEWS: Final = {
    "runs": "/",
    "failed": "/?type=task&state=failed",
    "failed-first": "/?order=failed",
    "flow": "/?flow=etl",
    "tag": "/?tag=nightly",
    "text": "/?type=task&text=not+to+be+found",
    "since": "/?since={since}",
    "tasks": "/?type=task",
    "children": "/?parent={large}",
    "older": "/?before={small}",
    "deliveries": "/deliveries",
    "delivered": "/deliveries?status=delivered",
    "flow-run": "/flow-runs/flow-run/{small}",
    "large-flow-run": LARGE,
    "task-run": "/task-runs/task-run/{task}",
}
"""What the page is asked for. The large flow run has called a tenth of all runs."""

PAGES: Final = 100
"""How many pages are live at a time."""

SECONDS: Final = 10.0
"""For how long the processor time of the server is measured."""

TASKS: Final = 10_000
"""How many tasks the flow has that is watched."""

FIRST_BYTE: Final = Target(100.0, "what feels immediate")
MEMORY: Final = Target(150.0, "a small server")
SHARE: Final = Target(0.5, "half a processor")
BEHIND: Final = Target(2.0, "what still feels live")

ENDED: Final = b"<dt>Ended</dt>"
"""What the page of a run says once it has ended."""

TICKS: Final = os.sysconf("SC_CLK_TCK")


class Server:
    """A server of the page, in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.port = port

    def first_byte(self, path: str) -> float:
        """Return after how many seconds an answer begins."""
        begin = time.perf_counter()
        connection = HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path, headers={"Authorization": AUTHORIZATION})
        answer = connection.getresponse()
        assert answer.read(1)
        took = time.perf_counter() - begin
        assert answer.status == 200, path
        answer.read()
        connection.close()

        return took

    def megabytes(self) -> float:
        """Return how much memory it has had at most."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None

        return int(found[1]) / 1000

    def processor_seconds(self) -> float:
        """Return how much processor time it has taken."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]

        return (int(user) + int(system)) / TICKS

    async def stream(self, path: str, agent: str = "") -> AsyncGenerator[bytes]:
        """Yield what a live page is sent, line by line."""
        # A line has no length that is known ahead.
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)
        try:
            request = f"GET /live{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {agent}\r\n"
            writer.write(f"{request}Authorization: {AUTHORIZATION}\r\n\r\n".encode())
            while line := await reader.readline():
                yield line
        finally:
            writer.close()


@contextmanager
def served(home: Path) -> Iterator[Server]:
    """Serve the page of a journal."""
    command = ("-m", "eventflow.cli", "serve", "--port", "0", "--token", TOKEN)
    with started(home, *command) as process:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found is not None
        yield Server(process, int(found[1]))


@contextmanager
def started(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a fresh interpreter, which is ended with the block."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment(str(home)), **ALONE, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def paths(home: Path) -> dict[str, str]:
    """Return the addresses of the views, of runs that the journal has."""
    with at(home), opened_journal() as journal:
        assert journal is not None
        runs = Archive(journal)
        large, small, *_ = runs.runs(RunQuery(definition="etl", top=True))
        task, *_ = runs.runs(RunQuery(parent_run_id=small.id))
    since = f"{large.created:%Y-%m-%dT%H:%M}"
    found = {"large": large.id, "small": small.id, "task": task.id, "since": since}

    return {name: path.format(**found) for name, path in VIEWS.items()}


# -- first bytes ----------------------------------------------------------------------------------


def _first_byte(name: str, plan: Plan) -> Reading:
    home = archive(plan.task_runs)
    path = paths(home)[name]
    with served(home) as server:
        server.first_byte("/deliveries")
        values = [1e3 * server.first_byte(path) for _ in range(plan.rounds or 11)]

    return Reading(tuple(values))


def _absolute(
    name: str, about: str, target: Target, unit: Unit = "ms"
) -> Callable[[Callable[[Plan], Reading]], Callable[[Plan], Reading]]:
    return workload(
        f"dashboard.{name}",
        f"{about}, a million runs",
        floor="(absolute)",
        target=target,
        unit=unit,
        usual=False,
    )


for _name, _path in VIEWS.items():
    _absolute(f"first.{_name}", f"first byte of {_path}", FIRST_BYTE)(partial(_first_byte, _name))


@_absolute("start", "first byte of the first answer after a start", FIRST_BYTE)
def start(plan: Plan) -> Reading:
    """Time the first answers of servers that have just begun to listen."""
    home = archive(plan.task_runs)
    values = []
    for _ in range(plan.rounds or 5):
        with served(home) as server:
            values.append(1e3 * server.first_byte("/"))

    return Reading(tuple(values))


# -- live pages -----------------------------------------------------------------------------------


@contextmanager
def _working(home: Path) -> Iterator[None]:
    """Have small flows run meanwhile."""
    with started(home, "-m", "benchmarks.watched") as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield


async def _watch(server: Server, path: str, agent: str) -> None:
    async with aclosing(server.stream(path, agent)) as lines:
        async for _ in lines:
            pass


async def _share(server: Server, addresses: list[str], seconds: float) -> float:
    """Return how much of a processor the server takes while these pages are live."""
    pages = [
        asyncio.create_task(_watch(server, path, f"browser {number}"))
        for number, path in enumerate(addresses)
    ]
    # Until each has had its first part.
    await asyncio.sleep(seconds / 2)
    begin, before = time.perf_counter(), server.processor_seconds()
    await asyncio.sleep(seconds)
    took = (server.processor_seconds() - before) / (time.perf_counter() - begin)
    for page in pages:
        page.cancel()
    await asyncio.gather(*pages, return_exceptions=True)

    return took


@_absolute("live", f"processor for {PAGES} live pages while flows run", SHARE, "x")
def live(plan: Plan) -> Reading:
    """Measure the processor time that live pages take: the first page, filters, and runs."""
    home = archive(plan.task_runs)
    pages = [*islice(cycle(paths(home).values()), min(PAGES, plan.crowd))]
    seconds = SECONDS if plan.crowd >= PAGES else 1.0
    with served(home) as server, _working(home):
        values = [asyncio.run(_share(server, pages, seconds)) for _ in range(plan.rounds or 3)]

    return Reading(tuple(values))


@_absolute("memory", f"memory of the server, every view, {PAGES} live pages", MEMORY, "MB")
def memory(plan: Plan) -> Reading:
    """Measure the memory of a server that has shown every view, at once and live."""
    home = archive(plan.task_runs)
    views = [*paths(home).values()]
    pages = [*islice(cycle(views), min(PAGES, plan.crowd))]
    with served(home) as server, _working(home):
        for path in views:
            server.first_byte(path)
        asyncio.run(_share(server, pages, SECONDS if plan.crowd >= PAGES else 1.0))
        value = server.megabytes()

    return Reading((value,))


async def _seen_end(server: Server, path: str) -> float:
    async with aclosing(server.stream(path)) as lines:
        async for line in lines:
            if ENDED in line:
                return time.time()

    raise AssertionError("The stream has ended before the run.")


@_absolute("watched", f"a flow of {TASKS:,} tasks: how long its end is not seen", BEHIND, "s")
def watched(plan: Plan) -> Reading:
    """Watch the page of a flow with very many tasks, while it runs, until it says that it ended."""
    home = archive(plan.task_runs)
    tasks = str(min(TASKS, plan.crowd))
    values = []
    with served(home) as server:
        for _ in range(plan.rounds or 3):
            with started(home, "-m", "benchmarks.watched", tasks) as process:
                assert process.stdout is not None
                path = f"/flow-runs/flow-run/{process.stdout.readline().strip()}"
                seen = asyncio.run(_seen_end(server, path))
                values.append(seen - float(process.stdout.readline()))

    return Reading(tuple(values))
