"""Flushing returns nothing, from sync and from async code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import assert_type

from eventflow import get_client
from eventflow.testing import flush


def test_flushing() -> None:
    """A function without arguments, and its async twin."""
    assert_type(flush, Callable[[], None])

    async def main() -> None:
        async with get_client() as client:
            task = asyncio.create_task(client.flush())
            assert_type(task, asyncio.Task[None])
            await task

    asyncio.run(main())
