"""What flows and tasks share: forms of declaration, hooks, copies, names, methods."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from eventflow import StateType, flow, task
from eventflow.errors import ReservedArgumentError
from eventflow.events import Event, StateTransition
from eventflow.retries import exponential_backoff
from eventflow.states import AnyState, Failed

both = pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])


pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def nothing(definition: Any, run: Any, state: AnyState) -> None:
    """Do nothing."""


@both
def test_decorating_what_is_no_function(decorate: Any) -> None:
    """A definition needs a function; a name given by position is a common slip."""
    with pytest.raises(TypeError, match=r"takes a function, but got 'name'; options are given by"):
        decorate("name")


@both
@pytest.mark.parametrize("reserved", ["return_state", "wait_for"])
def test_reserved_arguments(decorate: Any, reserved: str) -> None:
    """A parameter of a reserved name is refused at decoration."""
    scope: dict[str, Any] = {}
    exec(f"def body({reserved}): pass", scope)
    with pytest.raises(ReservedArgumentError, match=f"body has a parameter named '{reserved}'"):
        decorate(scope["body"])


@both
@pytest.mark.parametrize("options", [{"retries": -1}, {"timeout_seconds": -1}])
def test_negative_numbers(decorate: Any, options: dict[str, Any]) -> None:
    """A negative number is refused at decoration, by its name."""
    with pytest.raises(ValueError, match=next(iter(options))):
        decorate(**options)(lambda: None)


@both
def test_with_options_replaces_and_clears(decorate: Any) -> None:
    """A list replaces the hooks of its kind on the copy, an empty one clears them."""

    def other(definition: Any, run: Any, state: AnyState) -> None:
        pass

    original = decorate(on_completion=[nothing], on_failure=[nothing])(lambda: 1)
    replaced = original.with_options(on_completion=[other])
    cleared = original.with_options(on_completion=[])

    assert [(hook.fn, hook.state) for hook in replaced.hooks] == [
        (nothing, StateType.FAILED),
        (other, StateType.COMPLETED),
    ]
    assert [hook.state for hook in cleared.hooks] == [StateType.FAILED]
    assert len(original.with_options(on_completion=None).hooks) == len(original.hooks) == 2
    with pytest.raises(TypeError, match="Expected iterable for 'on_crashed'; got int instead"):
        original.with_options(on_crashed=1)


@both
@pytest.mark.parametrize("seconds", [0, None])
def test_no_timeout(decorate: Any, seconds: float | None) -> None:
    """0 and None mean none, and unset one on a copy."""

    def body() -> int:
        time.sleep(0.03)
        return 1

    assert decorate(timeout_seconds=seconds)(body)() == 1
    limited = decorate(timeout_seconds=0.001)(body)
    assert limited.with_options(timeout_seconds=seconds)() == 1
    assert limited.with_options(timeout_seconds=seconds).timeout_seconds is None


@both
@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_a_wrong_timeout(decorate: Any, seconds: float) -> None:
    """A number that is no time is refused at decoration, and text is no number."""
    with pytest.raises(ValueError, match="timeout_seconds must be 0 or more"):
        decorate(timeout_seconds=seconds)(lambda: None)
    with pytest.raises(TypeError, match="timeout_seconds must be a number of seconds"):
        decorate(timeout_seconds="1")(lambda: None)


@both
def test_with_options_changes_what_is_given(decorate: Any) -> None:
    """Options that are not given stay; None stands for the default."""
    original = decorate(
        name="n", version="1", description="d", tags=["a"], retries=2, timeout_seconds=3
    )(nothing)
    copied = original.with_options(retries=5)
    reset = original.with_options(
        name=None, version=None, description=None, tags=None, retries=None, timeout_seconds=None
    )

    assert (copied.name, copied.version, copied.description) == ("n", "1", "d")
    assert (copied.tags, copied.retry.retries, copied.timeout_seconds) == ({"a"}, 5, 3.0)
    default = decorate(nothing).version
    assert (reset.name, reset.version, reset.description) == ("nothing", default, "Do nothing.")
    assert (reset.tags, reset.retry.retries, reset.timeout_seconds) == (set(), 0, None)
    assert original.retry.retries == 2


def test_with_options_asks_for_delays_anew() -> None:
    """A function of the number of retries is asked again when that number changes."""
    original = task(retries=1, retry_delay_seconds=exponential_backoff(1))(nothing)

    assert original.retry.delays == (1.0,)
    assert original.with_options(retries=3).retry.delays == (1.0, 2.0, 4.0)


def test_errors_speak_of_the_copy() -> None:
    """An error in a call of a copy names the copy."""
    definition: Any = task(lambda number: number)
    copied = definition.with_options(name="renamed")
    with pytest.raises(Exception, match=r"^renamed\(number\) cannot be called"):
        copied()


# -- names and descriptions ---------------------------------------------------------------------


@both
def test_what_a_definition_takes_from_its_function(decorate: Any) -> None:
    """Name, description, signature and module are the function's."""

    @decorate
    def work(number: int) -> None:
        """Work hard."""

    assert (work.name, work.description, work.__name__) == ("work", "Work hard.", "work")
    assert work.__module__ == __name__
    assert repr(work).startswith(f"{type(work).__name__}(name='work', fn={__name__}:")
    assert decorate(functools.partial(work.fn, 1)).name == "work"

    class Called:
        def __call__(self) -> int:
            return 3

    assert decorate(Called()).name == "Called"
    assert decorate(Called())() == 3


def run_names(events: list[Event]) -> list[str]:
    return [event.run_name for event in events if isinstance(event, StateTransition)]


@both
def test_run_name_templates(decorate: Any, eventflow_events: list[Event]) -> None:
    """A template makes the run's name from its parameters, defaults included."""
    option = f"{decorate.__name__}_run_name"

    @decorate(**{option: "load-{day}-{zone}"})
    def load(day: str, zone: str = "utc") -> None:
        pass

    load("monday")
    assert set(run_names(eventflow_events)) == {"load-monday-utc"}
    eventflow_events.clear()
    load.with_options(**{option: lambda: "called"})("monday")
    assert set(run_names(eventflow_events)) == {"called"}
    eventflow_events.clear()
    load.with_options(**{option: None})("monday")
    assert "-" in run_names(eventflow_events)[0]


@both
@pytest.mark.parametrize(
    ("template", "error", "words"),
    [
        (lambda: 3, TypeError, "gave 3, no string"),
        (lambda: 1 / 0, ZeroDivisionError, "division"),
        ("{day.nothing}", AttributeError, "nothing"),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_run_names_that_cannot_be_made(
    decorate: Any,
    template: Any,
    error: type[Exception],
    words: str,
    eventflow_events: list[Event],
) -> None:
    """A name that cannot be made fails the run, which exists to tell it."""

    @decorate(**{f"{decorate.__name__}_run_name": template})
    def load(day: str) -> None:
        pass

    with pytest.raises(error, match=words):
        load("monday")
    assert [
        event.to_state.name for event in eventflow_events if isinstance(event, StateTransition)
    ] == ["Pending", "Failed"]


def test_a_run_name_made_of_results(eventflow_events: list[Event]) -> None:
    """A name made of what upstream gives is there once upstream has ended."""

    @task
    def day() -> str:
        return "monday"

    @task(task_run_name="load-{day}")
    def load(day: Any) -> None:
        pass

    @task(task_run_name="{day.nothing}")
    def wrong(day: Any) -> None:
        pass

    @flow
    def main() -> None:
        load.submit(day.submit()).wait()
        assert wrong.submit(day.submit()).result(raise_on_failure=False) is not None

    main()
    names = {
        event.to_state.name: event.run_name
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.definition_name == "load"
    }
    assert names["Running"] == names["Completed"] == "load-monday"
    assert names["Pending"] != "load-monday"


# -- methods ------------------------------------------------------------------------------------


@both
def test_methods(decorate: Any) -> None:
    """Methods, classmethods and staticmethods can be decorated, in both orders."""

    class Store:
        place = "class"

        def __init__(self) -> None:
            self.place = "instance"

        @decorate
        def method(self, number: int) -> str:
            return f"{self.place} {number}"

        @decorate(name="amethod")
        async def amethod(self, number: int) -> str:
            return f"{self.place} {number}"

        @decorate
        @classmethod
        def of_class(cls, number: int) -> str:
            return f"{cls.place} {number}"

        @decorate
        @staticmethod
        def free(number: int) -> str:
            return f"free {number}"

        @staticmethod
        @decorate
        def freed(number: int) -> str:
            return f"freed {number}"

    store = Store()
    assert store.method(1) == "instance 1"
    assert Store.method(store, 2) == "instance 2"
    assert asyncio.run(store.amethod(1)) == "instance 1"
    assert store.of_class(3) == Store.of_class(3) == "class 3"
    assert store.free(4) == Store.free(4) == "free 4"
    assert store.freed(5) == Store.freed(5) == "freed 5"
    assert store.method.with_options(name="other")(6) == "instance 6"
    assert store.method(number=7, return_state=True).result() == "instance 7"
    assert dict(store.method(8, return_state=True).__class__.model_fields).keys() >= {"id"}


@both
def test_a_classmethod_around_a_definition(decorate: Any) -> None:
    """`@classmethod` above the decorator works as far as Python binds through it."""

    class Store:
        place = "class"

        @classmethod
        @decorate
        def of_class(cls, number: int) -> str:
            return f"{cls.place} {number}"

    assert Store.of_class(1) == Store().of_class(2).replace("2", "1") == "class 1"
    if sys.version_info < (3, 13):
        assert Store.of_class.name == ("of-class" if decorate is flow else "of_class")


# -- retries ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("delays", "expected"),
    [
        (0.001, ["0.001", "0.001", "0.001"]),
        ([0.001, 0.002], ["0.001", "0.002", "0.002"]),
        (lambda retries: [0.001 * (n + 1) for n in range(retries)], ["0.001", "0.002", "0.003"]),
        (None, ["0", "0", "0"]),
    ],
)
def test_delays(
    decorate: Any, delays: Any, expected: list[str], eventflow_events: list[Event]
) -> None:
    """Delays are a number, a list that goes on with its last, or a function of the retries."""

    @decorate(retries=3, retry_delay_seconds=delays)
    def failing() -> None:
        raise ValueError

    failing(return_state=True)
    messages = [
        event.to_state.message
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.to_state.name == "AwaitingRetry"
    ]
    assert messages == [
        f"Attempt {number} failed; the next begins in {delay} s."
        for number, delay in enumerate(expected, 1)
    ]


def test_jitter(eventflow_events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter lengthens a delay by up to its factor."""
    monkeypatch.setattr("random.random", lambda: 0.5)

    @task(retries=1, retry_delay_seconds=0.002, retry_jitter_factor=1)
    def failing() -> None:
        raise ValueError

    failing(return_state=True)
    assert any(
        "begins in 0.003 s" in (event.to_state.message or "")
        for event in eventflow_events
        if isinstance(event, StateTransition)
    )


def test_a_failed_state_tells_why_it_is_awaited(eventflow_events: list[Event]) -> None:
    """AwaitingRetry carries the error of the attempt that failed."""

    @task(retries=1)
    def failing() -> Any:
        return Failed(data=ValueError("why"))

    assert failing(return_state=True).is_failed()
    (waiting,) = [
        event.to_state
        for event in eventflow_events
        if isinstance(event, StateTransition) and event.to_state.name == "AwaitingRetry"
    ]
    assert waiting.error is not None
    assert waiting.error.message == "why"


class Source(BaseModel):
    """What a run is named after."""

    name: str
    password: str = "hunter2"


def test_a_run_name_is_made_of_validated_values(eventflow_events: list[Event]) -> None:
    """From the first transition on, by a template and by a function."""

    @flow(flow_run_name="{day:%Y}-{source.name}")
    def load(day: date, source: Source) -> None:
        pass

    load("2026-01-31", {"name": "crm"})  # type: ignore[call-overload]
    assert set(run_names(eventflow_events)) == {"2026-crm"}


@both
def test_a_run_name_shows_no_secret(decorate: Any, eventflow_events: list[Event]) -> None:
    """By a template of any kind, and by a function that tells one."""

    def load(token: str, code: SecretStr, url: str, source: Source) -> None:
        pass

    option = f"{decorate.__name__}_run_name"
    secret: Any = "hunter2" if decorate is task else SecretStr("hunter2")
    values = ("hunter2", secret, "x://me:hunter2@host", Source(name="crm"))
    templates = ["{token}", "{token:.4}", "{code}", "{url}", "{source.password}", "{source}"]
    for template in [*templates, lambda: "of hunter2"]:
        decorate(load, **{option: template})(*values)
    names = set(run_names(eventflow_events))
    assert not any("hunt" in name for name in names), names
    assert "of ********" in names


@both
@pytest.mark.parametrize("template", ["{day:%Y}", lambda: 1 / 0])
def test_a_run_name_that_fails_is_named(
    decorate: Any, template: Any, eventflow_events: list[Event]
) -> None:
    """The state says which template it was."""

    @decorate(**{f"{decorate.__name__}_run_name": template})
    def load(day: int) -> None:
        pass

    state = load(3, return_state=True)
    what = "function" if callable(template) else repr(template)
    assert state.message.startswith("The run could not begin: ")
    assert state.message.endswith(f"It comes from the run name {what} of load.")
