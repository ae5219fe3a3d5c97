"""`Client`: queries of blocks, runs, events, logs and deliveries; requests for cancellation."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar
from uuid import UUID

from anyio import to_thread

from eventflow.blockstore import StoredBlock, open_store
from eventflow.client.archive import Archive, RunTransition
from eventflow.client.journals import opened_journal
from eventflow.client.records import (
    DeliveryRecord,
    FailingHook,
    FlowRunRecord,
    LogRecord,
    RunRecord,
    TaskRunRecord,
)
from eventflow.client.run_logs import RunLogs, level_of
from eventflow.client.timeline import past_of
from eventflow.eventbus.selections import States
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.interrupts.cancellation import cancel
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.settings import EVENTFLOW_HOME, home
from eventflow.states import StateType
from eventflow.wiring import check_flushable, flush

__all__ = ["BlockDocument", "Client", "get_client", "selected_states"]

T = TypeVar("T")

LIMIT: Final = 200
"""How many records are read by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDocument:
    """A saved block for display: every secret in `data` is masked; times are in UTC."""

    id: UUID
    name: str
    block_type_slug: str
    data: Mapping[str, Any]
    created: datetime
    updated: datetime


class Client:
    """Reads blocks, runs, events, logs and deliveries, and requests cancellations.

    Made by `get_client`. Lines of this process that are not in the journal yet are flushed before
    it is read. Where there is no journal yet there are no runs; reading makes none.

    Every method that reads the journal raises `JournalError` if it cannot be reached.
    """

    # -- blocks -----------------------------------------------------------------------------

    async def read_block_document_by_name(self, name: str, block_type_slug: str) -> BlockDocument:
        """Return the block of that name and type.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be read.
        """
        return _document(await to_thread.run_sync(lambda: open_store().get(block_type_slug, name)))

    async def read_block_documents(self, block_type_slug: str | None = None) -> list[BlockDocument]:
        """Return all blocks, or all of one type, ordered by type and name.

        Raises:
            StoreError: the store cannot be read.
        """
        stored = await to_thread.run_sync(lambda: open_store().every(block_type_slug))
        return [_document(block) for block in stored]

    async def delete_block_document(self, block_document_id: UUID) -> None:
        """Delete the block with that id.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be written.
        """
        await to_thread.run_sync(lambda: open_store().remove(block_document_id))

    # -- runs -------------------------------------------------------------------------------

    async def read_flow_run(self, flow_run_id: UUID | str) -> FlowRunRecord | None:
        """Return a flow run as it stands now; None if the journal has none of that id.

        Raises:
            ValueError: the id is no UUID.
        """
        record = await self._run(flow_run_id)
        return record if isinstance(record, FlowRunRecord) else None

    async def read_task_run(self, task_run_id: UUID | str) -> TaskRunRecord | None:
        """Return a task run as it stands now; None if the journal has none of that id.

        Raises:
            ValueError: the id is no UUID.
        """
        record = await self._run(task_run_id)
        return record if isinstance(record, TaskRunRecord) else None

    async def read_flow_runs(
        self,
        *,
        name: str | None = None,
        flow_name: str | None = None,
        state: States = None,
        unfinished: bool = False,
        parent_run_id: UUID | str | None = None,
        since: datetime | None = None,
        limit: int = LIMIT,
    ) -> list[FlowRunRecord]:
        """Return flow runs, newest first, at most `limit`.

        `name` is that of the run, `flow_name` a pattern with `*` and `?`, `state` a name, a type
        or several of either; `parent_run_id` selects the subflows that one run called itself;
        `since` is when the run was made, at the earliest.
        """
        query = RunQuery(
            run_type="flow",
            name=name,
            definition=flow_name,
            parent_run_id=_uuid(parent_run_id),
            **selected_states(state),
            unfinished=unfinished,
            since=since,
            limit=limit,
        )
        records = await self._runs(query)
        return [record for record in records if isinstance(record, FlowRunRecord)]

    async def read_task_runs(
        self,
        *,
        name: str | None = None,
        task_name: str | None = None,
        state: States = None,
        unfinished: bool = False,
        flow_run_id: UUID | str | None = None,
        since: datetime | None = None,
        limit: int = LIMIT,
    ) -> list[TaskRunRecord]:
        """Return task runs, newest first, at most `limit`; keywords as for `read_flow_runs`.

        `flow_run_id` selects those that belong to one flow run, not those of its subflows.
        """
        query = RunQuery(
            run_type="task",
            name=name,
            definition=task_name,
            flow_run_id=_uuid(flow_run_id),
            **selected_states(state),
            unfinished=unfinished,
            since=since,
            limit=limit,
        )
        records = await self._runs(query)
        return [record for record in records if isinstance(record, TaskRunRecord)]

    async def _runs(self, query: RunQuery) -> list[RunRecord]:
        nothing: list[RunRecord] = []
        return await _read(lambda archive: archive.runs(query), nothing)

    async def _run(self, run_id: UUID | str) -> RunRecord | None:
        key = UUID(str(run_id))
        return await _read(lambda archive: archive.run(key), None)

    # -- events and deliveries --------------------------------------------------------------

    async def read_events(
        self,
        *,
        run_id: UUID | str | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[RunTransition]:
        """Return the transitions of one run, or of all, in the order in which they happened.

        They are the events that were published, without the live run; events of your own are left
        out. `since` is when they occurred, at the earliest; at most `limit` of them, the earliest.
        """
        key = _uuid(run_id)
        return await _read(lambda archive: _events(archive, key, since, limit), [])

    async def read_deliveries(
        self,
        *,
        run_id: UUID | str | None = None,
        status: str | Iterable[str] | None = None,
        hook: str | None = None,
        limit: int = LIMIT,
    ) -> list[DeliveryRecord]:
        """Return hooks' deliveries, ordered by run, by event and by hook, at most `limit`.

        `status` is one or several of pending, running, delivered, failed, dead; `hook` a pattern
        over the hooks' identities.

        Raises:
            ValueError: there is no such status.
        """
        statuses = [status] if isinstance(status, str) else status or ()
        query = DeliveryQuery(
            run_id=_uuid(run_id),
            statuses=tuple(map(DeliveryStatus, statuses)),
            hook=hook,
            limit=limit,
        )
        return await _read(lambda archive: archive.deliveries(query), [])

    async def read_logs(
        self,
        run_id: UUID | str,
        *,
        own: bool = False,
        level: int | str = 0,
        limit: int | None = None,
    ) -> list[LogRecord]:
        """Return the lines that were logged in a run and in all that it called, in order of time.

        With `own` only those of the run itself; `level` is the lowest, as `logging` has it; at most
        `limit` of them, the latest. Of a run that logs much the first and the last lines are kept.

        Raises:
            ValueError: the id is no UUID, or there is no such level.
        """
        key, lowest = UUID(str(run_id)), level_of(level)

        def read(archive: Archive) -> list[LogRecord]:
            return [*deque(RunLogs(archive, key, own=own, level=lowest).lines(), limit)]

        return await _read(read, [])

    async def read_failing_hooks(self) -> list[FailingHook]:
        """Return the hooks that fail: whose last deliveries are all dead; the last one first."""
        nothing: list[FailingHook] = []
        return await _read(lambda archive: archive.failing_hooks(), nothing)

    # -- writing ----------------------------------------------------------------------------

    async def flush(self) -> None:
        """Return when all that happened on the bus in force is in the journal.

        As `eventflow.testing.flush`, without blocking the event loop. Queries need no call of it.

        Raises:
            JournalError: the journal cannot be written, or this is called in a transaction of a
                hook's own.
        """
        # Here: the thread that flushes is in no transaction, and would wait for this one.
        check_flushable()
        await to_thread.run_sync(flush)

    # -- cancelling -------------------------------------------------------------------------

    async def cancel(self, run_id: UUID | str) -> bool:
        """Request the cancellation of a run, wherever it is executed; does not wait for it.

        Returns False if there is no such run, if it has ended, or if it is executed in this process
        and is being cancelled already.

        Raises:
            ValueError: the id is no UUID.
            JournalError: the journal cannot be reached.
        """
        return await to_thread.run_sync(cancel, run_id)


@asynccontextmanager
async def get_client() -> AsyncIterator[Client]:
    """Open a client on the home and the journal in force, for an `async with` block.

    Raises:
        HomeError: the home cannot be used.
    """
    await to_thread.run_sync(_check_home)
    yield Client()


def _check_home() -> None:
    # A client makes no home.
    if os.path.lexists(EVENTFLOW_HOME.value()):
        home()


async def _read(query: Callable[[Archive], T], default: T) -> T:
    def read() -> T:
        with opened_journal() as journal:
            return default if journal is None else query(Archive(journal))

    return await to_thread.run_sync(read)


def _events(
    archive: Archive, run_id: UUID | None, since: datetime | None, limit: int | None
) -> list[RunTransition]:
    if run_id is None:
        return [*islice(past_of(archive, since), limit)]
    events = archive.events(run_id)

    return [event for event in events if since is None or event.occurred >= since][:limit]


def selected_states(state: States) -> dict[str, Any]:
    """Split states into the types and the names that a `RunQuery` takes."""
    given = [state] if isinstance(state, str) else list(state or ())

    return {
        "state_types": tuple(state for state in given if isinstance(state, StateType)),
        "state_names": tuple(state for state in given if not isinstance(state, StateType)),
    }


def _uuid(value: UUID | str | None) -> UUID | None:
    return UUID(value) if isinstance(value, str) else value


def _document(block: StoredBlock) -> BlockDocument:
    return BlockDocument(
        id=block.id,
        name=block.name,
        block_type_slug=block.slug,
        data=block.data,
        created=block.created,
        updated=block.updated,
    )
