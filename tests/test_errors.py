"""Errors: their messages, which name the values and what to do, and their tree."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from eventflow import errors
from eventflow.errors import EventflowError, TerminationSignal

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
