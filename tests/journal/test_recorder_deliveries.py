"""Every hook that a transition is owed to has a delivery, whose row tells its attempts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eventflow import (
    Hook,
    bus,
    flow,
    hook,
    runtime,
)
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.primitives.ids import delivery_id
from tests.journal.reading import (
    owed,
    statuses,
    written,
)
from tests.journal.scenes import double, seen, sync_runs

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_one_delivery_for_each_hook_before_the_first_runs() -> None:
    """Own and global, in order; ids are predictable; each hook sees the settlements before it."""
    seen_rows: list[list[tuple[str, str, int]]] = []
    ids: list[str | None] = []

    def look_up(_definition: Any, run: Any, _state: Any) -> None:
        seen_rows.append(statuses(run.id))
        ids.append(runtime.hook.delivery_id)

    hook(state="Completed")(look_up)
    main = flow(name="main", hooks=[Hook(look_up, state="Completed", id=str(n)) for n in range(2)])
    main(lambda: 1)()

    name, waiting, done = "Completed", (*("Completed", "pending"), 0), ("Completed", "delivered", 1)
    begun = (name, "running", 1)
    assert seen_rows == [[begun, waiting, waiting], [done, begun, waiting], [done, done, begun]]
    assert statuses() == [done] * 3
    rows = owed()
    assert [row.id for row in rows] == [delivery_id(rows[0].run_id.int, 2, n) for n in range(3)]
    assert [str(row.id) for row in rows] == ids
    assert [row.ordinal for row in rows] == [0, 1, 2]
    assert [row.hook for row in rows][:2] == ["0", "1"]
    assert {row.importable for row in rows} == {False}


def test_only_hooks_that_run_are_owed() -> None:
    """Not those for other states or runs, not a cancelled one, and a `once` only once."""
    listener = bus.subscribe(seen, state="Completed")
    declared = flow(name="main", on_completion=[seen], on_failure=[seen])(lambda: 1)
    hook(run_type="task", state="Completed")(seen)
    hook(state="Completed", name="other*")(seen)
    *_, last = [each for each in bus.subscriptions if each.filter.watches != "run"]
    declared()
    assert len(owed()) == 1
    last.cancel()
    listener.cancel()
    declared()
    assert len(owed()) == 2


def test_a_hook_for_one_event_is_owed_once() -> None:
    """However many transitions match it."""
    from eventflow.hooks.receiver import HookReceiver

    once_hook = Hook(seen, state="Completed")
    bus.attach(seen, HookReceiver(once_hook), once_hook.filter(), hook=once_hook, once=True)
    for _ in range(3):
        double(1)

    assert statuses() == [("Completed", "delivered", 1)]


def test_retries_are_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt is counted before it begins; in between the row has the error and the delay."""
    rows: list[Any] = []

    def slept(_seconds: float) -> None:
        rows.extend(owed())

    monkeypatch.setattr("eventflow.hooks.receiver.sleep", slept)

    def late(*_: Any) -> None:
        rows.extend(owed())
        if runtime.hook.attempt < 3:
            raise ValueError(f"not yet {runtime.hook.attempt}")

    flow(hooks=[Hook(late, state="Completed", retries=5, retry_delay_seconds=30)])(lambda: 1)()
    (last,) = owed()

    assert [(str(row.status), row.attempts, row.error) for row in rows] == [
        ("running", 1, None),
        ("failed", 1, "ValueError: not yet 1"),
        ("running", 2, None),
        ("failed", 2, "ValueError: not yet 2"),
        ("running", 3, None),
    ]
    waits = [row for row in rows if row.status is DeliveryStatus.FAILED]
    assert [(row.due - row.updated).total_seconds() for row in waits] == [30, 30]
    assert (last.status, last.attempts, last.error, last.due) == ("delivered", 3, None, None)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_hook_that_always_fails_is_dead(way: str) -> None:
    """With its last error, cut; the next hook is delivered, and nothing is owed any more."""

    def broken(*_: Any) -> None:
        raise ValueError("\udcff" + "x" * 20_000)

    def body() -> None: ...

    async def abody() -> None: ...

    hooks = [Hook(broken, state="Completed", retries=1), Hook(seen, state="Completed")]
    if way == "sync":
        flow(hooks=hooks)(body)()
    else:
        asyncio.run(flow(hooks=hooks)(abody)())
    assert statuses() == [("Completed", "dead", 2), ("Completed", "delivered", 1)]
    error = owed()[0].error
    assert error is not None
    assert error.startswith("ValueError: \\udcffxxx")
    assert len(error) == 10_000
    assert written().verify() == []


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_interrupted_hook_stays_owed(way: str) -> None:
    """After Ctrl-C another process will finish it; a SystemExit is its own failure."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    def leaves(*_: Any) -> None:
        raise SystemExit

    async def abody() -> None: ...

    hooks = [Hook(interrupted, state="Completed", retries=3), Hook(leaves, state="Completed")]
    with pytest.raises(KeyboardInterrupt):
        if way == "sync":
            flow(hooks=hooks)(lambda: 1)()
        else:
            asyncio.run(flow(hooks=hooks)(abody)())
    assert statuses() == [("Completed", "failed", 1), ("Completed", "dead", 1)]
    assert owed()[0].due is None


def test_a_hook_that_awaits_something_cancelled_fails() -> None:
    """It is dead after its last attempt, as after any other error."""

    async def awaits_cancelled(*_: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    flow(hooks=[Hook(awaits_cancelled, state="Completed")])(lambda: 1)()
    assert statuses() == [("Completed", "dead", 1)]


def test_hooks_of_every_transition_in_order() -> None:
    """Those of Pending, Running and the end, of children before their parents."""
    order: list[str] = []

    @hook()
    def tell(definition: Any, _run: Any, state: Any) -> None:
        order.append(f"{definition.name} {state.name}")

    sync_runs()
    names = {
        row.id: row.definition for row in map(written().run, {o.run_id for o in owed()}) if row
    }
    assert len(owed()) == len(order) == 12
    of_parent = [row for row in owed() if names[row.run_id] == "parent"]
    assert [row.ordinal for row in of_parent] == [0, 0, 0]
    assert {str(row.status) for row in owed()} == {"delivered"}
