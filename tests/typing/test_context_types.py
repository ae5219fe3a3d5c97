"""What type checkers infer for the contexts of runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

import pytest

from eventflow import FlowRun, TaskRun, flow, task
from eventflow.context import FlowRunContext, TaskRunContext, get_run_context

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_contexts() -> None:
    """Each knows the type of its run; a task run may have no flow run around it."""

    @task
    def inner() -> None:
        context = TaskRunContext.get()
        assert_type(context, TaskRunContext | None)
        assert context is not None
        assert_type(context.task_run, TaskRun)
        assert_type(context.run, TaskRun)
        assert_type(context.flow_run, FlowRun | None)

    @flow
    def main() -> None:
        context = get_run_context()
        assert_type(context, FlowRunContext | TaskRunContext)
        assert_type(context.start_time, datetime)
        assert_type(context.parameters, dict[str, Any])
        assert_type(context.run_count, int)
        assert isinstance(context, FlowRunContext)
        assert_type(context.flow_run, FlowRun)
        assert_type(FlowRunContext.get(), FlowRunContext | None)
        inner()

    main()
