"""Helpers for tests: captured events, an isolated bus and home."""

from __future__ import annotations

import threading
from pathlib import Path

from eventflow import Event, bus, task
from eventflow.engine import result_cache
from eventflow.eventbus.bus import current_bus
from eventflow.journal.contract import RunQuery
from eventflow.settings import EVENTFLOW_GUARDIAN, EVENTFLOW_HOME
from eventflow.testing import Isolated, capture_events, isolated
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
