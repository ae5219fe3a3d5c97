"""The hooks of a definition: how they are declared, copied and replaced."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from eventflow import Hook, StateType, flow, task
from eventflow.eventbus import Subscription
from eventflow.hooks.declaration import KINDS
from eventflow.states import AnyState, Cancelling

both = pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])


pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def nothing(definition: Any, run: Any, state: AnyState) -> None:
    """Do nothing."""


# -- the words of errors ------------------------------------------------------------------------


@both
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (nothing, "Expected iterable for '{kind}'; got function instead."),
        ("hook", "Expected callables in '{kind}'; got str instead."),
        (["hook"], "Expected callables in '{kind}'; got str instead."),
        ([nothing, "hook"], "Expected callables in '{kind}'; got str instead."),
    ],
    ids=["function", "string", "list", "second"],
)
def test_hooks_that_are_no_list_of_callables(
    decorate: Any, kind: str, given: Any, problem: str
) -> None:
    """They are refused in the words of the design."""
    word = decorate.__name__
    with pytest.raises(TypeError) as caught:
        decorate(**{kind: given})(lambda: None)

    assert str(caught.value) == (
        f"{problem.format(kind=kind)} "
        f"Please provide a list of hooks to '{kind}':\n\n"
        f"@{word}({kind}=[hook1, hook2])\ndef my_{word}():\n\tpass"
    )


@both
@pytest.mark.parametrize("states", [(), (3,), (nothing,)])
def test_on_takes_states(decorate: Any, states: tuple[Any, ...]) -> None:
    """`.on` without states, or with something else, is refused."""
    with pytest.raises(TypeError, match=r"\.on\(\.\.\.\) takes states"):
        decorate(lambda: None).on(*states)


# -- hooks --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("collect", [list, tuple, iter], ids=["list", "tuple", "generator"])
def test_any_iterable_of_hooks(decorate: Any, collect: Callable[..., Any]) -> None:
    """A tuple or a generator of hooks works, and every run calls them, in order."""
    seen: list[str] = []

    def hooks() -> Iterator[Callable[..., Any]]:
        for name in ("first", "second"):
            yield lambda definition, run, state, name=name: seen.append(name)

    declared = decorate(on_completion=collect(hooks()))(lambda: 1)
    declared()
    declared()
    assert seen == ["first", "second"] * 2


@both
def test_the_list_is_copied(decorate: Any) -> None:
    """Changing a list after the decoration changes no definition."""
    hooks: list[Any] = [nothing]
    declared = decorate(on_completion=hooks)(lambda: 1)
    hooks.clear()

    assert [hook.fn for hook in declared.hooks] == [nothing]


@both
def test_every_kind_by_decorator(decorate: Any) -> None:
    """Every kind has a decorator form, which leaves the function as it is."""
    seen: list[tuple[str, str]] = []
    outcomes: list[Any] = [1, ValueError(), Cancelling(), SystemExit()]

    @decorate(overdue_seconds=900)
    def work() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    for kind in KINDS:

        def hook(definition: Any, run: Any, state: AnyState, kind: str = kind) -> None:
            assert definition is work
            assert run.definition is work
            seen.append((kind, state.name))

        assert getattr(work, kind)(hook) is hook
    work()
    for error in (ValueError, Exception, SystemExit):
        with pytest.raises(error):
            work()
    assert seen == [
        *[("on_running", "Running"), ("on_completion", "Completed"), ("on_end", "Completed")],
        *[("on_running", "Running"), ("on_failure", "Failed"), ("on_end", "Failed")],
        *[("on_running", "Running"), ("on_cancellation", "Cancelling"), ("on_end", "Cancelled")],
        *[("on_running", "Running"), ("on_crashed", "Crashed"), ("on_end", "Crashed")],
    ]


@both
def test_one_hook_for_several_transitions(decorate: Any) -> None:
    """`.on` takes names and types, mixed; a type stands for every name of it."""
    seen: list[str] = []

    @decorate(retries=1)
    def work() -> None:
        raise ValueError

    @work.on("AwaitingRetry", StateType.RUNNING, "Failed")
    def watch(definition: Any, run: Any, state: AnyState) -> None:
        seen.append(state.name)

    work(return_state=True)
    assert seen == ["Running", "AwaitingRetry", "Retrying", "Failed"]


@both
def test_hooks_with_options(decorate: Any) -> None:
    """A Hook brings its states along in `hooks=`, and takes those of a kind elsewhere."""
    seen: list[str] = []

    def note(definition: Any, run: Any, state: AnyState) -> None:
        seen.append(state.name)

    hook = Hook(note, state=["Pending", "Completed"], id="note")
    decorate(hooks=[hook])(lambda: 1)()
    assert seen == ["Pending", "Completed"]
    seen.clear()
    kept = decorate(on_running=[hook])(lambda: 1)
    kept()
    assert seen == ["Running"]
    assert [hook.id for hook in kept.hooks] == ["note"]


class Recording:
    """Every sort of callable, each noting its name."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.mock = Mock(side_effect=lambda *given: self.note("mock", *given))

    def note(self, name: str, definition: Any, run: Any, state: AnyState) -> None:
        self.seen.append(name)

    async def anote(self, name: str, definition: Any, run: Any, state: AnyState) -> None:
        await asyncio.sleep(0)
        self.seen.append(name)

    def method(self, definition: Any, run: Any, state: AnyState) -> None:
        self.seen.append("method")

    async def amethod(self, definition: Any, run: Any, state: AnyState) -> None:
        await asyncio.sleep(0)
        self.seen.append("amethod")

    def __call__(self, definition: Any, run: Any, state: AnyState) -> None:
        self.seen.append("object")

    def every(self) -> dict[str, Any]:
        return {
            "lambda": lambda *given: self.note("lambda", *given),
            "partial": functools.partial(self.note, "partial"),
            "apartial": functools.partial(self.anote, "apartial"),
            "method": self.method,
            "amethod": self.amethod,
            "object": self,
            "mock": self.mock,
        }


@both
@pytest.mark.parametrize("is_async", [False, True])
def test_all_sorts_of_callables(decorate: Any, is_async: bool) -> None:
    """Functions, coroutine functions, partials, bound methods, objects and mocks are hooks."""
    recording = Recording()

    def body() -> int:
        return 1

    async def abody() -> int:
        return 1

    declared = decorate(on_completion=recording.every().values())(abody if is_async else body)
    state = declared(return_state=True)
    if is_async:
        state = asyncio.run(state)
    assert recording.seen == list(recording.every())
    recording.mock.assert_called_once()
    assert recording.mock.call_args.args[0] is declared
    assert recording.mock.call_args.args[2] == state
    assert recording.mock.call_args.kwargs == {}


# -- copies -------------------------------------------------------------------------------------


@both
def test_copies_share_no_hooks(decorate: Any) -> None:
    """What is declared on a copy, or on the original later, stays there."""
    seen: list[str] = []
    original = decorate(name="original")(lambda: 1)
    original.on_completion(lambda *given: seen.append("first"))
    copied = original.with_options(name="copy")
    original.on_completion(lambda *given: seen.append("original"))
    copied.on_completion(lambda *given: seen.append("copy"))

    original()
    assert seen == ["first", "original"]
    seen.clear()
    copied()
    assert seen == ["first", "copy"]
    assert (original.name, copied.name) == ("original", "copy")


@both
def test_hooks_of_methods(decorate: Any) -> None:
    """A hook declared on a method runs for every instance, and is given the bound definition."""
    seen: list[Any] = []

    class Store:
        @decorate
        def method(self) -> None:
            pass

        @method.on_completion
        def done(definition: Any, run: Any, state: AnyState) -> None:  # noqa: N805
            seen.append(definition.fn.__self__)

    first, second = Store(), Store()
    first.method()
    second.method()
    assert seen == [first, second]


def test_a_hook_declared_while_another_thread_begins_the_first_run_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def other(definition: Any, run: Any, state: AnyState) -> None: ...

    @flow(on_completion=[nothing])
    def program() -> None: ...

    declaring = threading.Thread(target=lambda: program.on_completion(other))

    def subscription(*args: Any, **options: Any) -> Subscription:
        if declaring.ident is None:
            declaring.start()
            # Returns at once if the declaration does not wait for this thread.
            declaring.join(0.1)
        return Subscription(*args, **options)

    monkeypatch.setattr("eventflow.eventbus.Subscription", subscription)
    assert [each.listener for each in program.declared] == [nothing]
    declaring.join()
    assert [each.listener for each in program.declared] == [nothing, other]
