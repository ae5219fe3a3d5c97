"""The traceback of an exception that a run raises, as those see it who do not catch it."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

import pytest

import eventflow
from eventflow import flow, task

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def fails() -> None:
    raise ValueError("no")


@flow
def middle() -> None:
    fails()


@flow
def outermost() -> None:
    middle()


@flow
async def amiddle() -> None:
    fails()


@flow
async def aoutermost() -> None:
    await amiddle()


@pytest.mark.parametrize(
    "call", [outermost, lambda: asyncio.run(aoutermost())], ids=["sync", "async"]
)
def test_it_has_the_frames_of_the_users_code(call: Any) -> None:
    """Of eventflow it has those of the outermost call only, however deep the runs are nested."""
    with pytest.raises(ValueError, match="no") as raised:
        call()
    frames = traceback.extract_tb(raised.value.__traceback__)
    (package,) = eventflow.__path__
    own = [frame.name.lstrip("a") for frame in frames if frame.filename == __file__]
    assert own[-3:] == ["outermost", "middle", "fails"]
    inner = [frame.filename for frame in frames[-3:]]
    assert inner == [__file__] * 3
    assert sum(frame.filename.startswith(package) for frame in frames) < 6
