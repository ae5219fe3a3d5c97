"""How many functions of the package a call goes through: a reader has to follow them all."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import eventflow
from eventflow import flow, task
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated

PACKAGE = f"{Path(eventflow.__file__).parent}/"
CALLS_BEFORE = 3
"""After so many calls everything is made that is made once, and nothing is counted by chance."""


@pytest.fixture(autouse=True)
def without_journal() -> Iterator[None]:
    with temporary_settings({EVENTFLOW_DURABILITY: "off"}), isolated():
        yield


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count by function how often one of the package's own is entered, also a generator again."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls[f"{code.co_filename.removeprefix(PACKAGE)}: {code.co_qualname}"] += 1

    before = sys.getprofile()
    gc.disable()  # a finalizer would count as well
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(before)
        gc.enable()


def check(calls: Counter[str], most: int) -> None:
    listed = "\n".join(f"{count:4} {function}" for function, count in calls.most_common())
    assert 0 < calls.total() <= most, f"{calls.total()} calls instead of {most}:\n{listed}"


def hook(*_: object) -> None: ...


@task(on_completion=[hook])
def hooked() -> None: ...


@task
def plain() -> None: ...


@pytest.mark.parametrize(("called", "most"), [(hooked, 95), (plain, 70)], ids=["hook", "no hook"])
def test_a_sync_task_call(called: Callable[[], object], most: int) -> None:
    """Within a flow, the journal off. What adds a call adds it to every task call of every user.

    If it has to, for what users get by it, the number may rise. It does not depend on the machine,
    as a time would, and on the version of Python only by a few.
    """

    @flow
    def calling() -> Counter[str]:
        for _ in range(CALLS_BEFORE):
            called()
        with counted() as calls:
            called()
        return calls

    check(calling(), most)


@pytest.mark.parametrize("called", [hooked, plain], ids=["hook", "no hook"])
def test_what_the_journal_adds(called: Callable[[], object], tmp_path: Path) -> None:
    """To a sync task call within a flow: fifteen at most."""

    @flow
    def calling() -> Counter[str]:
        every: list[Counter[str]] = []
        for _ in range(CALLS_BEFORE + 3):
            with counted() as calls:
                called()
            every.append(calls)
        # Now and then a call has to wake the thread that commits.
        return min(every, key=Counter.total)

    without = calling()
    journal = f"sqlite:///{tmp_path}/journal.db"
    with (
        temporary_settings({EVENTFLOW_DURABILITY: "process", EVENTFLOW_JOURNAL_URL: journal}),
        isolated(),
    ):
        check(calling(), without.total() + 15)


def test_an_async_task_call() -> None:
    """As for a sync one. With a hook it would depend on how often the event loop wakes it."""

    @task
    async def aplain() -> None: ...

    @flow
    async def calling() -> Counter[str]:
        for _ in range(CALLS_BEFORE):
            await aplain()
        with counted() as calls:
            await aplain()
        return calls

    check(asyncio.run(calling()), 75)
