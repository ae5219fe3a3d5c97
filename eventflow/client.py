"""The client: reading and deleting, from async code, what eventflow has saved."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from anyio import to_thread

from eventflow.blockstore import BlockStore, StoredBlock, open_store

__all__ = ["BlockDocument", "Client", "get_client"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDocument:
    """A saved block as it may be shown: every secret in `data` is masked; times are in UTC."""

    id: UUID
    name: str
    block_type_slug: str
    data: Mapping[str, Any]
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class Client:
    """Reads and deletes what is saved; made by `get_client`."""

    _blocks: BlockStore

    async def read_block_document_by_name(self, name: str, block_type_slug: str) -> BlockDocument:
        """Give the block of that name and type.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be read.
        """
        return _document(await to_thread.run_sync(self._blocks.get, block_type_slug, name))

    async def read_block_documents(self, block_type_slug: str | None = None) -> list[BlockDocument]:
        """Give all blocks, or all of one type, ordered by type and name.

        Raises:
            StoreError: the store cannot be read.
        """
        stored = await to_thread.run_sync(self._blocks.every, block_type_slug)
        return [_document(block) for block in stored]

    async def delete_block_document(self, block_document_id: UUID) -> None:
        """Delete the block with that id.

        Raises:
            BlockNotFoundError: there is none.
            StoreError: the store cannot be written.
        """
        await to_thread.run_sync(self._blocks.remove, block_document_id)


@asynccontextmanager
async def get_client() -> AsyncIterator[Client]:
    """Open a client on the home in force, for the length of an `async with` block.

    Raises:
        HomeError: the home cannot be used.
    """
    yield Client(open_store())


def _document(block: StoredBlock) -> BlockDocument:
    return BlockDocument(
        id=block.id,
        name=block.name,
        block_type_slug=block.slug,
        data=block.data,
        created=block.created,
        updated=block.updated,
    )
