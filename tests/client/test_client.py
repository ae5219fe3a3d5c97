"""The client: blocks, runs, events and deliveries, read and steered from async code."""

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

from eventflow import flow
from eventflow.blocks import JSON, Secret, String
from eventflow.client import Client, get_client
from eventflow.errors import BlockNotFoundError, HomeError
from eventflow.events import parse
from eventflow.journal import open_journal
from eventflow.primitives.records import ErrorInfo
from eventflow.settings import (
    EVENTFLOW_HOME,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_SECRET_KEY,
    temporary_settings,
)
from eventflow.states import StateType
from tests.cli.story import OWNER, Story, written

T = TypeVar("T")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give each test a home of its own."""
    with temporary_settings({EVENTFLOW_HOME: tmp_path / "home", EVENTFLOW_SECRET_KEY: None}):
        yield tmp_path / "home"


def test_a_block_is_read_and_deleted_as_in_the_documentation() -> None:
    """The clean-up of the example: load, read the document, delete it by its id."""

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


def test_a_document_shows_all_but_the_secrets() -> None:
    """Masked, and read without any key."""

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

        assert [one.name for one in every] == ["c", "a", "b"]
        assert [one.name for one in strings] == ["a", "b"]

    asyncio.run(main())


def test_what_is_missing_is_an_error_that_says_what_there_is() -> None:
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
def story(folder: Path) -> Iterator[Story]:
    """Give a journal with a story in it."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
    yield written(journal)
    journal.close()


def ask(question: Callable[[Client], Awaitable[T]]) -> T:
    """Ask one question of a client."""

    async def main() -> T:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(main())


def test_without_a_journal_there_are_no_runs_and_none_is_made(folder: Path) -> None:
    """Reading leaves no trace; steering finds nothing to steer."""
    assert ask(lambda client: client.read_flow_runs()) == []
    assert ask(lambda client: client.read_task_run(uuid4())) is None
    assert ask(lambda client: client.read_events()) == []
    assert ask(lambda client: client.read_deliveries()) == []
    assert ask(lambda client: client.cancel(uuid4())) is False
    assert not folder.exists()


def test_a_run_is_read_as_it_stands(story: Story) -> None:
    """Typed and frozen, with its ids as UUIDs; by the right kind of question only."""
    run = ask(lambda client: client.read_flow_run(str(story.failed)))
    assert run is not None
    assert (run.id, run.name, run.flow_name) == (story.failed, "brave-otter", "etl")
    assert (run.state_type, run.state_name) == (StateType.FAILED, "Failed")
    assert run.parameters == {"day": "2026-01-31", "limit": 10}
    assert (run.tags, run.run_count, run.is_finished) == (("eu", "prod"), 2, True)
    assert run.total_run_time == timedelta(seconds=1.5)
    assert run.created.utcoffset() == timedelta(0)
    with pytest.raises(ValidationError, match="frozen"):
        run.name = "other"  # type: ignore[misc]
    task = ask(lambda client: client.read_task_run(story.tasks[0]))
    assert task is not None
    assert (task.task_name, task.flow_run_id) == ("extract", story.failed)
    assert ask(lambda client: client.read_task_run(story.failed)) is None
    with pytest.raises(ValueError, match="badly formed"):
        ask(lambda client: client.read_flow_run("brave-otter"))


def test_runs_are_selected_by_keyword(story: Story) -> None:
    """Newest first; a state is a name, a type, or several."""

    def names(**wanted: Any) -> list[str]:
        return [one.name for one in ask(lambda client: client.read_flow_runs(**wanted))]

    assert names() == ["quick-hare", "brave-otter", "hidden-lynx"]
    assert names(state=StateType.RUNNING) == names(unfinished=True) == ["quick-hare"]
    assert names(state=["Failed", StateType.COMPLETED]) == ["brave-otter", "hidden-lynx"]
    assert names(flow_name="e*") == names(name="brave-otter") == ["brave-otter"]
    assert names(limit=1) == ["quick-hare"]
    assert names(since=datetime.now(UTC) - timedelta(hours=1)) == ["quick-hare", "brave-otter"]
    assert names(parent_run_id=story.failed) == []
    tasks = ask(lambda client: client.read_task_runs(flow_run_id=story.failed, state="Failed"))
    assert [one.id for one in tasks] == [story.tasks[1]]
    assert len(ask(lambda client: client.read_task_runs(task_name="extract"))) == 2


def test_events_are_those_that_were_published(story: Story) -> None:
    """Of one run or of all, in order, and back from JSON as they were."""
    events = ask(lambda client: client.read_events(run_id=story.failed))
    assert [one.to_state.name for one in events][-2:] == ["Retrying", "Failed"]
    assert parse(events[-1].model_dump_json()) == events[-1]
    assert ask(lambda client: client.read_events(run_id=story.failed, limit=2)) == events[:2]
    every = ask(lambda client: client.read_events())
    assert len(every) == 18
    recent = ask(lambda client: client.read_events(since=datetime.now(UTC) - timedelta(minutes=2)))
    assert {one.run_id for one in recent} == {story.running}


def test_deliveries_are_read_with_what_they_are_for(story: Story) -> None:
    """In the order in which they came to be owed."""
    found = ask(lambda client: client.read_deliveries(run_id=story.failed))
    assert [one.hook for one in found] == ["alerts:begun", "alerts:page", "alerts:<lambda>"]
    (dead,) = ask(lambda client: client.read_deliveries(status="dead"))
    assert (dead.attempts, dead.state_name, dead.run_name) == (3, "Failed", "brave-otter")
    assert isinstance(dead.error, ErrorInfo)
    assert len(ask(lambda client: client.read_deliveries(status=["dead", "delivered"]))) == 3
    assert len(ask(lambda client: client.read_deliveries(hook="*lambda*"))) == 1
    with pytest.raises(ValueError, match="gone"):
        ask(lambda client: client.read_deliveries(status="gone"))


def test_a_cancellation_is_asked_for(story: Story) -> None:
    """Of a run that goes on, wherever it does; not of one that has ended."""
    assert ask(lambda client: client.cancel(story.running)) is True
    assert story.journal.cancels(OWNER) == [story.running]
    assert ask(lambda client: client.cancel(str(story.failed))) is False


def test_what_this_process_has_not_written_yet_is_written_first(
    eventflow_isolated: object,
) -> None:
    """A run that has just ended here is read as it ended, with its events."""

    @flow
    def quick() -> int:
        return 7

    quick()
    (run,) = ask(lambda client: client.read_flow_runs())
    assert (run.flow_name, run.state_name) == ("quick", "Completed")
    events = ask(lambda client: client.read_events(run_id=run.id))
    assert [one.to_state.name for one in events] == ["Pending", "Running", "Completed"]
