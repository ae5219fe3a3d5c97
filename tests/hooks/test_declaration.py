"""The declaration of hooks: identity, options, and what they select."""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

from eventflow import Hook, StateType, bus, flow, hook, task
from eventflow.hooks.declaration import KINDS


def plain(flow: Any, run: Any, state: Any) -> None: ...


async def aplain(flow: Any, run: Any, state: Any) -> None: ...


class Caller:
    def __call__(self, *args: Any) -> None: ...

    async def amethod(self, *args: Any) -> None: ...


class AsyncCaller:
    async def __call__(self, *args: Any) -> None: ...


@flow
async def aflow() -> None: ...


@pytest.mark.parametrize(
    ("fn", "identity", "is_async"),
    [
        (plain, f"{__name__}:plain", False),
        (aplain, f"{__name__}:aplain", True),
        (partial(partial(aplain)), f"{__name__}:aplain", True),
        (Caller(), f"{__name__}:Caller", False),
        (Caller().amethod, f"{__name__}:Caller.amethod", True),
        (AsyncCaller(), f"{__name__}:AsyncCaller", True),
        (Mock(), "unittest.mock:Mock", False),
        (MagicMock(), "unittest.mock:MagicMock", False),
        (AsyncMock(), "unittest.mock:AsyncMock", True),
        (partial(AsyncMock()), "unittest.mock:AsyncMock", True),
        ({}.update, "builtins:dict.update", False),
        (aflow, f"{__name__}:aflow", True),
    ],
)
def test_identity_and_kind_of_each_callable(fn: Any, identity: str, is_async: bool) -> None:
    """Through partials and objects: the module and the qualified name, and whether it is async."""
    hook = Hook(fn)

    assert (hook.id, hook.is_async) == (identity, is_async)
    assert Hook(fn, id="mine").id == "mine"


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"fn": 3}, TypeError, "A hook must be callable, but got 3"),
        ({"id": 3}, TypeError, "The id of a hook must be a string, not empty, but is 3"),
        ({"id": ""}, TypeError, "The id of a hook must be a string, not empty, but is ''"),
        ({"timeout_seconds": -1}, ValueError, "timeout_seconds must be 0 or more, but is -1"),
        ({"timeout_seconds": float("nan")}, ValueError, "timeout_seconds must be 0 or more"),
        ({"timeout_seconds": "1"}, TypeError, "timeout_seconds must be a number of seconds"),
        ({"retries": -1}, ValueError, "retries must be 0 or more"),
        ({"retry_delay_seconds": -1}, ValueError, "retry_delay_seconds must be 0 or more"),
        ({"run_type": "job"}, ValueError, "run_type must be 'flow' or 'task'"),
        ({"state": 3}, TypeError, "state must be a state's name or a StateType, but got 3"),
        ({"name": 3}, TypeError, "name must be a string"),
        ({"lasting": 0}, ValueError, "longer than 0 seconds, and at most 100 years, but got 0"),
        ({"overdue_seconds": "1"}, TypeError, "overdue_seconds must be a number of seconds"),
        ({"overdue_seconds": 1, "state": "Failed"}, TypeError, "give no state and no lasting"),
    ],
)
def test_wrong_options_are_refused(options: Any, error: type[Exception], said: str) -> None:
    """At the declaration, with the value and what is allowed."""
    with pytest.raises(error, match=said):
        Hook(**{"fn": plain} | options)


def test_a_hook_for_another_state_keeps_everything_else() -> None:
    """Declared in a list of one kind, a hook is for that kind's state."""
    hook = Hook(
        plain,
        state=iter(["Failed"]),
        run_type="task",
        name="x*",
        tags=iter(["a"]),
        id="mine",
        timeout_seconds=3,
        retries=2,
        retry_delay_seconds=[1, 2],
    )
    other = hook.on(StateType.CRASHED)

    assert hook.state == ("Failed",)
    assert str(hook.filter()) == (
        "StateTransition, run_type='task', state=Failed, name='x*', tags=['a']"
    )
    assert str(other.filter()) == (
        "StateTransition, run_type='task', state=CRASHED, name='x*', tags=['a']"
    )
    assert other.policy == hook.policy
    assert (other.id, other.timeout_seconds, other.retries) == ("mine", 3, 2)
    assert {hook: 1}[hook] == 1
    assert hook.on(StateType.CRASHED) == other != hook


def test_a_hook_without_a_state_is_for_every_transition(eventflow_isolated: Any) -> None:
    """All that a run enters, from the first state on."""
    names: list[str] = []
    watch = Hook(lambda definition, run, state: names.append(state.name), tags="a")

    @task(hooks=[watch], tags={"a"})
    def work() -> None: ...

    work()

    assert names == ["Pending", "Running", "Completed"]
    assert list(KINDS.values()) == [
        *("RUNNING", "COMPLETED", "FAILED", "CANCELLING", "CRASHED"),
        *(("COMPLETED", "FAILED", "CANCELLED", "CRASHED"), None),
    ]


# -- signatures --------------------------------------------------------------------------------


def two(flow: Any, run: Any) -> None: ...


def keyword(flow: Any, run: Any, state: Any, *, channel: str) -> None: ...


def four(flow: Any, run: Any, state: Any, secret: str, kept: str = "s3cret") -> None: ...


class Methods:
    def short(self, run: Any) -> None: ...

    @staticmethod
    def static(run: Any) -> None: ...

    def whole(self, flow: Any, run: Any, state: Any) -> None: ...


class ShortCaller:
    async def __call__(self, run: Any) -> None: ...


@functools.wraps(two)
def adapted(*args: Any) -> None: ...


REFUSED: dict[str, tuple[Any, str]] = {
    "two": (two, r":two\(flow, run\) cannot be called with \(definition, run, state\): too many"),
    "keyword": (keyword, r"missing a required (keyword-only )?argument: 'channel'"),
    "four": (four, r":four\(flow, run, state, secret, kept=\.\.\.\) cannot be called"),
    "lambda": (lambda: None, r"<lambda>\(\) cannot .* as in: def it\(definition, run, state\)\."),
    "method": (Methods().short, r"Methods\.short\(run\) cannot"),
    "static method": (Methods.static, r"Methods\.static\(run\) cannot"),
    "function of a class": (Methods.whole, r"missing a required argument: 'state'"),
    "object": (ShortCaller(), r"ShortCaller\(run\) cannot"),
    "partial": (partial(plain, 1), r":plain\(run, state\) cannot"),
    "partial with a keyword": (partial(plain, state=1), r"cannot be called"),
    "class": (Methods, r"Methods\(\) cannot"),
    "async function": (ShortCaller().__call__, r"ShortCaller\.__call__\(run\) cannot"),
}
ACCEPTED: dict[str, Any] = {
    "function": plain,
    "default": lambda a, b, c, d=4: None,
    "any": lambda *args, **more: None,
    "partial": partial(keyword, channel="x"),
    "method": Methods().whole,
    "wrapper": adapted,
    "builtin with a signature": print,
    "builtin without one": max,
    "class without one": dict,
    "cached": functools.lru_cache(plain),
    "mock": MagicMock(),
    "async mock": AsyncMock(),
    "definition": aflow,
}


def ways(definition: Any) -> dict[str, Callable[[Any], object]]:
    """Return every way to declare a hook, the options of a decorator among them."""
    decorator: Any = flow if definition.run_type == "flow" else task

    def declare(kind: str, fn: Any) -> None:
        decorator(**{kind: [fn]}, overdue_seconds=9)(lambda: None)

    options: dict[str, Callable[[Any], object]] = {
        kind: partial(declare, kind) for kind in [*KINDS, "hooks"]
    }
    methods: dict[str, Callable[[Any], object]] = {
        f".{kind}": getattr(definition, kind) for kind in KINDS
    }

    return {
        **options,
        **methods,
        ".on": definition.on("Failed"),
        "with_options": lambda fn: definition.with_options(on_failure=[fn]),
        "Hook": Hook,
        "hook": hook(state="Failed"),
    }


@pytest.mark.usefixtures("eventflow_isolated")
@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("decorator", [flow, task])
def test_what_cannot_take_three_arguments_is_refused(decorator: Any, kind: str) -> None:
    """Wherever it is declared, and nothing is declared then."""
    fn, message = REFUSED[kind]
    definition = decorator(overdue_seconds=9)(lambda: None)
    for way in ways(definition).values():
        with pytest.raises(TypeError, match=message) as raised:
            way(fn)
        assert "A hook takes 3 positional arguments, as in: def " in str(raised.value)
        assert "s3cret" not in str(raised.value)

    assert definition.hooks == ()
    assert bus.subscriptions == []


@pytest.mark.usefixtures("eventflow_isolated")
@pytest.mark.parametrize("kind", ACCEPTED)
def test_what_may_take_three_arguments_is_a_hook(kind: str) -> None:
    """Also where nobody can tell."""
    definition = flow(overdue_seconds=9)(lambda: None)
    for way in ways(definition).values():
        way(ACCEPTED[kind])

    assert len(definition.hooks) == len(KINDS) + 1
    assert len(bus.subscriptions) == 1


def test_a_hook_runs_where_it_is_told_to() -> None:
    """In the process of the run, unless it is left to workers; a copy for other states as well."""
    left = Hook(plain, state="Failed", where="worker")

    assert Hook(plain).where == "owner"
    assert (left.where, left.on("Crashed").where, left.options()["where"]) == ("worker",) * 3
    assert left != Hook(plain, state="Failed")


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(ValueError, match="where must be 'owner' or 'worker', but is 'moon'"):
        Hook(plain, where="moon")  # type: ignore[arg-type]


@pytest.mark.parametrize("timed", [{"lasting": 5}, {"overdue_seconds": 5}])
def test_what_is_told_while_a_run_goes_on_is_not_left_to_workers(timed: dict[str, float]) -> None:
    with pytest.raises(TypeError, match="leave out where='worker'"):
        Hook(plain, state=None, where="worker", **timed)  # type: ignore[arg-type]
