"""Deliveries: what of each attempt is settled, published, logged and raised."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventflow import Hook, bus, runtime, task
from eventflow.context import current_hook
from eventflow.errors import HookTimeout, JournalError
from eventflow.eventbus.bus import current_bus
from eventflow.events import HookOutcome
from eventflow.hooks.configured import NotRetried
from eventflow.hooks.delivery import Delivery
from eventflow.hooks.ledger import Attempt, DeliveryStatus, Failure
from eventflow.primitives.ids import delivery_id
from eventflow.runs.run import TaskRun
from eventflow.states import Completed, Pending, Running

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def work() -> None:
    """Be the task of the run that hooks are owed."""


class Ledger:
    """A ledger that lists what is settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[str, int, str | None, float]] = []

    has_workers = True

    def has_given_up(self, run: object) -> bool:
        return False

    def settle(self, attempt: Attempt, status: DeliveryStatus, why: Failure | None = None) -> None:
        """Append it to the list."""
        error, delay = why or (None, 0.0)
        self.settled.append((str(status), attempt.attempt, error, delay))

    def transaction(self, attempt: Attempt) -> Any:
        """Return what identifies it."""
        return attempt.run, attempt.sequence, attempt.ordinal, attempt.attempt


def nothing(*_: Any) -> None:
    """Be a hook."""


def make_delivery(fn: Any = nothing, **options: Any) -> tuple[Delivery, Ledger, list[HookOutcome]]:
    """Make a delivery of the end of a run; returns its ledger and its published events as well."""
    run = TaskRun(work, "work", dict, frozenset(), None)
    *_, fact = [run.enter(state) for state in (Pending(), Running(), Completed())]
    fact.journal = ledger = Ledger()
    delivery = Delivery(Hook(fn, **options), fact, 0, current_bus())
    events: list[HookOutcome] = []
    bus.subscribe(events.append, event_type=HookOutcome)

    return delivery, ledger, events


def summary(events: list[HookOutcome]) -> list[tuple[str, int]]:
    """Return the class and the attempt of each event."""
    return [(type(event).__name__, event.attempt) for event in events]


def test_a_delivery_has_the_same_id_in_every_process() -> None:
    """Its id is computed from the run, the sequence of the transition and the hook's ordinal."""
    delivery, _, _ = make_delivery()
    delivery.ordinal = 3
    assert delivery.delivery_id == delivery_id(delivery.run.number, 2, 3)
    given: Any = delivery.transaction()
    assert given == (delivery.run, 2, 3, 0)
    delivery.ledger = None
    with pytest.raises(JournalError, match="EVENTFLOW_DURABILITY is off"):
        delivery.transaction()


def test_a_hook_succeeds_after_attempts_that_failed() -> None:
    """Each is settled before it begins and when it ends; the delays are those of the hook."""
    delivery, ledger, events = make_delivery(retries=2, retry_delay_seconds=[1, 5])
    delays = []
    for error in (ValueError("first"), ValueError(), None):
        delivery.attempt += 1
        delivery.begin()
        delays.append(delivery.end_attempt(error))

    assert delays == [1, 5, None]

    assert ledger.settled == [
        ("running", 1, None, 0.0),
        ("failed", 1, "ValueError: first", 1.0),
        ("running", 2, None, 0.0),
        ("failed", 2, "ValueError", 5.0),
        ("running", 3, None, 0.0),
        ("delivered", 3, None, 0.0),
    ]
    assert summary(events) == [("HookFailed", 1), ("HookFailed", 2), ("HookSucceeded", 3)]


def test_the_last_failure_is_dead_lettered() -> None:
    """The delivery is dead, and both are published."""
    delivery, ledger, events = make_delivery()
    delivery.attempt = 1
    assert delivery.end_attempt(ValueError("only")) is None
    assert ledger.settled == [("dead", 1, "ValueError: only", 0.0)]
    assert summary(events) == [("HookFailed", 1), ("HookDeadLettered", 1)]


def test_a_failure_that_is_not_retried_is_the_last() -> None:
    """However many attempts remain."""
    delivery, ledger, events = make_delivery(retries=5)
    delivery.attempt = 1
    assert delivery.end_attempt(NotRetried("refused")) is None
    assert [(status, attempt) for status, attempt, _, _ in ledger.settled] == [("dead", 1)]
    assert summary(events) == [("HookFailed", 1), ("HookDeadLettered", 1)]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "failed"), (GeneratorExit, "failed"), (SystemExit, "dead")],
)
def test_what_is_no_exception_is_raised_again(error: type[BaseException], status: str) -> None:
    """However many attempts remain; after an interrupt the delivery stays owed."""
    delivery, ledger, events = make_delivery(retries=5)
    delivery.attempt = 1
    with pytest.raises(error):
        delivery.end_attempt(error())
    assert [(settled, attempt) for settled, attempt, _, _ in ledger.settled] == [(status, 1)]
    assert [name for name, _ in summary(events)] == ["HookFailed", "HookDeadLettered"][
        : 1 if status == "failed" else 2
    ]


def test_without_a_ledger_an_interrupt_is_dead_lettered() -> None:
    """No other process could finish it."""
    delivery, _, events = make_delivery()
    delivery.ledger = None
    delivery.attempt = 1
    with pytest.raises(KeyboardInterrupt):
        delivery.end_attempt(KeyboardInterrupt())
    assert summary(events) == [("HookFailed", 1), ("HookDeadLettered", 1)]


def test_a_cancellation_of_the_task_is_raised_again() -> None:
    """One from within the hook is only its failure."""

    async def outside() -> None:
        delivery, ledger, _ = make_delivery(retries=1)
        delivery.attempt = 1
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            with pytest.raises(asyncio.CancelledError):
                delivery.end_attempt(error)
            task.uncancel()
        assert [settled[0] for settled in ledger.settled] == ["failed"]

    async def own() -> None:
        delivery, ledger, _ = make_delivery(retries=1)
        delivery.attempt = 1
        assert delivery.end_attempt(asyncio.CancelledError()) is not None
        delivery.attempt = 2
        assert delivery.end_attempt(asyncio.CancelledError()) is None
        assert [settled[0] for settled in ledger.settled] == ["failed", "dead"]

    asyncio.run(outside())
    asyncio.run(own())


def test_a_beginning_that_the_event_records_is_not_recorded_again() -> None:
    """That of the first attempt of the first hook; later attempts are."""
    delivery, ledger, _ = make_delivery(retries=1)
    delivery.is_begun = True
    for error in (ValueError(), None):
        delivery.attempt += 1
        delivery.begin()
        delivery.end_attempt(error)
    settled = [(status, attempt) for status, attempt, _, _ in ledger.settled]
    assert settled == [("failed", 1), ("running", 2), ("delivered", 2)]


def test_a_delivery_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """The dead letter says that every attempt ended with its process."""
    delivery, ledger, events = make_delivery(id="mine")
    delivery.attempt = 3
    delivery.give_up()
    ((status, attempts, error, _),) = ledger.settled
    assert (status, attempts) == ("dead", 3)
    assert error == "Given up: the process ended in each of 3 attempts."
    assert summary(events) == [("HookDeadLettered", 3)]
    assert "Hook mine: Given up" in caplog.text


def test_a_delivery_is_in_force_while_its_hook_is_called() -> None:
    """In sync and async hooks, and in a coroutine that a plain one returns; not afterwards."""
    seen: list[str | None] = []

    def note(*_: Any) -> None:
        seen.append(runtime.hook.delivery_id)

    async def anote(*_: Any) -> None:
        await asyncio.sleep(0)
        note()

    delivery, _, _ = make_delivery(note)
    delivery.call()
    asyncio.run(delivery.acall())
    late, _, _ = make_delivery(lambda *_: anote())
    late.call_blocking()
    asyncio.run(late.acall())
    assert seen == [str(delivery.delivery_id)] * 2 + [str(late.delivery_id)] * 2
    assert current_hook.get() is None


def test_an_async_hook_is_stopped_at_its_timeout() -> None:
    """A TimeoutError of its own stays what it is."""

    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    async def own(*_: Any) -> None:
        raise TimeoutError("own")

    with pytest.raises(HookTimeout):
        asyncio.run(make_delivery(hangs, timeout_seconds=0.001)[0].acall())
    with pytest.raises(TimeoutError, match="own"):
        asyncio.run(make_delivery(own, timeout_seconds=30)[0].acall())
