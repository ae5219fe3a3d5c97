"""Every view that the benchmarks ask for is answered, and has something to show."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from benchmarks.archives import build
from benchmarks.dashboard import VIEWS, Server, paths, served

RUNS = 400
EMPTY = b"matches"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a journal once."""
    folder = tmp_path_factory.mktemp("archive")
    build(folder, RUNS)

    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Server]:
    with served(home) as server:
        yield server


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_is_answered(name: str, home: Path, server: Server) -> None:
    """But for a text that is nowhere, with what it is asked for."""
    path = paths(home)[name]
    assert server.first_byte(path) > 0

    async def first_part() -> bytes:
        async with aclosing(server.stream(path)) as lines:
            part = b""
            async for line in lines:
                part += line
                if part.startswith(b"HTTP") and b"\nid:" in part and line == b"\n":
                    break
        return part

    part = asyncio.run(first_part())
    assert b"200 OK" in part
    assert (EMPTY in part) is (name == "text")
