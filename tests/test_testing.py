"""Helpers for tests: captured events, a flushed journal, an isolated bus and home."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from eventflow import Event, EventBus, bus, flow, runtime, task, use_bus
from eventflow.errors import JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.journal import open_journal
from eventflow.journal.contract import DeliveryQuery, RunQuery
from eventflow.runs import result_cache
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_GUARDIAN,
    EVENTFLOW_HOME,
    EVENTFLOW_JOURNAL_URL,
    temporary_settings,
)
from eventflow.testing import Isolated, capture_events, flush, isolated
from eventflow.wiring import recorder


@task
def work() -> None: ...


def test_every_event_is_captured(eventflow_isolated: Isolated) -> None:
    """In order, from any thread, within the block and only there."""
    captured: list[Event]
    with capture_events() as captured:
        first = bus.publish(Event())
        own = current_bus()
        thread = threading.Thread(target=lambda: own.publish(Event(), follows=first))
        thread.start()
        thread.join()
        work()
    bus.publish(Event())

    assert captured[0] is first
    assert captured[1].follows == first.id
    assert [event.type for event in captured[2:]] == [
        f"eventflow.task-run.{name}" for name in ("Pending", "Running", "Completed")
    ]


def test_what_is_captured_while_a_listener_reacts_is_in_order(eventflow_isolated: Isolated) -> None:
    """The cause comes before its effects, also for a capture that began later."""
    bus.subscribe(lambda event: event.follows or bus.publish(Event(), follows=event))
    with capture_events() as captured:
        cause = bus.publish(Event())

    assert [event.follows for event in captured] == [None, cause.id]


def test_an_isolated_block_has_everything_of_its_own(tmp_path: Path) -> None:
    """Bus, home and cache; the former ones are restored afterwards, and the folder is removed."""
    before = (current_bus(), EVENTFLOW_HOME.value(), result_cache.results())
    with isolated() as own:
        assert current_bus() is own.bus is not before[0]
        assert EVENTFLOW_HOME.value() == own.home
        assert own.home.is_dir()
        assert result_cache.results() is not before[2]
    assert not own.home.exists()
    assert (current_bus(), EVENTFLOW_HOME.value(), result_cache.results()) == before
    with isolated(tmp_path) as own:
        assert own.home == EVENTFLOW_HOME.value() == tmp_path
    assert tmp_path.is_dir()


def test_an_isolated_block_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """It is in the block's home; nothing of it is open or owed after the block."""
    with isolated(tmp_path) as own:
        work()
        journalled = recorder()
        assert journalled is not None
        assert journalled.flush()
        assert len(journalled.journal.runs(RunQuery())) == 1
        assert (tmp_path / "journal.db").is_file()
        (folder,) = (tmp_path / "journal.db-owners").iterdir()
        with isolated():
            work()
    assert len(journalled.journal.runs(RunQuery())) == 1
    assert not folder.exists()
    assert own.bus.recorder is None
    journalled.journal.close()
    assert EVENTFLOW_GUARDIAN.value() is False


# -- flushing -------------------------------------------------------------------------------------


def states() -> list[str]:
    """Return the states of the runs in the journal, as another process would read them."""
    journal = open_journal(EVENTFLOW_JOURNAL_URL.value(), "process")
    try:
        return [run.state_name for run in journal.runs(RunQuery())]
    finally:
        journal.close()


@pytest.mark.parametrize("way", ["called", "submitted", "mapped"])
def test_what_happened_is_in_the_journal_after_a_flush(
    eventflow_isolated: Isolated, way: str
) -> None:
    """Runs that have ended, with the outcomes of their hooks, and a run that has not."""
    delivered: list[str] = []

    @task(on_completion=[lambda *_: None])
    def hooked(number: int) -> None: ...

    @flow
    def main() -> None:
        if way == "called":
            hooked(1)
        elif way == "submitted":
            hooked.submit(1).wait()
        else:
            hooked.map([1]).wait()
        flush()
        own = recorder()
        assert own is not None
        delivered.extend(row.status for row in own.journal.deliveries(DeliveryQuery()))
        assert sorted(states()) == ["Completed", "Running"]

    main()
    assert delivered == ["delivered"]
    flush()
    assert states() == ["Completed", "Completed"]


def test_a_flush_from_an_async_run(eventflow_isolated: Isolated) -> None:
    """It may be called there too; it blocks the loop, for which a client has one that does not."""

    @flow
    async def main() -> None:
        flush()
        assert states() == ["Running"]

    asyncio.run(main())


def test_a_flush_where_nothing_is_recorded_does_nothing(eventflow_isolated: Isolated) -> None:
    """No run has begun on the bus, or the journal is off."""
    flush()
    with temporary_settings({EVENTFLOW_DURABILITY: "off"}), use_bus(EventBus()):
        work()
        flush()
    assert not eventflow_isolated.home.exists()


def test_a_flush_tells_that_the_journal_cannot_be_written(eventflow_isolated: Isolated) -> None:
    """What happened is kept; a flush after the repair has it written."""
    file = eventflow_isolated.home / "journal.db"
    file.mkdir(parents=True)
    work()
    for _ in range(2):
        with pytest.raises(JournalError, match="Not all that happened could be written"):
            flush()
    file.rmdir()
    flush()
    assert states() == ["Completed"]


def test_a_flush_is_refused_in_a_hooks_own_transaction(eventflow_isolated: Isolated) -> None:
    """It would wait for this transaction; afterwards it is welcome, in the same hook."""
    seen: list[str] = []

    def writes(*_: Any) -> None:
        with runtime.hook.transaction() as connection:
            connection.execute("CREATE TABLE mine (what TEXT)")
            work()
            with pytest.raises(JournalError, match=r"after the block of `runtime\.hook\.trans"):
                flush()
        flush()
        seen.extend(states())

    flow(on_completion=[writes])(lambda: 1)()
    assert seen == ["Completed", "Completed"]
