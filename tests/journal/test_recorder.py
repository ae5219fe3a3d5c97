"""Runs leave every transition in the journal, whatever they do and whatever fails."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow import (
    Event,
    flow,
    hook,
    runtime,
    task,
)
from eventflow.errors import EventflowError, JournalError
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Fence, Group, RunQuery
from eventflow.journal.stores.memory import MemoryJournal
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    temporary_settings,
)
from eventflow.testing import capture_events, isolated
from eventflow.values.restoring import restore_parameters
from tests.journal.reading import (
    compare_with_events,
    owed,
    the_recorder,
    the_run,
    written,
)
from tests.journal.scenes import SCENES, async_runs, double, seen, sync_runs

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@pytest.mark.parametrize("url", ["sqlite", "memory"])
@pytest.mark.parametrize("scene", SCENES)
def test_rows_say_what_the_events_say(scene: str, url: str) -> None:
    """However runs are executed and however they end, with hooks and without."""
    play, runs = SCENES[scene]
    given_url = "memory://" if url == "memory" else None
    with temporary_settings({EVENTFLOW_JOURNAL_URL: given_url}), isolated():
        hook(state=["Running", "Completed", "Failed", "TimedOut", "Crashed", "Cancelled"])(seen)
        with capture_events() as events:
            play()
        assert compare_with_events(events) == runs
        assert {row.status for row in owed()} <= {DeliveryStatus.DELIVERED}
        assert owed()


def named(pattern: str) -> RunQuery:
    return RunQuery(definition=pattern)


def test_the_row_of_a_run_describes_its_definition(eventflow_events: list[Event]) -> None:
    """Its reference, its version, its tags and the parameters, as soon as the run begins."""
    sync_runs()
    row = the_run("parent")
    assert row.reference.startswith(f"{sync_runs.__module__}:sync_runs.<locals>.parent")
    assert (row.name, row.version, row.parameters) == ("for-monday", "7", '[{"day":"monday"}]')
    assert the_run("child").tags == ("nightly", "prod")
    assert the_run("child").reference != row.reference
    assert {row.reference for row in written().runs(named("double"))} == {
        f"{double.fn.__module__}:double"
    }


def test_odd_texts_and_values_are_recorded() -> None:
    """Whatever names, messages and parameters contain, the run is in the journal, in plain text."""

    @flow(name="\udc80 \0 \u2028", version="\udc81", tags=["\ud800"])
    def odd(text: str, number: object) -> None:
        raise ValueError("\udc82\0" + "y" * 50_000)

    with pytest.raises(ValueError, match="yyy"):
        odd("\udc83\0", 10**5000)
    (row,) = written().runs(named("*"))
    events = written().events(row.id)

    assert row.parameters is not None
    assert row.parameters.isascii()
    restored = restore_parameters(row.parameters, str)
    assert restored == {"text": "\udc83\0", "number": 10**5000}
    assert row.message is not None
    assert len(row.message) == 10_000
    assert row.message == events[-1].message
    assert len(events[-1].error or "") < 50_000
    assert row.tags == ("\\ud800",)
    assert written().verify() == []


def test_a_transition_that_cannot_be_encoded_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    """The run ends as it does, its hooks run, and the log says what is missing."""

    class Version:
        def __str__(self) -> str:
            raise ValueError("no text")

    calls: list[str] = []
    broken = flow(name="broken", on_completion=[lambda *_: calls.append("hook")])(lambda: 1)
    vars(broken)["declared_version"] = Version()
    assert broken() == 1

    assert calls == ["hook"]
    assert caplog.text.count("A transition could not be recorded") == 3
    assert written().runs(named("broken")) == []
    # An incomplete row would be refused by the journal, with the whole line.
    assert "not in the journal" not in caplog.text


class Broken(MemoryJournal):
    """A journal that cannot be written, until it is mended."""

    mended = False

    def commit(self, group: Group, owner: str, fence: Fence | None = None) -> None:
        """Fail."""
        if not self.mended:
            raise JournalError("The disk is full.")
        super().commit(group, owner, fence)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_journal_that_cannot_be_written_fails_no_run(
    way: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Runs and hooks go on; what happened is written when the journal works again."""
    broken = Broken()
    monkeypatch.setattr("eventflow.owners.session.open_journal", lambda *_: broken)
    calls: list[str] = []
    hook(state="Completed")(lambda *_: calls.append("hook"))
    if way == "sync":
        sync_runs()
    else:
        async_runs()
    assert not the_recorder().flush()
    assert "The disk is full." in caplog.text
    broken.mended = True
    assert the_recorder().flush()

    assert len(calls) == len(owed()) == (4 if way == "sync" else 3)
    assert {str(row.status) for row in owed()} == {"delivered"}
    assert written().verify() == []


def test_without_durability_nothing_is_recorded(tmp_path: Any) -> None:
    """No file, no folder, no thread; a hook that asks for a transaction gets an error."""
    errors: list[str] = []

    def asks(*_: Any) -> None:
        try:
            runtime.hook.transaction()
        except EventflowError as error:
            errors.append(str(error))

    with temporary_settings({EVENTFLOW_DURABILITY: "off"}), isolated(tmp_path / "off") as own:
        flow(on_completion=[asks])(lambda: 1)()
        assert own.bus.recorder is None
        assert not (tmp_path / "off").exists()
    assert len(errors) == 1
    assert "EVENTFLOW_DURABILITY is off" in errors[0]


DEEDS = st.lists(st.sampled_from(sorted(SCENES)), max_size=6)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(deeds=DEEDS, retries_=st.integers(0, 2), works=st.lists(st.booleans(), min_size=1))
def test_any_history_leaves_a_clean_journal(
    deeds: list[str], retries_: int, works: list[bool]
) -> None:
    """Whatever runs there were, and whatever became of their hooks."""
    with temporary_settings({EVENTFLOW_JOURNAL_URL: "memory://"}), isolated():
        fares = itertools.cycle(works)

        def fares_somehow(*_: Any) -> None:
            if not next(fares):
                raise ValueError

        hook(retries=retries_)(fares_somehow)
        with capture_events() as events:
            for deed in deeds:
                SCENES[deed][0]()
        if not deeds:
            return
        compare_with_events(events)
        deliveries = owed()
        assert len(deliveries) == len([event for event in events if hasattr(event, "to_state")])
        assert {row.status for row in deliveries} <= {DeliveryStatus.DELIVERED, DeliveryStatus.DEAD}
        assert all(1 <= row.attempts <= retries_ + 1 for row in deliveries)
        assert the_recorder().journal.deliveries(DeliveryQuery(statuses=["pending"])) == []  # type: ignore[list-item]


def test_what_is_held_back_is_recorded_as_it_was() -> None:
    """A body that changes its arguments does not change what is written later."""

    @task
    def spoil(words: list[str]) -> None:
        words.append("spoilt")

    spoil(["fresh"])
    the_recorder().flush()
    (row,) = written().runs(named("spoil"))
    assert row.parameters == '[{"words":["fresh"]}]'
