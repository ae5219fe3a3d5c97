"""The client reads blocks, runs, events and deliveries, and requests cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from pydantic import ValidationError

from eventflow.blocks import JSON, Secret, String
from eventflow.client import Client, get_client
from eventflow.errors import BlockNotFoundError, HomeError
from eventflow.events import parse
from eventflow.journal import open_journal
from eventflow.settings import (
    EVENTFLOW_HOME,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_SECRET_KEY,
    temporary_settings,
)
from eventflow.states import StateType
from eventflow.states.records import ErrorInfo
from tests.cli.sample_journal import OWNER, Sample, fill
from tests.journal.rows import commit, forget, own_event

T = TypeVar("T")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Set a home of its own for each test."""
    with temporary_settings({EVENTFLOW_HOME: tmp_path / "home", EVENTFLOW_SECRET_KEY: None}):
        yield tmp_path / "home"


def test_a_block_is_read_and_deleted_as_in_the_documentation() -> None:
    """As in the clean-up of the example: load, read the document, delete it by its id."""

    async def main() -> None:
        saved = String(value="job").save(name="noisy-flow-cloud-run-job", overwrite=True)
        assert (await String.load(name="noisy-flow-cloud-run-job")).value == "job"
        async with get_client() as client:
            document = await client.read_block_document_by_name(
                "noisy-flow-cloud-run-job", block_type_slug="string"
            )
            assert document.id == saved
            await client.delete_block_document(document.id)
            assert await client.read_block_documents() == []

    asyncio.run(main())


def test_a_document_has_its_secrets_masked() -> None:
    """And is read without any key."""

    async def main() -> None:
        Secret("hush").save("s")
        (EVENTFLOW_HOME.value() / "secret.key").unlink()
        async with get_client() as client:
            document = await client.read_block_document_by_name("s", block_type_slug="secret")

        assert (document.name, document.block_type_slug) == ("s", "secret")
        assert document.data == {"value": "********"}
        assert document.created == document.updated
        assert document.created.utcoffset() == timedelta(0)
        assert "hush" not in repr(document)
        with pytest.raises(FrozenInstanceError):
            document.name = "t"  # type: ignore[misc]

    asyncio.run(main())


def test_documents_are_listed_by_type_and_name() -> None:
    """All of them, or those of one type."""

    async def main() -> None:
        String("x").save("b")
        String("x").save("a")
        JSON(1).save("c")
        async with get_client() as client:
            every = await client.read_block_documents()
            strings = await client.read_block_documents(block_type_slug="string")

        assert [document.name for document in every] == ["c", "a", "b"]
        assert [document.name for document in strings] == ["a", "b"]

    asyncio.run(main())


def test_an_unknown_block_is_an_error_with_the_nearest_name() -> None:
    """By name and by id."""

    async def main() -> None:
        saved = String("x").save("alpha")
        async with get_client() as client:
            with pytest.raises(BlockNotFoundError, match="Did you mean 'alpha'"):
                await client.read_block_document_by_name("alhpa", block_type_slug="string")

            with pytest.raises(BlockNotFoundError, match=str(saved)):
                await client.delete_block_document(uuid4())

    asyncio.run(main())


def test_a_home_that_cannot_be_used_is_an_error(folder: Path) -> None:
    """A file in place of the folder."""
    folder.touch()

    async def main() -> None:
        with pytest.raises(HomeError):
            async with get_client():
                pass

    asyncio.run(main())


# -- runs, events, deliveries -------------------------------------------------------------------


@pytest.fixture
def sample(folder: Path) -> Iterator[Sample]:
    """Fill the journal of the home with sample runs."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    yield fill(journal)
    journal.close()


def read(query: Callable[[Client], Awaitable[T]]) -> T:
    """Run one query of a client."""

    async def main() -> T:
        async with get_client() as client:
            return await query(client)

    return asyncio.run(main())


def test_a_run_is_read_as_of_its_last_transition(sample: Sample) -> None:
    """Typed and frozen; a flow run is no task run."""
    run = read(lambda client: client.read_flow_run(str(sample.failed)))
    assert run is not None
    assert (run.id, run.name, run.flow_name) == (sample.failed, "brave-otter", "etl")
    assert (run.state_type, run.state_name) == (StateType.FAILED, "Failed")
    assert run.parameters == {"day": "2026-01-31", "limit": 10}
    assert (run.tags, run.run_count, run.is_finished) == (("eu", "prod"), 2, True)
    assert run.total_run_time == timedelta(seconds=2)
    assert run.created.utcoffset() == timedelta(0)
    with pytest.raises(ValidationError, match="frozen"):
        run.name = "other"  # type: ignore[misc]
    task = read(lambda client: client.read_task_run(sample.tasks[0]))
    assert task is not None
    assert (task.task_name, task.flow_run_id) == ("extract", sample.failed)
    assert task.state.state_details.task_run_id == task.id
    assert (run.state.state_details.flow_run_id, task.state.state_details.flow_run_id) == (
        *(sample.failed, sample.failed),
    )
    assert read(lambda client: client.read_task_run(sample.failed)) is None
    with pytest.raises(ValueError, match="badly formed"):
        read(lambda client: client.read_flow_run("brave-otter"))


def test_runs_are_selected_by_keyword(sample: Sample) -> None:
    """Newest first; a state is a name, a type, or several."""

    def names(**filters: Any) -> list[str]:
        return [run.name for run in read(lambda client: client.read_flow_runs(**filters))]

    assert names() == ["quick-hare", "brave-otter", "hidden-lynx"]
    assert names(state=StateType.RUNNING) == names(unfinished=True) == ["quick-hare"]
    assert names(state=["Failed", StateType.COMPLETED]) == ["brave-otter", "hidden-lynx"]
    assert names(flow_name="e*") == names(name="brave-otter") == ["brave-otter"]
    assert names(limit=1) == ["quick-hare"]
    assert names(since=datetime.now(UTC) - timedelta(hours=1)) == ["quick-hare", "brave-otter"]
    assert names(parent_run_id=sample.failed) == []
    tasks = read(lambda client: client.read_task_runs(flow_run_id=sample.failed, state="Failed"))
    assert [task.id for task in tasks] == [sample.tasks[1]]
    assert len(read(lambda client: client.read_task_runs(task_name="extract"))) == 2


def test_events_are_those_that_were_published(sample: Sample) -> None:
    """Those of one run or of all, in order; JSON restores them."""
    events = read(lambda client: client.read_events(run_id=sample.failed))
    assert [event.to_state.name for event in events][-2:] == ["Retrying", "Failed"]
    assert parse(events[-1].model_dump_json()) == events[-1]
    assert read(lambda client: client.read_events(run_id=sample.failed, limit=2)) == events[:2]
    every = read(lambda client: client.read_events())
    assert len(every) == 18
    since = datetime.now(UTC) - timedelta(minutes=2)
    recent = read(lambda client: client.read_events(since=since))
    assert {event.run_id for event in recent} == {sample.running}


def test_all_events_are_read_in_the_order_of_time(sample: Sample) -> None:
    """Those of long ago, which come from the runs; events of one's own are left out."""
    forget(sample.journal)
    commit(sample.journal, own_event())
    every = read(lambda client: client.read_events())
    times = [event.occurred for event in every]
    assert len(every) == 18
    assert times == sorted(times)
    assert {event.run_id for event in every[:3]} == {sample.old}
    assert read(lambda client: client.read_events(limit=4)) == every[:4]
    assert read(lambda client: client.read_events(since=times[3])) == every[3:]
    assert every[7] in read(lambda client: client.read_events(run_id=every[7].run_id))


def test_events_are_read_from_every_journal(postgres_url: str) -> None:
    """Also from one in PostgreSQL."""
    with temporary_settings({EVENTFLOW_JOURNAL_URL: postgres_url}):
        journal = open_journal(postgres_url)
        sample = fill(journal)
        forget(journal)
        every = read(lambda client: client.read_events())
        journal.close()
    assert len(every) == 18
    assert [event.sequence for event in every if event.run_id == sample.failed] == [*range(5)]


def test_deliveries_are_read_with_their_run_and_state(sample: Sample) -> None:
    """In the order of their events."""
    deliveries = read(lambda client: client.read_deliveries(run_id=sample.failed))
    assert [delivery.hook for delivery in deliveries] == [
        "alerts:begun",
        "alerts:page",
        "alerts:<lambda>",
    ]
    (dead,) = read(lambda client: client.read_deliveries(status="dead"))
    assert (dead.attempts, dead.state_name, dead.run_name) == (3, "Failed", "brave-otter")
    assert isinstance(dead.error, ErrorInfo)
    assert len(read(lambda client: client.read_deliveries(status=["dead", "delivered"]))) == 3
    assert len(read(lambda client: client.read_deliveries(hook="*lambda*"))) == 1
    with pytest.raises(ValueError, match="gone"):
        read(lambda client: client.read_deliveries(status="gone"))


def test_a_cancellation_is_requested(sample: Sample) -> None:
    """Of a run in any process, unless it has ended."""
    assert read(lambda client: client.cancel(sample.running)) is True
    assert sample.journal.cancels(OWNER) == [sample.running]
    assert read(lambda client: client.cancel(str(sample.failed))) is False
