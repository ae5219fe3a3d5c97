"""Tasks to submit."""

from __future__ import annotations

import asyncio
from typing import Any

from eventflow import task


@task
def add(number: Any, other: Any = 1) -> int:
    result: int = number + other
    return result


@task
async def aadd(number: Any, other: int = 1) -> int:
    await asyncio.sleep(0)
    result: int = number + other
    return result


@task
def fail(message: str = "failed") -> int:
    raise ValueError(message)


@task
async def wait_forever() -> None:
    await asyncio.sleep(3600)
