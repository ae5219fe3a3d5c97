"""A hook that is left to workers is owed with its transition, and not called here."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook, bus, flow, hook, task
from eventflow.hooks.ledger import WORKERS
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    Setting,
    temporary_settings,
)
from eventflow.testing import capture_events, isolated
from tests.journal.reading import owed, statuses, the_recorder

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

called: list[str] = []


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    called.clear()


def here(_definition: Any, _run: Any, state: Any) -> None:
    """Be called in this process."""
    called.append(f"here {state.name}")


def there(_definition: Any, _run: Any, state: Any) -> None:
    """Be left to workers."""
    called.append(f"there {state.name}")


async def athere(definition: Any, run: Any, state: Any) -> None:
    there(definition, run, state)


LEFT: dict[str, Any] = {"state": ["Running", "Completed"], "where": "worker"}


def test_it_is_owed_and_not_called() -> None:
    """The others are, in their order, with the ordinals that they have without it."""
    hook(run_type="flow", state="Completed", where="worker")(there)
    flow(name="main", hooks=[Hook(there, **LEFT), Hook(here, state="Completed")])(lambda: 1)()

    assert called == ["here Completed"]
    assert statuses() == [
        ("Running", "pending", 0),
        ("Completed", "delivered", 1),
        ("Completed", "pending", 0),
        ("Completed", "pending", 0),
    ]
    assert [row.ordinal for row in owed()] == [WORKERS, 0, WORKERS, WORKERS + 1]
    assert the_recorder().journal.verify() == []


@pytest.mark.parametrize("fn", [there, athere])
def test_in_an_async_run(fn: Any) -> None:
    """Nor is it awaited."""

    @task(hooks=[Hook(fn, **LEFT)])
    async def work() -> None: ...

    asyncio.run(work())

    assert called == []
    assert statuses() == [("Running", "pending", 0), ("Completed", "pending", 0)]


def test_a_bus_explains_it() -> None:
    """With who calls it."""
    main = flow(name="main", hooks=[Hook(there, state="Completed", where="worker")])(lambda: 1)
    with capture_events() as events:
        main()

    (explained,) = (each for each in bus.explain(events[-1]) if each.subscription.hook)
    assert explained.matched
    assert explained.reason.endswith("; called by a worker")


@pytest.mark.parametrize(
    ("setting", "value"), [(EVENTFLOW_DURABILITY, "off"), (EVENTFLOW_JOURNAL_URL, "memory://")]
)
def test_where_nobody_else_can_read_the_journal(
    tmp_path: Path, setting: Setting[Any], value: str
) -> None:
    """Nothing is recorded, or in the memory of this process only: then it is called here."""
    with temporary_settings({setting: value}), isolated(tmp_path / "other"):
        flow(name="main", hooks=[Hook(there, **LEFT)])(lambda: 1)()

    assert called == ["there Running", "there Completed"]
