"""The journal in force is opened for reading: flushed first, and never made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from eventflow import flow
from eventflow.client import Client, get_client

T = TypeVar("T")


def read(query: Callable[[Client], Awaitable[T]]) -> T:
    """Run one query of a client."""

    async def main() -> T:
        async with get_client() as client:
            return await query(client)

    return asyncio.run(main())


def test_without_a_journal_there_are_no_runs_and_none_is_made(folder: Path) -> None:
    """No home either; and there is no run to cancel."""
    assert read(lambda client: client.read_flow_runs()) == []
    assert read(lambda client: client.read_task_run(uuid4())) is None
    assert read(lambda client: client.read_events()) == []
    assert read(lambda client: client.read_deliveries()) == []
    assert read(lambda client: client.cancel(uuid4())) is False
    assert not folder.exists()


def test_the_lines_of_this_process_are_flushed_first(
    eventflow_isolated: object,
) -> None:
    """A run that has just ended is read with all its events."""

    @flow
    def quick() -> int:
        return 7

    quick()
    (run,) = read(lambda client: client.read_flow_runs())
    assert (run.flow_name, run.state_name) == ("quick", "Completed")
    events = read(lambda client: client.read_events(run_id=run.id))
    assert [event.to_state.name for event in events] == ["Pending", "Running", "Completed"]
