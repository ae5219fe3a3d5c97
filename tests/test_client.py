"""The client: reading and deleting saved blocks from async code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from eventflow.blocks import JSON, Secret, String
from eventflow.client import get_client
from eventflow.errors import BlockNotFoundError, HomeError
from eventflow.settings import EVENTFLOW_HOME, EVENTFLOW_SECRET_KEY, temporary_settings


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
