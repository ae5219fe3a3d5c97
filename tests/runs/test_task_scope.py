"""Task scopes: the submitted task runs of a flow run that have not ended."""

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


def make_future() -> Future[Any]:
    @flow
    def main() -> Any:
        return task(lambda: get_run_context().run)()

    return Future(main())


def test_a_scope_is_empty_without_open_task_runs() -> None:
    """A future is in the scope from its submission to its end."""
    scope, future = TaskScope(default, None), make_future()
    seen = [scope.empty]
    scope.add(future)
    seen += [scope.empty, scope.close()]
    future.finish()
    seen += [scope.empty, scope.close()]
    assert seen == [True, False, False, True, True]
    scope.join()


def test_a_closed_scope_refuses_task_runs() -> None:
    """None is added until the scope is reopened."""
    scope = TaskScope(default, None)
    scope.close()
    with pytest.raises(MissingContextError, match=r"\.submit\(\) needs a run"):
        scope.add(make_future())
    assert scope.empty
    scope.reopen()
    scope.add(make_future())
    assert not scope.empty
