"""Errors: their messages, which name the values and what to do, and their tree."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import errors, flow, get_run_logger, task
from eventflow.context import get_run_context
from eventflow.errors import EventflowError, TerminationSignal
from eventflow.testing import Isolated

EVERY = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_the_tree(kind: type[BaseException]) -> None:
    """Each error is public, documented, under the root, and drawn in the module's docstring."""
    assert kind.__doc__
    assert kind.__doc__.strip().endswith((".", "."))
    assert re.search(rf"[─ ]{kind.__name__}\n", (errors.__doc__ or "") + "\n")
    if kind is not TerminationSignal:
        assert issubclass(kind, EventflowError)


def test_every_error_is_exported() -> None:
    """Every exception of the module is in its `__all__`, which is sorted."""
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert sorted(defined) == sorted(errors.__all__)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.MissingContextError, RuntimeError),
        (errors.EventLoopError, RuntimeError),
        (errors.DeadlockError, RuntimeError),
        (errors.ReservedArgumentError, TypeError),
        (errors.SignatureMismatchError, TypeError),
        (errors.ParameterBindError, TypeError),
        (errors.ParameterTypeError, TypeError),
        (errors.HiddenFutureError, TypeError),
        (errors.BlockTypeError, TypeError),
        (errors.BlockNotFoundError, ValueError),
        (errors.BlockExistsError, ValueError),
        (errors.SettingError, ValueError),
        (errors.MissingExtraError, ImportError),
    ],
    ids=lambda kind: kind.__name__,
)
def test_an_error_is_the_builtin_one_that_it_is_caught_as(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    """By programs that catch what Python itself would raise, and by those that name it."""
    assert issubclass(kind, builtin)
    assert issubclass(kind, EventflowError)


def call_with_too_much(definition: Any) -> None:
    definition(1, 2)


def call_with_what_does_not_fit(definition: Any) -> None:
    definition("many")


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (call_with_too_much, errors.ParameterBindError),
        (call_with_what_does_not_fit, errors.ParameterTypeError),
    ],
)
def test_a_call_that_does_not_fit_is_a_type_error(
    call: Callable[[Any], None], kind: type[Exception], eventflow_isolated: Isolated
) -> None:
    """As it is for a plain function, sync and async, of a flow."""

    @flow
    def main(number: int) -> None: ...

    @flow
    async def amain(number: int) -> None: ...

    for definition in (main, lambda *args: asyncio.run(amain(*args))):
        with pytest.raises(TypeError) as caught:
            call(definition)
        assert caught.type is kind


@pytest.mark.parametrize("decorate", [flow, task], ids=["flow", "task"])
def test_a_reserved_parameter_is_a_type_error(decorate: Any) -> None:
    """It is refused where the function is decorated."""
    with pytest.raises(TypeError, match="'wait_for', which is reserved"):
        decorate(lambda wait_for: wait_for)


def test_what_needs_a_run_is_a_runtime_error() -> None:
    """Outside of a run: the context, the logger, and submitting."""
    uses: tuple[Callable[[], object], ...] = (
        get_run_context,
        get_run_logger,
        task(lambda: None).submit,
        lambda: task(lambda number: number).map([1]),
    )
    for use in uses:
        with pytest.raises(RuntimeError, match="no flow or task is running here"):
            use()


def test_termination() -> None:
    """SIGTERM is a SystemExit of status 143, no Exception, and no EventflowError."""
    error = TerminationSignal()

    assert isinstance(error, SystemExit)
    assert not isinstance(error, Exception)
    assert error.code == 143
    assert str(error) == "The process received signal 15 and is ending with status 143."


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            errors.IllegalTransition("The run 'x'", "Completed", "Running", []),
            (
                "The run 'x' is Completed and cannot enter Running; from Completed it may enter: "
                "nothing, the state is terminal."
            ),
        ),
        (
            errors.MissingContextError("get_run_logger()"),
            (
                "get_run_logger() needs a run, and no flow or task is running here. "
                "Call it inside a flow or a task."
            ),
        ),
        (
            errors.HookTimeout("m:f", 1.5),
            "The hook m:f did not end within its timeout of 1.5 s.",
        ),
        (
            errors.SettingError("S", "v", "one of a, b", "the environment"),
            "S is 'v' (from the environment), but it must be one of a, b.",
        ),
        (
            errors.MissingExtraError("Notify", "apprise", "notifications"),
            (
                "Notify needs the package 'apprise', which is not installed; "
                "install it with: pip install 'eventflow-runtime[notifications]'"
            ),
        ),
        (
            errors.BlockNotFoundError("string", "nam", ["name", "other"]),
            (
                "There is no block 'nam' of type 'string'. Did you mean 'name'? "
                "Saved blocks of that type: 'name', 'other'."
            ),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_messages(error: Exception, message: str) -> None:
    """Messages are built from data."""
    assert str(error) == message


def test_plain_errors_can_be_pickled() -> None:
    """An error of a run can be pickled, as to another process."""
    for kind in (errors.FailedRun, errors.CrashedRun, errors.CancelledRun, errors.UnfinishedRun):
        again = pickle.loads(pickle.dumps(kind("why")))
        assert (type(again), str(again)) == (kind, "why")
