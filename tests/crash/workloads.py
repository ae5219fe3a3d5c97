"""The workloads of the processes that are killed: runs of every kind, with hooks on every state.

Every body, hook and caller appends a record to a file before it goes on, so that the records of a
killed process are complete.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from eventflow import Hook, State, cancel, flow, hook, runtime, task
from tests.crash.points import passing

RECORD_FILE: Final = "CRASH_RECORD_FILE"
"""The environment variable that names the file of the records."""

RECORDS: Final = "records"
LOG: Final = "log"
"""The files in a home that hold the records, and the output of its processes."""


def record(*facts: object) -> None:
    """Append a line to the file, in one write."""
    line = json.dumps([*facts, os.getpid()]).encode() + b"\n"
    descriptor = os.open(os.environ[RECORD_FILE], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def returned(state: State[Any]) -> None:
    """Record that a caller got the final state of a run."""
    record("returned", str(state.id), state.name)


def body() -> None:
    """Record that the body of the present run executes."""
    facts = runtime.task_run if runtime.task_run.id else runtime.flow_run
    passing("body before")
    record("body", facts.id, facts.run_count)
    passing("body after")


# -- hooks ---------------------------------------------------------------------------------------


def called(name: str, run: Any, state: State[Any]) -> None:
    """Record that a hook was called."""
    passing("hook before")
    record("hook", name, str(run.id), str(state.id), runtime.hook.delivery_id, runtime.hook.attempt)
    passing("hook after")


def ran(definition: Any, run: Any, state: State[Any]) -> None:
    called("ran", run, state)


def done(definition: Any, run: Any, state: State[Any]) -> None:
    called("done", run, state)


async def adone(definition: Any, run: Any, state: State[Any]) -> None:
    await asyncio.sleep(0)
    called("adone", run, state)
    await asyncio.sleep(0)


def failed(definition: Any, run: Any, state: State[Any]) -> None:
    called("failed", run, state)


async def afailed(definition: Any, run: Any, state: State[Any]) -> None:
    called("afailed", run, state)
    await asyncio.sleep(0)


def stopping(definition: Any, run: Any, state: State[Any]) -> None:
    called("stopping", run, state)


def crashed(definition: Any, run: Any, state: State[Any]) -> None:
    called("crashed", run, state)


async def acrashed(definition: Any, run: Any, state: State[Any]) -> None:
    await asyncio.sleep(0)
    called("acrashed", run, state)


def waiting(definition: Any, run: Any, state: State[Any]) -> None:
    called("waiting", run, state)


def stumbling(definition: Any, run: Any, state: State[Any]) -> None:
    """Fail on the first attempt."""
    called("stumbling", run, state)
    if runtime.hook.attempt == 1:
        raise ValueError("on the first attempt")


def paying(definition: Any, run: Any, state: State[Any]) -> None:
    """Write a row exactly once, in the transaction of the acknowledgement."""
    called("paying", run, state)
    with runtime.hook.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS paid (delivery_id TEXT)")
        passing("paying before")
        connection.execute("INSERT INTO paid VALUES (?)", (runtime.hook.delivery_id,))
        passing("paying after")


@hook(run_type="task", state=["Failed", "Crashed"])
def everywhere(definition: Any, run: Any, state: State[Any]) -> None:
    called("everywhere", run, state)


HOOKS: Final[dict[str, Any]] = {
    "on_running": [ran],
    "on_completion": [done, adone],
    "on_failure": [failed, afailed],
    "on_cancellation": [stopping],
    "on_crashed": [crashed, acrashed],
    "hooks": [Hook(waiting, state="AwaitingRetry")],
}

OWED: Final = {
    "RUNNING": ["ran"],
    "COMPLETED": ["done", "adone"],
    "FAILED": ["failed", "afailed"],
    "CANCELLING": ["stopping"],
    "CRASHED": ["crashed", "acrashed"],
}
"""The hooks that are owed each state type."""


def owed(definition: str, run_type: str, state_type: str, state_name: str) -> list[str]:
    """Return the names of the hooks that are owed a transition."""
    every = list(OWED.get(state_type, []))
    every += ["waiting"] * (state_name == "AwaitingRetry")
    every += ["everywhere"] * (run_type == "task" and state_name in {"Failed", "Crashed"})
    if definition == "shop" and state_type == "COMPLETED":
        every += ["stumbling", "paying"]

    return every


# -- flows and tasks -----------------------------------------------------------------------------


@task(**HOOKS)
def step(number: int = 0) -> int:
    body()

    return number + 1


@task(retries=1, **HOOKS)
def second_time() -> None:
    body()
    if runtime.task_run.run_count == 1:
        raise ValueError("not the first time")


@task(**HOOKS)
def broken() -> None:
    body()
    raise ValueError("never")


@flow(**HOOKS)
def etl(number: int = 0) -> int:
    body()

    return number


@flow(**HOOKS)
def unlucky() -> None:
    body()
    broken()


@flow(**HOOKS)
def parent() -> int:
    body()

    return etl(1) + step(1)


@flow(**HOOKS)
def submitting() -> list[int]:
    body()

    return [future.result() for future in [step.submit(1), step.submit(2)]]


@flow(**HOOKS)
def stopped() -> None:
    body()
    cancel(runtime.flow_run.id or "")
    asyncio.run(asyncio.sleep(30))


@flow(**HOOKS)
def counting() -> Iterator[int]:
    body()
    yield step(0)
    body()
    yield 2


@flow(
    **{
        **HOOKS,
        "on_completion": [
            *HOOKS["on_completion"],
            Hook(stumbling, retries=5, retry_delay_seconds=0.01),
            Hook(paying, retries=5),
        ],
    }
)
def shop() -> None:
    body()


@task(**HOOKS)
async def astep(number: int = 0) -> int:
    body()
    await asyncio.sleep(0)

    return number + 1


@task(retries=1, **HOOKS)
async def asecond_time() -> None:
    body()
    if runtime.task_run.run_count == 1:
        raise ValueError("not the first time")


@flow(**HOOKS)
async def aetl(number: int = 0) -> int:
    body()
    await asyncio.sleep(0)

    return number


@flow(**HOOKS)
async def aparent() -> int:
    body()

    return await aetl(1) + await astep(1) + step(2)


@flow(**HOOKS)
async def asubmitting() -> list[int]:
    body()

    return [await future for future in [astep.submit(1), astep.submit(2), step.submit(3)]]


@flow(**HOOKS)
async def acounting() -> AsyncIterator[int]:
    body()
    yield await astep(0)
    yield 2


# -- workloads -----------------------------------------------------------------------------------


def asynchronous(definition: Any) -> None:
    async def main() -> None:
        returned(await definition(return_state=True))

    asyncio.run(main())


async def _gathered() -> None:
    every = (aparent(return_state=True), aetl(return_state=True), asecond_time(return_state=True))
    for state in await asyncio.gather(*every):
        returned(state)


async def _consumed() -> None:
    assert [number async for number in acounting()] == [1, 2]


def consumed() -> None:
    assert list(counting()) == [1, 2]


def by_value() -> None:
    """Call a flow and hooks that no other process can import."""

    def local_hook(name: str) -> Hook:
        return Hook(lambda _, run, state: called(name, run, state), id=f"value:{name}")

    @flow(
        on_running=[local_hook("ran")],
        on_completion=[local_hook("done"), local_hook("adone")],
        on_crashed=[local_hook("crashed"), local_hook("acrashed")],
    )
    def local() -> None:
        body()

    returned(local(return_state=True))


def forking() -> None:
    """Run a flow, then another one in this process and in a forked child at the same time."""
    returned(etl(1, return_state=True))
    child = os.fork()
    returned(parent(return_state=True))
    if child:
        os.waitpid(child, 0)


def at_full_speed(seed: int) -> None:
    """Run workloads at random, until the process is killed or a few hundred have ended."""
    generator = random.Random(seed)
    workloads = [*WORKLOADS.values()]
    for _ in range(300):
        generator.choice(workloads)()


WORKLOADS: Final[dict[str, Callable[[], None]]] = {
    "flow": lambda: returned(etl(return_state=True)),
    "task": lambda: returned(second_time(return_state=True)),
    "failing flow": lambda: returned(unlucky(return_state=True)),
    "subflow": lambda: returned(parent(return_state=True)),
    "submitted": lambda: returned(submitting(return_state=True)),
    "cancelled": lambda: returned(stopped(return_state=True)),
    "generator": consumed,
    "retries of a hook": lambda: returned(shop(return_state=True)),
    "async flow": lambda: asynchronous(aetl),
    "async task": lambda: asynchronous(asecond_time),
    "async subflow": lambda: asynchronous(aparent),
    "async submitted": lambda: asynchronous(asubmitting),
    "async generator": lambda: asyncio.run(_consumed()),
    "gathered": lambda: asyncio.run(_gathered()),
}
"""The workloads that are explored point by point, and run at random at full speed."""

OTHERS: Final[dict[str, Callable[[], None]]] = {
    "hooks by value": by_value,
    "forking": forking,
}
"""The workloads that are explored with guardians only, as hooks by value do not outlive them."""
