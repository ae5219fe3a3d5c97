"""What the processes do that are killed: runs of every kind, with hooks on every transition.

Every body, every hook and whoever called says in a file what came to pass; a line that is there
has happened, whatever became of its writer.
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

TOLD: Final = "CRASH_TOLD"
"""The environment variable that names the file."""


def tell(*facts: object) -> None:
    """Add a line to the file, whole and at once."""
    line = json.dumps([*facts, os.getpid()]).encode() + b"\n"
    descriptor = os.open(os.environ[TOLD], os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def saw(state: State[Any]) -> None:
    """Say that a caller was given the end of a run."""
    tell("saw", str(state.id), state.name)


def body() -> None:
    """Say that the body of the run in force executes."""
    facts = runtime.task_run if runtime.task_run.id else runtime.flow_run
    passing("body before")
    tell("body", facts.id, facts.run_count)
    passing("body after")


# -- hooks ---------------------------------------------------------------------------------------


def heard(name: str, run: Any, state: State[Any]) -> None:
    """Say that a hook was called."""
    passing("hook before")
    tell("hook", name, str(run.id), str(state.id), runtime.hook.delivery_id, runtime.hook.attempt)
    passing("hook after")


def ran(definition: Any, run: Any, state: State[Any]) -> None:
    heard("ran", run, state)


def done(definition: Any, run: Any, state: State[Any]) -> None:
    heard("done", run, state)


async def adone(definition: Any, run: Any, state: State[Any]) -> None:
    await asyncio.sleep(0)
    heard("adone", run, state)
    await asyncio.sleep(0)


def failed(definition: Any, run: Any, state: State[Any]) -> None:
    heard("failed", run, state)


async def afailed(definition: Any, run: Any, state: State[Any]) -> None:
    heard("afailed", run, state)
    await asyncio.sleep(0)


def stopping(definition: Any, run: Any, state: State[Any]) -> None:
    heard("stopping", run, state)


def crashed(definition: Any, run: Any, state: State[Any]) -> None:
    heard("crashed", run, state)


async def acrashed(definition: Any, run: Any, state: State[Any]) -> None:
    await asyncio.sleep(0)
    heard("acrashed", run, state)


def waiting(definition: Any, run: Any, state: State[Any]) -> None:
    heard("waiting", run, state)


def stumbling(definition: Any, run: Any, state: State[Any]) -> None:
    """Fail at the first attempt."""
    heard("stumbling", run, state)
    if runtime.hook.attempt == 1:
        raise ValueError("once is never")


def paying(definition: Any, run: Any, state: State[Any]) -> None:
    """Write a row exactly once, in the transaction of the acknowledgement."""
    heard("paying", run, state)
    with runtime.hook.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS paid (delivery_id TEXT)")
        passing("paying before")
        connection.execute("INSERT INTO paid VALUES (?)", (runtime.hook.delivery_id,))
        passing("paying after")


@hook(run_type="task", state=["Failed", "Crashed"])
def everywhere(definition: Any, run: Any, state: State[Any]) -> None:
    heard("everywhere", run, state)


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
"""What the states of a type are to be heard by."""


def owed(definition: str, run_type: str, state_type: str, state_name: str) -> list[str]:
    """Give the names of the hooks that must hear of a transition."""
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
def above() -> int:
    body()

    return etl(1) + step(1)


@flow(**HOOKS)
def submitting() -> list[int]:
    body()

    return [one.result() for one in [step.submit(1), step.submit(2)]]


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
async def aabove() -> int:
    body()

    return await aetl(1) + await astep(1) + step(2)


@flow(**HOOKS)
async def asubmitting() -> list[int]:
    body()

    return [await one for one in [astep.submit(1), astep.submit(2), step.submit(3)]]


@flow(**HOOKS)
async def acounting() -> AsyncIterator[int]:
    body()
    yield await astep(0)
    yield 2


# -- what a process does -------------------------------------------------------------------------


def asynchronous(definition: Any) -> None:
    async def main() -> None:
        saw(await definition(return_state=True))

    asyncio.run(main())


async def _gathered() -> None:
    every = (aabove(return_state=True), aetl(return_state=True), asecond_time(return_state=True))
    for state in await asyncio.gather(*every):
        saw(state)


async def _consumed() -> None:
    assert [number async for number in acounting()] == [1, 2]


def consumed() -> None:
    assert list(counting()) == [1, 2]


def by_value() -> None:
    """Call a flow that no other process can import, nor its hooks."""

    def told(name: str) -> Hook:
        return Hook(lambda _, run, state: heard(name, run, state), id=f"value:{name}")

    @flow(
        on_running=[told("ran")],
        on_completion=[told("done"), told("adone")],
        on_crashed=[told("crashed"), told("acrashed")],
    )
    def local() -> None:
        body()

    saw(local(return_state=True))


def forking() -> None:
    """Run a flow here, and another in a forked child at the same time."""
    saw(etl(1, return_state=True))
    child = os.fork()
    saw(above(return_state=True))
    if child:
        os.waitpid(child, 0)


def at_full_speed(seed: int) -> None:
    """Run whatever comes, until the process is killed or a few hundred have ended."""
    chance = random.Random(seed)
    kinds = [*WORKLOADS.values()]
    for _ in range(300):
        chance.choice(kinds)()


WORKLOADS: Final[dict[str, Callable[[], None]]] = {
    "flow": lambda: saw(etl(return_state=True)),
    "task": lambda: saw(second_time(return_state=True)),
    "failing flow": lambda: saw(unlucky(return_state=True)),
    "subflow": lambda: saw(above(return_state=True)),
    "submitted": lambda: saw(submitting(return_state=True)),
    "cancelled": lambda: saw(stopped(return_state=True)),
    "generator": consumed,
    "retries of a hook": lambda: saw(shop(return_state=True)),
    "async flow": lambda: asynchronous(aetl),
    "async task": lambda: asynchronous(asecond_time),
    "async subflow": lambda: asynchronous(aabove),
    "async submitted": lambda: asynchronous(asubmitting),
    "async generator": lambda: asyncio.run(_consumed()),
    "gathered": lambda: asyncio.run(_gathered()),
}
"""What is explored point by point, and drawn from at full speed."""

OTHERS: Final[dict[str, Callable[[], None]]] = {
    "hooks by value": by_value,
    "forking": forking,
}
"""What is explored with guardians only: hooks by value do not survive them."""
