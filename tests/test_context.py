"""The run in force, in bodies, hooks, tasks and threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest

from eventflow import flow, tags, task
from eventflow.context import get_run_context
from eventflow.errors import MissingContextError

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def test_outside_of_a_run() -> None:
    """Outside of a run there is no context, and reading it is an error."""
    with pytest.raises(MissingContextError, match=r"get_run_context\(\) needs a run"):
        get_run_context()


def test_inside_of_a_run() -> None:
    """The context holds the run, its definition, and the flow run around it."""

    @task
    def inner() -> Any:
        return get_run_context()

    @flow
    def main() -> Any:
        return get_run_context(), inner(), inner.submit().result()

    of_flow, called, submitted = main()
    assert of_flow.definition is main
    assert of_flow.run is of_flow.flow_run
    for context in (called, submitted):
        assert context.definition is inner
        assert context.flow_run is of_flow.run
    assert inner().flow_run is None
    with pytest.raises(MissingContextError):
        get_run_context()


def test_threads() -> None:
    """A new thread has no run, unless it is started with the context."""
    seen: list[Any] = []

    def note() -> None:
        try:
            seen.append(get_run_context().definition.name)
        except MissingContextError:
            seen.append(None)

    @flow
    def main() -> None:
        context = contextvars.copy_context()
        for target in (note, lambda: context.run(note)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
        asyncio.run(asyncio.to_thread(note))

    main()
    assert seen == [None, "main", "main"]


def test_tags_add_up() -> None:
    """Blocks of tags add up, and end with their block."""
    with tags("a") as outer:
        with tags("b", "c") as inner:
            assert inner == {"a", "b", "c"}
        assert outer == {"a"}
    with tags() as none:
        assert none == frozenset()
