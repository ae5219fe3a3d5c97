"""One hook owed one event: what of each attempt is settled, published, logged and passed on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from eventflow import Event, Hook, bus, runtime, task
from eventflow.context import current_hook
from eventflow.errors import HookTimeout, JournalError
from eventflow.events import HookOutcome
from eventflow.hooks.delivery import Delivery
from eventflow.primitives.ids import delivery_id
from eventflow.runs.run import TaskRun
from eventflow.states import Completed, Pending, Running

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def work() -> None:
    """Be what the hooks are owed of."""


class Ledger:
    """A ledger that notes down what is settled."""

    def __init__(self) -> None:
        self.put_off: list[tuple[str, int]] = []
        self.settled: list[tuple[str, int, str | None, float]] = []

    def settle(
        self,
        key: Any,
        status: Any,
        attempts: int,
        error: str | None = None,
        delay: float = 0.0,
        *,
        at_once: bool = True,
    ) -> None:
        """Note it."""
        assert len(key) == 3
        self.settled.append((str(status), attempts, error, delay))
        if not at_once:
            self.put_off.append((str(status), attempts))

    def transaction(self, key: Any, attempts: int) -> Any:
        """Give what tells which one it is."""
        return key, attempts


def nothing(*_: Any) -> None:
    """Be a hook."""


def a_delivery(fn: Any = nothing, **options: Any) -> tuple[Delivery, Ledger, list[Event]]:
    """Make a delivery of the end of a run, with its ledger and what is published of it."""
    run = TaskRun(work, "work", dict, frozenset(), None)
    for state in (Pending(), Running(), Completed()):
        run.enter(state)
    assert run.state is not None
    made = Delivery(Hook(fn, **options), run, run.state, run.state.id)
    made.ledger = ledger = Ledger()
    events: list[Event] = []
    bus.subscribe(events.append, event_type=HookOutcome)

    return made, ledger, events


def told(events: list[Event]) -> list[tuple[str, int]]:
    """Give what was published, in short."""
    return [(type(one).__name__, one.attempt) for one in events]  # type: ignore[attr-defined]


def test_a_delivery_is_always_the_same() -> None:
    """Its id follows from the event and the hook's place among those that are owed."""
    made, _, _ = a_delivery()
    made.ordinal = 3
    assert made.delivery_id == delivery_id(made.follows, 3)
    given: Any = made.transaction()
    assert given == ((made.run.id, made.follows, 3), 0)
    made.ledger = None
    with pytest.raises(JournalError, match="EVENTFLOW_DURABILITY is off"):
        made.transaction()


def test_attempts_that_fail_and_one_that_works() -> None:
    """Each is settled before it begins and when it ends; the delays are those of the hook."""
    made, ledger, events = a_delivery(retries=2, retry_delay_seconds=[1, 5])
    delays = []
    for error in (ValueError("first"), ValueError(), None):
        made.attempt += 1
        made.begin()
        delays.append(made.ended(error))

    assert delays == [1, 5, None]

    assert ledger.settled == [
        ("running", 1, None, 0.0),
        ("failed", 1, "ValueError: first", 1.0),
        ("running", 2, None, 0.0),
        ("failed", 2, "ValueError", 5.0),
        ("running", 3, None, 0.0),
        ("delivered", 3, None, 0.0),
    ]
    assert told(events) == [("HookFailed", 1), ("HookFailed", 2), ("HookSucceeded", 3)]


def test_only_what_came_of_the_hooks_of_an_ended_run_may_be_put_off() -> None:
    """As long as its body is to execute, or a hook has failed, all is written at once."""
    made, ledger, _ = a_delivery(retries=1)
    for end_time in (None, datetime.now(UTC)):
        made.run.ended_at = end_time
        for error in (ValueError(), None):
            made.attempt += 1
            made.begin()
            made.ended(error)
    told = [one[0] for one in ledger.settled]
    assert told[:4] == ["running", "failed", "running", "delivered"]
    assert ledger.put_off == [("delivered", 4)]


def test_the_last_failure_is_the_end() -> None:
    """The delivery is dead, and both are published."""
    made, ledger, events = a_delivery()
    made.attempt = 1
    assert made.ended(ValueError("only")) is None
    assert ledger.settled == [("dead", 1, "ValueError: only", 0.0)]
    assert told(events) == [("HookFailed", 1), ("HookDeadLettered", 1)]


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt, "failed"), (GeneratorExit, "failed"), (SystemExit, "dead")],
)
def test_what_is_no_failure_is_passed_on(error: type[BaseException], status: str) -> None:
    """Whatever attempts were left; what interrupted the process leaves the delivery owed."""
    made, ledger, events = a_delivery(retries=5)
    made.attempt = 1
    with pytest.raises(error):
        made.ended(error())
    assert [(one, attempt) for one, attempt, _, _ in ledger.settled] == [(status, 1)]
    assert [name for name, _ in told(events)] == ["HookFailed", "HookDeadLettered"][
        : 1 if status == "failed" else 2
    ]


def test_without_a_ledger_an_interrupt_is_the_end() -> None:
    """Nobody else would finish it."""
    made, _, events = a_delivery()
    made.ledger = None
    made.attempt = 1
    with pytest.raises(KeyboardInterrupt):
        made.ended(KeyboardInterrupt())
    assert told(events) == [("HookFailed", 1), ("HookDeadLettered", 1)]


def test_a_cancellation_from_outside_is_passed_on() -> None:
    """That of the task which runs the hook; one of the hook's own making has failed it only."""

    async def outside() -> None:
        made, ledger, _ = a_delivery(retries=1)
        made.attempt = 1
        here = asyncio.current_task()
        assert here is not None
        here.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError as error:
            with pytest.raises(asyncio.CancelledError):
                made.ended(error)
            here.uncancel()
        assert [one[0] for one in ledger.settled] == ["failed"]

    async def own() -> None:
        made, ledger, _ = a_delivery(retries=1)
        made.attempt = 1
        assert made.ended(asyncio.CancelledError()) is not None
        made.attempt = 2
        assert made.ended(asyncio.CancelledError()) is None
        assert [one[0] for one in ledger.settled] == ["failed", "dead"]

    asyncio.run(outside())
    asyncio.run(own())


def test_what_is_counted_with_the_transition_is_not_counted_again() -> None:
    """The first attempt of a first hook; one that comes after it is."""
    made, ledger, _ = a_delivery(retries=1)
    made.is_counted = True
    for error in (ValueError(), None):
        made.attempt += 1
        made.begin()
        made.ended(error)
    told = [(status, attempt) for status, attempt, _, _ in ledger.settled]
    assert told == [("failed", 1), ("running", 2), ("delivered", 2)]


def test_a_delivery_may_be_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """When every attempt ended with its process, the dead letter says so."""
    made, ledger, events = a_delivery(id="mine")
    made.attempt = 3
    made.give_up()
    ((status, attempts, error, _),) = ledger.settled
    assert (status, attempts) == ("dead", 3)
    assert error == "Given up: the process ended in each of 3 attempts."
    assert told(events) == [("HookDeadLettered", 3)]
    assert "Hook mine: Given up" in caplog.text


def test_a_delivery_is_in_force_while_its_hook_is_called() -> None:
    """However it is called, also in what it leaves to be awaited, and not afterwards."""
    seen: list[str | None] = []

    def look(*_: Any) -> None:
        seen.append(runtime.hook.delivery_id)

    async def alook(*_: Any) -> None:
        await asyncio.sleep(0)
        look()

    made, _, _ = a_delivery(look)
    made.call()
    asyncio.run(made.acall())
    late, _, _ = a_delivery(lambda *_: alook())
    late.call_to_the_end()
    asyncio.run(late.acall())
    assert seen == [str(made.delivery_id)] * 2 + [str(late.delivery_id)] * 2
    assert current_hook.get() is None


def test_what_is_awaited_has_the_timeout_of_the_hook() -> None:
    """Past it, it is stopped; a TimeoutError of its own stays what it is."""

    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    async def own(*_: Any) -> None:
        raise TimeoutError("own")

    with pytest.raises(HookTimeout):
        asyncio.run(a_delivery(hangs, timeout_seconds=0.001)[0].acall())
    with pytest.raises(TimeoutError, match="own"):
        asyncio.run(a_delivery(own, timeout_seconds=30)[0].acall())
