"""A client flushes the journal from async code, and the event loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from eventflow import EventBus, flow, get_client, runtime, task, use_bus
from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import Isolated


@task
async def work() -> None: ...


async def flush() -> None:
    async with get_client() as client:
        await client.flush()


def states() -> list[str]:
    """Return the states of the runs in the journal, as another process would read them."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value(), "process")
    try:
        return [run.state_name for run in journal.runs(RunQuery())]
    finally:
        journal.close()


def test_what_happened_is_in_the_journal(eventflow_isolated: Isolated) -> None:
    """The run that flushes, and a task that it has awaited."""

    @flow
    async def main() -> None:
        await work()
        await flush()
        assert sorted(states()) == ["Completed", "Running"]

    asyncio.run(main())


def test_the_loop_goes_on_while_another_process_locks_the_journal(
    eventflow_isolated: Isolated,
) -> None:
    """The lock is released by the loop itself, after the flush has begun to wait for it."""
    file = eventflow_isolated.home / "journal.db"

    async def main() -> None:
        await work()
        await flush()
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            async with get_client() as client:
                other.execute("BEGIN IMMEDIATE")
                await work()
                flushing = asyncio.create_task(client.flush())
                await asyncio.sleep(0)  # it begins
                assert not flushing.done()
                other.execute("ROLLBACK")
                await flushing
        assert states() == ["Completed", "Completed"]

    asyncio.run(main())


def test_where_nothing_is_recorded_it_does_nothing(eventflow_isolated: Isolated) -> None:
    """No run has begun on the bus, or the journal is off."""

    async def main() -> None:
        await flush()
        with temporary_settings({EVENTFLOW_DURABILITY: "off"}), use_bus(EventBus()):
            await work()
            await flush()

    asyncio.run(main())
    assert not eventflow_isolated.home.exists()


def test_a_journal_that_cannot_be_written_is_an_error(eventflow_isolated: Isolated) -> None:
    """What happened is kept; a flush after the repair has it written."""
    file = eventflow_isolated.home / "journal.db"

    async def main() -> None:
        file.mkdir(parents=True)
        await work()
        with pytest.raises(JournalError, match="Not all that happened could be written"):
            await flush()
        file.rmdir()
        await flush()
        assert states() == ["Completed"]

    asyncio.run(main())


def test_it_is_refused_in_a_hooks_own_transaction(eventflow_isolated: Isolated) -> None:
    """At once: the thread that flushes would wait for this transaction."""
    seen: list[str] = []

    async def writes(*_: Any) -> None:
        with runtime.hook.transaction() as connection:
            connection.execute("CREATE TABLE mine (what TEXT)")
            with pytest.raises(JournalError, match=r"after the block of `runtime\.hook\.trans"):
                await flush()
        await flush()
        seen.extend(states())

    @flow(on_completion=[writes])
    async def main() -> None: ...

    asyncio.run(main())
    assert seen == ["Completed"]
