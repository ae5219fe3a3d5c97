"""Users' own events are recorded with the next commit, and cost their publisher an append."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr, field_serializer

from eventflow import Event, bus, flow, hook, task
from eventflow.journal.contract import START
from eventflow.journal.rows import OwnEvent
from eventflow.journal.wal import own_events
from eventflow.settings import (
    EVENTFLOW_DURABILITY,
    EVENTFLOW_JOURNAL_URL,
    EVENTFLOW_MASK_SECRETS,
    temporary_settings,
)
from eventflow.testing import Isolated, flush
from eventflow.wiring import detach
from tests.forked import in_a_fork
from tests.journal.reading import the_recorder, written

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Placed(Event):
    """A user's own event."""

    order: int
    card: SecretStr = SecretStr("hush")


class Odd(Event):
    """One whose content calls what a test gives."""

    call: Any

    @field_serializer("call")
    def called(self, value: Callable[[], str]) -> str:
        return value()


@task
def work() -> None: ...


@flow
def places(*orders: int) -> None:
    for order in orders:
        bus.publish(Placed(order=order))


def recorded() -> list[OwnEvent]:
    """Return users' own events in the journal in force."""
    events, _ = written().events_after(START, 100_000)

    return [event for event in events if isinstance(event, OwnEvent)]


def orders() -> list[int]:
    return [Placed.model_validate_json(event.content).order for event in recorded()]


def test_an_event_is_recorded_as_its_json() -> None:
    """With its id, type and time; its secrets are masked."""
    work()
    event = bus.publish(Placed(order=7), follows=Placed(order=6))

    assert recorded() == [OwnEvent(event.id, event.type, event.occurred, event.model_dump_json())]
    assert "hush" not in recorded()[0].content
    assert str(event.follows) in recorded()[0].content


@pytest.mark.parametrize("masks", [True, False])
def test_what_is_called_like_a_secret_is_masked(masks: bool) -> None:
    """As in parameters: fields, keys, and the credentials of URLs; unless that is turned off."""

    class Signed(Event):
        api_key: str = "hush"
        headers: list[dict[str, Any]] = [{"Authorization": "hush", "n": 1}]  # noqa: RUF012 - pydantic copies it
        url: str = "https://me:hush@example.org/x"
        token: None = None

    with temporary_settings({EVENTFLOW_MASK_SECRETS: masks}):
        work()
        event = bus.publish(Signed())
        (found,) = recorded()

    content = Signed.model_validate_json(found.content)
    assert (content == event) == (not masks)
    assert ("hush" in found.content) == (not masks)
    assert (content.id, content.headers[0]["n"], content.token) == (event.id, 1, None)


@pytest.mark.parametrize("url", ["memory://", "sqlite", "postgresql"])
def test_events_are_in_every_journal(url: str, request: pytest.FixtureRequest) -> None:
    """Those that are published in runs, in hooks, and by any thread, each once."""
    if url == "postgresql":
        url = request.getfixturevalue("postgres_url")
    given = {} if url == "sqlite" else {EVENTFLOW_JOURNAL_URL: url}
    with temporary_settings(given):
        hook(state="Completed", run_type="flow")(lambda *_: bus.publish(Placed(order=3)))
        places(1, 2)
        own = the_recorder()
        thread = threading.Thread(target=lambda: own.record_event(Placed(order=4)))
        thread.start()
        thread.join()

        assert sorted(orders()) == [1, 2, 3, 4]


def test_an_event_needs_no_flush() -> None:
    """It wakes those who commit."""
    work()
    journal = written()
    cursor = journal.cursor()
    bus.publish(Placed(order=1))

    assert journal.wait(cursor, 60)
    assert isinstance(journal.events_after(cursor, 9)[0][0], OwnEvent)


def test_nothing_is_recorded_before_the_first_run() -> None:
    """A bus gets its journal with its first run."""
    bus.publish(Placed(order=1))
    work()
    bus.publish(Placed(order=2))

    assert orders() == [2]


def test_nothing_is_recorded_without_durability(eventflow_isolated: Isolated) -> None:
    """A bus without a journal publishes as ever."""
    with temporary_settings({EVENTFLOW_DURABILITY: "off"}):
        places(1)
        assert eventflow_isolated.bus.recorder is None


def test_of_too_many_events_the_newest_are_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Between two commits; the log says so once."""
    work()
    own = the_recorder()
    flush()
    with own.sink.writer._commit_lock:  # the writer's thread has to wait
        for order in range(own_events.WAITING + 3):
            bus.publish(Placed(order=order))
    assert orders() == [*range(3, own_events.WAITING + 3)]
    with own.sink.writer._commit_lock:
        for order in range(own_events.WAITING + 1):
            bus.publish(Placed(order=order))
    flush()

    assert caplog.text.count("only the newest are recorded") == 1


@pytest.mark.parametrize(("size", "is_whole"), [(1_000, True), (5_000, False), (2_000, False)])
def test_of_a_large_event_there_is_no_json(size: int, is_whole: bool) -> None:
    """At most 4 kB of JSON are recorded: bytes, and not characters."""
    work()
    text = "x" * size if size != 2_000 else "€" * size
    event = bus.publish(Odd(call=lambda: text))

    (found,) = recorded()
    assert (found.id, found.type) == (event.id, event.type)
    assert bool(found.content) == is_whole


def test_an_event_that_cannot_be_encoded_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Once for its class; it fails neither its publisher nor other events, nor the journal."""
    work()
    for order in range(3):
        bus.publish(Odd(call=lambda: 1 / 0))
        bus.publish(Odd(call=lambda: "\ud800"))
        bus.publish(Placed(order=order))

    assert orders() == [0, 1, 2]
    assert caplog.text.count("could not be recorded") == 1
    assert "An event of the class Odd could not be recorded" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert the_recorder().sink.writer.lost == 0


def test_an_event_with_odd_fields_is_recorded() -> None:
    """A time without a zone is local; a type may be any text."""

    class Local(Event):
        @property
        def type(self) -> str:
            return "\n" + "y" * 1_000

    work()
    bus.publish(Local(occurred=datetime(2026, 3, 1, 12)))  # noqa: DTZ001 - that is what it shows

    (found,) = recorded()
    assert found.occurred == datetime(2026, 3, 1, 12).astimezone(UTC)
    assert found.type == "\n" + "y" * 199


def test_an_event_that_is_published_while_others_are_encoded_is_recorded_later() -> None:
    """By the commit after: a class whose events make events does not hold up this one."""
    events = own_events.OwnEvents()

    def again() -> str:
        events.append(Odd(call=again))
        return "made another"

    events.append(Odd(call=again))

    assert len([*events.encoded()]) == 1
    assert len([*events.encoded()]) == 1


def test_a_forked_child_drops_what_its_parent_published() -> None:
    """The parent records it, once; the child what it publishes itself, once it has a run."""
    work()
    flush()
    own = the_recorder()
    with own.sink.writer._commit_lock:
        bus.publish(Placed(order=1))

        def child() -> bool:
            bus.publish(Placed(order=2))
            work()
            bus.publish(Placed(order=3))
            flush()
            return True

        assert in_a_fork(child)
    assert sorted(orders()) == [1, 2, 3]


def test_what_waits_is_recorded_at_the_end(eventflow_isolated: Isolated) -> None:
    """What is published up to the end of the process, without a flush."""
    work()
    own = the_recorder()
    with own.sink.writer._commit_lock:
        bus.publish(Placed(order=1))
        bus.publish(Placed(order=2))
    detach(eventflow_isolated.bus)

    events, _ = own.journal.events_after(START, 100)
    assert [type(event) for event in events].count(OwnEvent) == 2
