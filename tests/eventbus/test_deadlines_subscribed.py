"""Every way to subscribe to a state that lasts: what each takes, refuses, and says of itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from eventflow import Hook, StateType, bus, flow, hook, task
from eventflow.events import Event, StateLasted
from eventflow.states import AnyState
from eventflow.testing import capture_events
from tests.eventbus.clocks import Clock, Heard, a_flow, a_task, call, every_kind

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

both = pytest.mark.parametrize("decorate", [flow, task])

TIMES = [5, 5.0, timedelta(seconds=5)]


@every_kind
@pytest.mark.parametrize("time", TIMES)
def test_every_way_tells_once(make: Any, clock: Clock, heard: Heard, time: Any) -> None:
    """As an option, by decorator, for every run, and to listeners."""
    lasting = Hook(heard.hook, state="Running", lasting=time)
    definition = make(
        lambda: clock.advance(5), hooks=[lasting], on_overdue=[heard.hook], overdue_seconds=time
    )
    definition.on("Running", StateType.SCHEDULED, lasting=time)(heard.hook)
    definition.on_overdue(after=time)(heard.hook)
    definition.on_overdue(heard.hook, after=time)
    definition.on_overdue(heard.hook)
    hook(state=StateType.RUNNING, lasting=time)(heard.hook)
    hook(overdue_seconds=time)(heard.hook)
    hook(lasting=time, name="i*")(heard.hook)

    @bus.subscribe(state="Running", lasting=time, definition=definition)
    def listen(event: StateLasted) -> None:
        heard.listen(event)

    bus.subscribe(heard.listen, event_type=StateLasted, run_type=definition.run_type)
    call(definition)
    clock.advance(1000)

    hooks = [each for each in heard.all if not isinstance(each, StateLasted)]
    events = [each for each in heard.all if isinstance(each, StateLasted)]
    assert hooks == [("it", "Running", "Running")] * 9
    # The first one to the listener of that state; those of the class are told of each time.
    assert [(each.lasting, each.is_overdue) for each in events[:1]] == [(5, False)]
    assert sorted(each.is_overdue for each in events) == [False, False, True]


def test_async_hooks_and_listeners(clock: Clock, heard: Heard) -> None:
    """They are run as everywhere, of sync and of async runs."""

    async def ahook(definition: Any, run: Any, state: AnyState) -> None:
        await asyncio.sleep(0)
        heard.hook(definition, run, state)

    for make in (a_flow, a_task):
        definition = make(lambda: clock.advance(5), on_overdue=[ahook], overdue_seconds=4)
        definition.on("Running", lasting=5)(ahook)
        call(definition)

    assert heard.all == [("it", "Running", "Running")] * 4


@both
def test_copies_have_times_of_their_own(decorate: Any, clock: Clock, heard: Heard) -> None:
    """`with_options` replaces the hooks, the time, or both, on the copy."""

    def other(definition: Any, run: Any, state: AnyState) -> None:
        heard.all.append("other")

    @decorate(on_overdue=[heard.hook], overdue_seconds=5)
    def work() -> None:
        clock.advance(6)

    later = work.with_options(overdue_seconds=7)
    others = work.with_options(on_overdue=[other], overdue_seconds=6)
    none = work.with_options(on_overdue=[])
    for definition in (later, none):
        definition()
    assert heard.all == []
    others()
    assert heard.all == ["other"]
    work()
    assert heard.all[1:] == [("work", "Running", "Running")]
    assert [each.hooks[0].overdue_seconds for each in (work, later, others)] == [5, 7, 6]
    assert none.on_overdue_hooks == []


@both
def test_overdue_without_a_time_is_refused(decorate: Any, heard: Heard) -> None:
    """Where it is declared: it would never run."""
    said = "nothing says when: give overdue_seconds=..., or declare it by @work.on_overdue"

    with pytest.raises(TypeError, match=said):
        decorate(name="work", on_overdue=[heard.hook])(lambda: None)
    definition = decorate(name="work")(lambda: None)
    with pytest.raises(TypeError, match=said):
        definition.on_overdue(heard.hook)
    # What was refused is not declared.
    definition()
    assert definition.hooks == ()


@both
@pytest.mark.parametrize(
    ("time", "error"),
    [
        (0, ValueError),
        (-1.5, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (1e300, ValueError),
        (timedelta(seconds=-1), ValueError),
        (True, TypeError),
        ("60", TypeError),
    ],
)
def test_a_wrong_time_is_refused_everywhere(
    decorate: Any, time: Any, error: type[Exception], heard: Heard
) -> None:
    """With the option, the value, and what is allowed."""
    definition = decorate(lambda: None)
    ways: list[tuple[str, Any]] = [
        ("lasting", lambda: definition.on("Running", lasting=time)(heard.hook)),
        ("lasting", lambda: Hook(heard.hook, state="Running", lasting=time)),
        ("lasting", lambda: hook(state="Running", lasting=time)(heard.hook)),
        ("lasting", lambda: bus.subscribe(heard.listen, lasting=time)),
        ("lasting", lambda: bus.stream(lasting=time)),
        ("lasting", lambda: bus.wait_for(lasting=time)),
        ("overdue_seconds", lambda: Hook(heard.hook, overdue_seconds=time)),
        ("overdue_seconds", lambda: decorate(overdue_seconds=time)(lambda: None)),
        ("overdue_seconds", lambda: definition.with_options(overdue_seconds=time)),
        ("after", lambda: definition.on_overdue(after=time)),
    ]
    for option, subscribe in ways:
        with pytest.raises(error, match=f"^{option} must be .* but got ") as raised:
            subscribe()
        assert repr(time) in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"lasting": "1"}, TypeError, "lasting must be a number of seconds, or a timedelta"),
        ({"lasting": timedelta.max}, ValueError, "and at most 100 years"),
        ({"lasting": 1, "state": "Completed"}, ValueError, "'Completed' is a final state"),
        ({"lasting": 1, "state": [StateType.CRASHED]}, ValueError, "'CRASHED' is a final state"),
        ({"lasting": 1, "event_type": Event}, TypeError, "event_type must be that or left out"),
    ],
)
def test_what_cannot_be_told_of_is_refused(wrong: Any, error: type[Exception], said: str) -> None:
    """Nothing lasts after the end of a run, and no other event lasts at all."""
    with pytest.raises(error, match=said):
        bus.subscribe(lambda event: None, **({"state": "Running"} | wrong))


def test_a_subscription_is_explained(clock: Clock, heard: Heard) -> None:
    """Of the entering it is said that it is told later; of what has lasted, whether it was."""
    listener = bus.subscribe(heard.listen, state="Running", lasting=5)
    other = bus.subscribe(heard.listen, state="Running", lasting=500)
    with capture_events() as events:
        a_task(lambda: clock.advance(5))()
    entered = next(each for each in events if each.type.endswith("Running"))
    lasted = next(each for each in events if isinstance(each, StateLasted))

    of_entering = {each.subscription: each for each in bus.explain(entered)}
    of_lasting = {each.subscription: each for each in bus.explain(lasted)}
    assert of_entering[listener].matched
    assert of_entering[listener].reason.endswith("lasting=5; told once that has lasted")
    assert of_lasting[listener].matched
    assert of_lasting[listener].reason.endswith("lasting=5")
    assert not of_lasting[other].matched
    assert of_lasting[other].reason == "lasting is 5, not 500"


def test_hooks_of_a_definition_are_explained(clock: Clock, heard: Heard) -> None:
    """Those for a run that is overdue as well: they count from its first Running."""

    @task(retries=1, on_overdue=[heard.hook], overdue_seconds=5)
    def work() -> None:
        clock.advance(3)
        if not failed:
            failed.append(True)
            raise ValueError

    failed: list[bool] = []
    work.on("Retrying", lasting=2)(heard.hook)
    with capture_events() as events:
        work()
    overdue, lasting = work.declared

    def explained(suffix: str, **wanted: Any) -> dict[Any, tuple[bool, str]]:
        event = next(
            each
            for each in events
            if each.type.endswith(suffix)
            and all(getattr(each, name) == value for name, value in wanted.items())
        )
        return {each.subscription: each[1:] for each in bus.explain(event)}

    entered, again = explained(".Running"), explained(".Retrying")
    assert entered[overdue] == (
        *(True, "matches StateLasted, state=RUNNING, overdue_seconds=5; told once that has lasted"),
    )
    assert entered[lasting] == (False, "state is Running (RUNNING), not Retrying")
    assert again[overdue] == (
        *(False, "run_count is 2, and overdue counts from the first Running"),
    )
    assert again[lasting][0]
    of_overdue = explained("StateLasted", is_overdue=True)
    of_lasting = explained("StateLasted", is_overdue=False)
    assert of_overdue[overdue][0]
    assert of_overdue[lasting] == (False, "is_overdue is True, not False")
    assert of_lasting[overdue] == (False, "is_overdue is False, not True")
    assert of_lasting[lasting][0]


def test_an_overdue_run_is_logged_once(
    clock: Clock, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """For each time, however many hooks there are; a state that lasts is not."""
    definition = a_flow(
        lambda: clock.advance(5), on_overdue=[heard.hook, heard.hook], overdue_seconds=3
    )
    definition.on_overdue(after=4)(heard.hook)
    definition.on("Running", lasting=2)(heard.hook)
    call(definition)

    said = [record for record in caplog.records if "Overdue" in record.getMessage()]
    assert len(heard.all) == 4
    assert [record.levelname for record in said] == ["WARNING"] * 2
    assert [record.getMessage().partition(": ")[2] for record in said] == [
        "Overdue: it has not ended within 3.0 s.",
        "Overdue: it has not ended within 4.0 s.",
    ]


def test_every_end_has_its_hook(heard: Heard) -> None:
    """`on_end` in all its forms, for flows and tasks, once for each end."""
    outcomes: dict[str, BaseException | None] = {
        "Completed": None,
        "Failed": ValueError("bad"),
        "Crashed": SystemExit(3),
    }

    def run(name: str) -> None:
        error = outcomes[name]
        if error is not None:
            raise error

    for decorate in (flow, task):
        made: Any = decorate(on_end=[heard.hook], name="it")(run)
        made.on_end(heard.hook)
        assert made.on_end_hooks == [heard.hook, heard.hook]
        for name, error in outcomes.items():
            heard.all.clear()
            for definition in (made, made.with_options(on_end=[])):
                if error is None:
                    definition(name)
                else:
                    with pytest.raises(type(error)):
                        definition(name)
            assert heard.all == [("it", name, name)] * 2


def test_equal_hooks_are_told_each(clock: Clock, heard: Heard) -> None:
    """Also one that is declared while the run is in the state already."""

    @task
    def work() -> None:
        work.on("Running", lasting=5)(heard.hook)
        clock.advance(5)

    for _ in range(2):
        work.on("Running", lasting=5)(heard.hook)
        hook(state="Running", lasting=5)(heard.hook)
    work()

    assert heard.all == [("work", "Running", "Running")] * 5
