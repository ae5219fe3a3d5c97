"""Options: wrong ones are refused where they are given, and all of them can be read back."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from eventflow import Flow, Hook, Task, flow, task
from eventflow.errors import InvalidNameError
from eventflow.retries import exponential_backoff
from eventflow.runners import ThreadPoolTaskRunner
from eventflow.runners.threads import default
from eventflow.states import StateType

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

KINDS = ("running", "completion", "failure", "cancellation", "crashed")
both = pytest.mark.parametrize("decorate", [flow, task])


def work(number: int = 1) -> int:
    """Do it."""
    return number


async def awork() -> None: ...


async def akey(context: object, parameters: object) -> None: ...


def generate() -> Iterator[int]:
    yield 1


async def agenerate() -> Any:
    yield 1


def page(definition: object, run: object, state: object) -> None: ...


def call(definition: object, run: object, state: object) -> None: ...


# -- wrong options ------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"name": 3}, TypeError, "name of a .* must be text, but got 3"),
    ({"name": work}, TypeError, "must be text, but got <function work.*meant to be called"),
    ({"name": ""}, InvalidNameError, "must not be blank, but got ''"),
    ({"name": " "}, InvalidNameError, "must not be blank"),
    ({"version": 3}, TypeError, "version of a .* must be text, but got 3"),
    ({"description": 3}, TypeError, "description of a .* must be text"),
    ({"tags": [1]}, TypeError, r"tags of a .* must be texts, but got \(1,\)"),
    ({"tags": 1}, TypeError, "tags of a .* must be texts, but got 1"),
    ({"log_prints": "false"}, TypeError, "log_prints .* must be True or False, but got 'false'"),
    ({"retries": -1}, ValueError, "retries must be 0 or more, but is -1"),
    ({"retries": "3"}, TypeError, "retries must be a whole number, but is '3'"),
    ({"retry_delay_seconds": -1}, ValueError, "retry_delay_seconds must be 0 or more"),
    ({"retry_delay_seconds": "1"}, TypeError, "retry_delay_seconds must be a number"),
    ({"retry_delay_seconds": [1, -1]}, ValueError, "retry_delay_seconds .* but got -1"),
    ({"retry_delay_seconds": lambda retries: "1"}, TypeError, "retry_delay_seconds"),
    ({"timeout_seconds": -1}, ValueError, "timeout_seconds must be 0 or more, but is -1"),
    ({"timeout_seconds": "1"}, TypeError, "timeout_seconds must be a number of seconds"),
    ({"on_failure": page}, TypeError, "Expected iterable for 'on_failure'"),
    ({"hooks": 3}, TypeError, "Expected iterable for 'hooks'"),
]
WRONG_OF_FLOWS: list[tuple[dict[str, Any], type[Exception], str]] = [
    *[({"name": f"a{c}b"}, InvalidNameError, f"% & / < >, but got 'a{c}b'") for c in "/%&<>"],
    ({"flow_run_name": awork}, TypeError, "flow_run_name .* a plain function, not an async one"),
    ({"validate_parameters": "no"}, TypeError, "validate_parameters of a flow must be True or"),
    ({"task_runner": 4}, TypeError, r"task_runner of a flow .*ThreadPoolTaskRunner\(.* got 4"),
    ({"task_runner": int}, TypeError, "task_runner of a flow must be a task runner"),
]
WRONG_OF_TASKS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"retry_jitter_factor": -1}, ValueError, "retry_jitter_factor must be 0 or more"),
    ({"retry_jitter_factor": "1"}, TypeError, "retry_jitter_factor must be a number"),
    ({"retry_condition_fn": 3}, TypeError, "retry_condition_fn must be callable, but got 3"),
    ({"retry_condition_fn": lambda: True}, TypeError, r"called with \(task, run, state\)"),
    ({"cache_key_fn": "key"}, TypeError, "cache_key_fn must be callable, but got 'key'"),
    ({"cache_key_fn": lambda: "key"}, TypeError, r"called with \(context, parameters\)"),
    ({"cache_key_fn": akey}, TypeError, "cache_key_fn .* a plain function, not an async one"),
    ({"task_run_name": awork}, TypeError, "task_run_name .* a plain function, not an async one"),
    ({"cache_expiration": 3}, TypeError, "cache_expiration .* must be a timedelta.* got 3"),
    ({"cache_expiration": timedelta(-1)}, ValueError, "cache_expiration .* must be 0 or more"),
    ({"refresh_cache": "no"}, TypeError, "refresh_cache of a task must be True or False"),
]


@pytest.mark.parametrize(
    ("decorate", "options", "error", "words"),
    [
        *[(decorate, *case) for decorate in (flow, task) for case in WRONG],
        *[(flow, *case) for case in WRONG_OF_FLOWS],
        *[(task, *case) for case in WRONG_OF_TASKS],
    ],
)
def test_wrong_options_are_refused(
    decorate: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """The message names the option, its value and what is allowed, however it is given."""
    with pytest.raises(error, match=words):
        decorate(**options)(work)
    with pytest.raises(error, match=words):
        decorate(work).with_options(**options)
    with pytest.raises(error, match=words):
        (Flow if decorate is flow else Task)(work, **options)


@both
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("retires", "has no option 'retires'; did you mean 'retries'"),
        ("timeout", "did you mean 'timeout_seconds'"),
        ("on_complete", "did you mean 'on_completion'"),
        ("xyz", r"has no option 'xyz'\. Its options are .*cancellation.*retries"),
        ("run_name", "did you mean '(flow|task)_run_name'"),
    ],
)
def test_unknown_options_are_refused(decorate: Any, option: str, words: str) -> None:
    """The nearest known one is named, and all there are; before there is a function."""
    with pytest.raises(TypeError, match=words):
        decorate(**{option: 1})
    with pytest.raises(TypeError, match=words):
        decorate(work, **{option: 1})
    with pytest.raises(TypeError, match=words):
        decorate(work).with_options(**{option: 1})
    made: Any = Flow if decorate is flow else Task
    with pytest.raises(TypeError, match=words):
        made(work, **{option: 1})


@pytest.mark.parametrize(
    ("kind", "decorate", "only"), [(Flow, flow, "task_runner"), (Task, task, "cache_key_fn")]
)
def test_signatures_list_the_options(kind: Any, decorate: Any, only: str) -> None:
    """As `help` shows them; what a definition's function takes is its own affair."""
    listed = {*kind.option_names}
    assert {"name", "retries", "on_crashed", only} <= listed
    for function in (kind, decorate, decorate(work).with_options):
        assert listed == {*inspect.signature(function).parameters} - {"fn"}
    assert [*inspect.signature(decorate(work)).parameters] == ["number"]


def test_options_of_the_other_kind_are_unknown() -> None:
    """A flow has no cache, and a task no runner."""
    with pytest.raises(TypeError, match="A flow has no option 'cache_key_fn'"):
        flow(cache_key_fn=None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="A task has no option 'task_runner'"):
        task(task_runner=None)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def test_names_that_a_task_may_have() -> None:
    """Only of a flow's name are some characters refused."""
    assert task(name="a/b & <c>")(work).name == "a/b & <c>"


# -- reading options back -----------------------------------------------------------------------


@both
def test_defaults(decorate: Any) -> None:
    """Without options, each has its default."""
    made = decorate(work)

    assert (made.name, made.description, made.tags) == ("work", "Do it.", set())
    assert (made.retries, made.retry_delay_seconds, made.timeout_seconds) == (0, 0, None)
    assert made.log_prints is None
    assert all(getattr(made, f"on_{kind}_hooks") == [] for kind in KINDS)
    assert made.hooks == ()


@both
def test_common_options(decorate: Any) -> None:
    """What flows and tasks share is read under the name by which it was given."""
    options: dict[str, Any] = {
        "name": "n",
        "version": "7",
        "description": "d",
        "tags": {"a"},
        "retries": 2,
        "retry_delay_seconds": 1.5,
        "timeout_seconds": 3,
        "log_prints": True,
        f"{decorate.__name__}_run_name": "run-{number}",
    }
    made = decorate(**options)(work)

    assert {option: getattr(made, option) for option in options} == options
    assert type(made.timeout_seconds) is float
    reset = made.with_options(**dict.fromkeys(options))
    plain = decorate(work)
    for option in options:
        assert getattr(reset, option) == getattr(plain, option)


@both
@pytest.mark.parametrize(
    ("delays", "read"),
    [
        (2, 2),
        ([1, 2.5], [1, 2.5]),
        ((1, 2), [1, 2]),
        (range(1, 3), [1, 2]),
        (exponential_backoff(1), [1, 2]),
        (lambda retries: retries, [2]),
    ],
)
def test_delays(decorate: Any, delays: Any, read: Any) -> None:
    """One number, or a list of what is waited; also of a copy with other options."""
    made = decorate(retries=2, retry_delay_seconds=delays)(work)

    assert made.retry_delay_seconds == read
    assert made.with_options(tags=["a"], retries=2).retry_delay_seconds == read


def test_delays_that_can_be_read_once() -> None:
    """The delays of an iterator are those of a copy as well."""
    made = task(retries=2, retry_delay_seconds=(delay for delay in (1, 2)))(work)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    copied = made.with_options(retries=1)

    assert (made.retry_delay_seconds, made.retry.delays) == ([1, 2], (1, 2))
    assert (copied.retry_delay_seconds, copied.retry.delays) == ([1, 2], (1, 2))


def test_options_of_a_flow() -> None:
    """Those that only a flow has."""
    runner = ThreadPoolTaskRunner(max_workers=1)
    made = flow(validate_parameters=False, task_runner=runner)(work)
    reset = made.with_options(validate_parameters=None, task_runner=None)

    assert (made.should_validate_parameters, made.task_runner) == (False, runner)
    assert (reset.should_validate_parameters, reset.task_runner) == (True, default)
    assert flow(work).flow_run_name is None
    assert isinstance(flow(task_runner=ThreadPoolTaskRunner)(work).task_runner, type(runner))


def test_options_of_a_task() -> None:
    """Those that only a task has."""

    def retry(task: object, run: object, state: object) -> bool:
        return True

    def key(context: object, parameters: object) -> str:
        return "key"

    options: dict[str, Any] = {
        "retry_jitter_factor": 0.5,
        "retry_condition_fn": retry,
        "cache_key_fn": key,
        "cache_expiration": timedelta(1),
        "refresh_cache": True,
    }
    made = task(**options)(work)

    assert {option: getattr(made, option) for option in options} == options
    reset = made.with_options(**dict.fromkeys(options))
    assert [getattr(reset, option) for option in options] == [None, None, None, None, False]
    assert reset.task_run_name is None


@both
@pytest.mark.parametrize(
    ("function", "isasync", "isgenerator"),
    [(work, False, False), (awork, True, False), (generate, False, True), (agenerate, True, True)],
)
def test_kinds_of_functions(decorate: Any, function: Any, isasync: bool, isgenerator: bool) -> None:
    """Whether the function is async, and whether it is a generator."""
    made = decorate(function)

    assert (made.isasync, made.isgenerator) == (isasync, isgenerator)


@both
@pytest.mark.parametrize("kind", KINDS)
def test_hooks_of_each_kind(decorate: Any, kind: str) -> None:
    """The functions, in a list of the caller's own; hooks of other kinds are not among them."""
    option = f"on_{kind}"
    other = "on_failure" if kind != "failure" else "on_running"
    made = decorate(**{option: [page, Hook(call)], other: [page]})(work)
    getattr(made, option)(page)
    made.on(StateType.RUNNING)(call)
    read = getattr(made, f"{option}_hooks")

    assert read == [page, call, page]
    read.clear()
    assert getattr(made, f"{option}_hooks") == [page, call, page]
    assert getattr(made.with_options(**{option: [call]}), f"{option}_hooks") == [call]


# -- made without a decorator -------------------------------------------------------------------


def test_definitions_are_made_by_keyword() -> None:
    """`Flow` and `Task` take a function and the options of their decorators."""
    made = Flow(fn=work, name="etl", retries=1)
    step = Task(work, name="step", tags=["a"])

    assert (made(3), made.name, made.retries) == (3, "etl", 1)
    assert (step(4), step.name, step.tags) == (4, "step", frozenset("a"))
    assert flow(work, name="direct").name == "direct"
    assert task(work, name="direct").name == "direct"


# -- setting ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("attribute", "option"),
    [
        *[(option, option) for option in ("name", "version", "retries", "tags", "log_prints")],
        *[(option, option) for option in ("retry_delay_seconds", "on_failure", "hooks")],
        ("on_completion_hooks", "on_completion"),
    ],
)
def test_options_cannot_be_set(decorate: Any, attribute: str, option: str) -> None:
    """The error names `with_options`, and nothing has changed."""
    made = decorate(retries=2, name="n")(work)
    before = getattr(made, attribute)
    with pytest.raises(
        AttributeError, match=rf"'{attribute}' of .* 'n' cannot .*with_options\({option}=\.\.\.\)"
    ):
        setattr(made, attribute, [])

    assert getattr(made, attribute) == before


@both
@pytest.mark.parametrize("attribute", ["isasync", "isgenerator", "retry", "run_name"])
def test_what_follows_from_options_cannot_be_set(decorate: Any, attribute: str) -> None:
    """Nor what follows from the function."""
    made = decorate(work)
    before = getattr(made, attribute)
    with pytest.raises(AttributeError, match=rf"'{attribute}' .* cannot be set.* with_options"):
        setattr(made, attribute, True)

    assert getattr(made, attribute) == before


def test_options_of_one_kind_cannot_be_set() -> None:
    """Those that only a flow, or only a task, has."""
    made, step = flow(work), task(work)
    with pytest.raises(AttributeError, match=r"with_options\(validate_parameters="):
        made.should_validate_parameters = False
    with pytest.raises(AttributeError, match=r"with_options\(cache_key_fn="):
        step.cache_key_fn = None
    with pytest.raises(AttributeError, match=r"with_options\(flow_run_name="):
        made.flow_run_name = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@both
def test_other_attributes_can_be_set(decorate: Any) -> None:
    """As those of a function."""
    made = decorate(work)
    made.owner = "me"

    assert made.owner == "me"
    assert made.with_options(retries=1).owner == "me"
