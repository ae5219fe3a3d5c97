"""Sets of hooks: what their text says, what is made of it, and when it is another."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from eventflow import EventBus, Hook, StateType, flow, task, use_bus
from eventflow.hooks.decorator import hook
from eventflow.hooks.listeners import RecordedListener
from eventflow.hooks.sets import (
    SETS_OF_LISTENERS,
    HookSet,
    HookSets,
    RecordedHook,
    Unfetched,
    hook_columns,
)


def page(*_: Any) -> None:
    """A hook that another process can import."""


@flow
def decorated(*_: Any) -> None:
    """A function whose name stands for a flow."""


class Guarded:
    """A guard that notes what it is asked for."""

    def __init__(self) -> None:
        self.guards = 0
        self.handed_over: dict[str, Hook] = {}

    def guard(self) -> None:
        """Count it."""
        self.guards += 1

    def hand_over(self, key: str, hook: Hook, reason: str) -> None:
        """Note its identity; a hook that is kept here is never let go."""
        assert reason
        self.handed_over[key] = Hook(page, id=hook.id)

    def let_go(self, key: str) -> None:
        """Take it back."""
        del self.handed_over[key]

    def claim(self, delivery: str) -> bool:
        """Claim nothing."""
        raise AssertionError(delivery)

    def release(self, delivery: str) -> None:
        """Release nothing."""
        raise AssertionError(delivery)


@pytest.fixture
def guarded() -> Guarded:
    return Guarded()


@pytest.fixture
def own_bus() -> EventBus:
    return EventBus()


@pytest.fixture
def sets(guarded: Guarded, own_bus: EventBus) -> HookSets:
    """Return the sets of an owner that has begun."""
    made = HookSets(own_bus)
    made.begin("owner", guarded)
    return made


def hooks_in(hooks: HookSet) -> list[str]:
    """Return the identities of the hooks in a set."""
    return [recorded.id for recorded in RecordedHook.read(hooks.text)]


@pytest.mark.parametrize(
    ("declared", "types", "names"),
    [
        (Hook(page), [], []),
        (Hook(page, state="Failed", id="other"), [], ["Failed"]),
        (Hook(page, state=StateType.FAILED), ["FAILED"], []),
        (Hook(page, state=iter(["Late", StateType.PAUSED, "Odd"])), ["PAUSED"], ["Late", "Odd"]),
        (Hook(page, run_type="task", name="ex*", tags={"b", "ä"}), [], []),
        (Hook(page, state="Pending", lasting=1.5), [], ["Pending"]),
        (Hook(page, overdue_seconds=60), [], []),
        (Hook(page, retries=2, retry_delay_seconds=[1, 2.5], timeout_seconds=3), [], []),
        (Hook(page, retries=3, retry_delay_seconds=lambda count: [count] * 2), [], []),
    ],
)
def test_a_hook_is_the_same_in_another_process(
    declared: Hook, types: list[str], names: list[str]
) -> None:
    """It selects the same, and has the same options; a name is not taken for a type."""
    recorded = RecordedHook.of(declared)
    (read,) = RecordedHook.read(f'{{"hooks":[{recorded.text()}]}}')
    again = read.hook(page)

    assert (again.id, again.policy) == (declared.id, declared.policy)
    assert again.timeout_seconds == declared.timeout_seconds
    assert str(again.filter()) == str(declared.filter())
    assert read.reference == f"{__name__}:page"
    assert (read.value, read.problem) == (None, None)
    assert ([*read.types], [*read.names]) == (types, names)


def test_every_option_of_a_hook_is_recorded() -> None:
    """A new one has to be added to `RecordedHook` as well: a recovery has nothing else."""
    assert set(signature(Hook).parameters) == {
        *("fn", "id", "state", "run_type", "name", "tags", "lasting", "overdue_seconds"),
        *("timeout_seconds", "retries", "retry_delay_seconds", "where"),
    }


def test_a_function_whose_name_stands_for_a_definition() -> None:
    """It is not the definition that is had again."""
    assert RecordedHook.of(Hook(decorated.fn)).reference == f"{__name__}:decorated.fn"
    assert RecordedHook.of(Hook(decorated)).reference == f"{__name__}:decorated"


def test_what_stands_for_a_hook_tells_of_it_again() -> None:
    """A recovery records deliveries of a hook that it has not fetched."""
    recorded = RecordedHook.of(Hook(page, id="mine"))
    unfetched = recorded.unfetched()

    assert hook_columns(unfetched) == ("mine", 1)
    assert RecordedHook.of(unfetched) is recorded
    with pytest.raises(RuntimeError, match="mine was not fetched"):
        Unfetched(recorded)()


@pytest.mark.parametrize("text", ["", "[]", '{"hooks": 1}', '{"hooks": [{"colour": "red"}]}'])
def test_a_text_that_is_no_set_is_refused(text: str) -> None:
    """With its beginning."""
    with pytest.raises(ValueError, match=r"no set|Expecting value"):
        RecordedHook.read(text)


def test_copies_share_a_set(sets: HookSets, guarded: Guarded) -> None:
    """However many there are, there is one set, and no change; the guardian gets nothing."""
    load = task(on_crashed=[page])(lambda: None)
    made = {sets.of(load.with_options(name=f"load-{number}")) for number in range(50)}

    assert made == {sets.of(load)}
    assert [json.loads(each.text)["hooks"] for each in made] == [
        [{"id": f"{__name__}:page", "reference": f"{__name__}:page", "types": ["CRASHED"]}]
    ]
    assert not sets.refresh(load)
    assert guarded.handed_over == {}
    assert guarded.guards


def test_a_definition_has_another_set_once_its_hooks_change(sets: HookSets) -> None:
    """Only the first answer after the change says so; a definition without hooks has no set."""
    declared = flow(lambda: None)
    assert sets.of(declared) == ("", "")
    declared.on_failure(page)
    before = sets.of(declared)
    assert not sets.refresh(declared)

    declared.on_crashed(page)
    assert sets.refresh(declared)
    assert not sets.refresh(declared)
    after = sets.of(declared)
    assert after != before
    assert hooks_in(after) == [f"{__name__}:page"] * 2
    assert hooks_in(before) == [f"{__name__}:page"]


def test_hooks_on_the_bus_have_a_set_of_their_own(sets: HookSets, own_bus: EventBus) -> None:
    """It is another when one is declared or cancelled; that of another bus is another set."""
    other = HookSets(own_bus)
    other.begin("owner", None)
    before = sets.shared
    assert before != other.shared
    with use_bus(own_bus):
        hook(state="Failed", id="global")(page)
    assert sets.refresh(None)
    after = sets.shared
    assert hooks_in(after) == ["global"]
    own_bus.subscriptions[0].cancel()
    assert sets.refresh(None)
    assert not sets.refresh(None)
    assert sets.shared == before


def test_the_listeners_of_a_bus_are_in_its_set(sets: HookSets, own_bus: EventBus) -> None:
    """As they are when a run begins; the hooks stay the same, and so does the set if they do."""
    before = sets.shared
    subscription = own_bus.subscribe(page, state="Failed")
    with_listener = sets.of_bus(own_bus.subscriptions)
    assert with_listener != before
    assert [each.name for each in RecordedListener.read(with_listener.text)] == [f"{__name__}:page"]
    assert not sets.refresh(None)
    assert sets.shared == with_listener
    subscription.cancel()
    assert sets.of_bus(own_bus.subscriptions) == before


def test_a_program_that_changes_its_listeners_all_the_time_fills_no_journal(
    sets: HookSets, own_bus: EventBus
) -> None:
    made = set()
    for number in range(SETS_OF_LISTENERS + 10):
        with own_bus.subscribe(page, name=f"flow-{number}"):
            made.add(sets.of_bus(own_bus.subscriptions).id)
    assert len(made) == SETS_OF_LISTENERS


def closure(word: str) -> Callable[..., object]:
    """Make a hook that only this process has."""
    return lambda *_: word


def test_a_hook_by_value_is_handed_over_once_and_let_go(sets: HookSets, guarded: Guarded) -> None:
    """By its identity: two hooks of one name are two; what nothing needs is taken back."""
    shared = Hook(closure("shared"), id="shared", state="Failed")
    first = task(hooks=[shared])(lambda: None)
    second = first.with_options(name="second", hooks=[shared, Hook(closure("x"), id="shared")])
    made = sets.of(first), sets.of(second)
    assert [given.id for given in guarded.handed_over.values()] == ["shared", "shared"]
    values = {recorded.value for each in made for recorded in RecordedHook.read(each.text)}
    assert values == set(guarded.handed_over)

    del second
    gc.collect()
    assert len(guarded.handed_over) == 1
    del first, shared
    gc.collect()
    assert guarded.handed_over == {}


def test_another_owner_begins_anew(sets: HookSets, guarded: Guarded) -> None:
    """A forked child records its sets itself, and hands its hooks to its own guardian."""
    load = task(on_crashed=[closure("x")])(lambda: None)
    before = sets.of(load)
    child = Guarded()
    sets.begin("child", child)
    after = sets.of(load)

    assert before != after
    assert len(guarded.handed_over) == len(child.handed_over) == 1
