"""What type checkers know of `notify`, and of what its functions are given."""

from __future__ import annotations

from typing import Any, assert_type

import pytest
from pydantic import SecretStr

from eventflow import Flow, FlowRun, Hook, State, flow, hook, notify, task
from eventflow.client import Client
from eventflow.client.records import FailingHook
from eventflow.notifications import Notification, Notifier


def text_of(told: Notification) -> str:
    assert_type(told.error, str)
    assert_type(told.tags, tuple[str, ...])
    assert_type(told.attempt, int)
    return told.text


def is_late(definition: Flow[..., Any], run: FlowRun, state: State[Any]) -> bool:
    return run.run_count > 1


def test_notify_makes_a_hook() -> None:
    """Of every kind, and for every run."""
    alert = notify("env:URL", SecretStr("env:URL"), template=text_of, when=is_late)
    assert_type(alert, Notifier)
    assert_type(
        notify("env:URL", when={"tags": "prod"}, group_seconds=5, per_minute=None), Notifier
    )

    @flow(on_failure=[alert, Hook(alert, retries=1)], on_overdue=[alert], overdue_seconds=60)
    def etl() -> int:
        return 1

    @task(hooks=[Hook(alert)], on_end=[alert])
    def work() -> int:
        return 1

    assert_type(etl, Flow[[], int])
    assert_type(etl.on("Late")(alert), Notifier)
    assert_type(hook(state="Late", name="nothing")(alert), Notifier)


def test_what_is_wrong_is_refused() -> None:
    """By the type checker, and when it is called."""
    with pytest.raises(TypeError):
        notify(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):
        notify("env:URL", template=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def read(client: Client) -> None:
    """Hooks that fail have types as well."""
    assert_type(await client.read_failing_hooks(), list[FailingHook])
