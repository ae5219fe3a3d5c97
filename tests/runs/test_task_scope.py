"""The scope of a flow run: what was submitted and has not ended."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow import flow, task
from eventflow.context import get_run_context
from eventflow.errors import MissingContextError
from eventflow.runners import TaskScope
from eventflow.runners.threads import default
from eventflow.runs.futures import Future

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def a_future() -> Future[Any]:
    @flow
    def main() -> Any:
        return task(lambda: get_run_context().run)()

    return Future(main())


def test_a_scope_knows_what_is_open() -> None:
    """A future is in the scope from its submission to its end."""
    scope, future = TaskScope(default, None), a_future()
    seen = [scope.empty]
    scope.add(future)
    seen += [scope.empty, scope.close()]
    future.finish()
    seen += [scope.empty, scope.close()]
    assert seen == [True, False, False, True, True]
    scope.join()


def test_a_closed_scope_takes_nothing_in() -> None:
    """Nothing is added to a scope that is closed, until it is reopened."""
    scope = TaskScope(default, None)
    scope.close()
    with pytest.raises(MissingContextError, match=r"\.submit\(\) needs a run"):
        scope.add(a_future())
    assert scope.empty
    scope.reopen()
    scope.add(a_future())
    assert not scope.empty
