"""Facts about the run in force, by attribute; None or empty outside of a run."""

from __future__ import annotations

from typing import Any

import pytest

from eventflow import Hook, flow, runtime, task
from eventflow.errors import JournalError, MissingContextError
from eventflow.settings import EVENTFLOW_API_URL, EVENTFLOW_DURABILITY, temporary_settings
from eventflow.testing import isolated

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

COMMON = ("id", "name", "tags", "parameters", "run_count", "parent_flow_run_id")
MORE = ("root_flow_run_id", "scheduled_start_time", "ui_url")


def facts(of: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(of, name) for name in (*COMMON, *MORE, *names)}


def test_outside_of_a_run() -> None:
    """Outside of a run every fact is None or empty."""
    nothing = {"tags": [], "parameters": {}, "run_count": 0}
    for of, name in ((runtime.flow_run, "flow_name"), (runtime.task_run, "task_name")):
        assert {
            key: value for key, value in facts(of, name).items() if value is not None
        } == nothing
    assert (runtime.hook.delivery_id, runtime.hook.attempt) == (None, 0)


def test_inside_of_runs() -> None:
    """Bodies see their own run; a task sees the flow run around it, too."""

    @task(tags=["t"])
    def inner(number: int) -> Any:
        return facts(runtime.task_run, "task_name"), facts(runtime.flow_run, "flow_name")

    @flow(name="sub")
    def sub() -> Any:
        assert runtime.task_run.id is None
        return facts(runtime.flow_run, "flow_name")

    @flow(name="main", flow_run_name="named", retries=0)
    def main(day: str = "monday") -> Any:
        return facts(runtime.flow_run, "flow_name"), inner.submit(3).result(), sub()

    with temporary_settings({EVENTFLOW_API_URL: "http://here:1"}):
        of_flow, (of_task, around), of_sub = main()
    assert of_flow["name"] == "named"
    assert of_flow["flow_name"] == "main"
    assert of_flow["parameters"] == {"day": "monday"}
    assert of_flow["run_count"] == 1
    assert of_flow["parent_flow_run_id"] is None
    assert of_flow["root_flow_run_id"] == of_flow["id"]
    assert of_flow["scheduled_start_time"] is not None
    assert of_flow["ui_url"].startswith("http://here:1")
    assert of_flow["ui_url"].endswith(of_flow["id"])
    assert around == of_flow
    assert (of_task["task_name"], of_task["tags"], of_task["parameters"]) == (
        *("inner", ["t"]),
        {"number": 3},
    )
    assert of_task["parent_flow_run_id"] == of_task["root_flow_run_id"] == of_flow["id"]
    assert of_task["ui_url"].endswith(of_task["id"])
    assert of_sub["parent_flow_run_id"] == of_sub["root_flow_run_id"] == of_flow["id"]


def test_in_hooks() -> None:
    """A hook sees the run it is called for, its delivery, and the attempt."""
    seen: list[Any] = []

    def look(definition: Any, run: Any, state: Any) -> None:
        seen.append((runtime.flow_run.id == str(run.id), runtime.hook.delivery_id))
        seen.append(runtime.hook.attempt)
        if runtime.hook.attempt == 1:
            raise ValueError

    flow(hooks=[Hook(look, state="Completed", retries=1)])(lambda: 1)()
    (ours, delivery), first, (again, same), second = seen
    assert ours
    assert again
    assert delivery == same
    assert isinstance(delivery, str)
    assert (first, second) == (1, 2)


def test_a_task_without_a_flow() -> None:
    """A task that is called by itself belongs to no flow run."""

    @task
    def alone() -> Any:
        return runtime.task_run.parent_flow_run_id, runtime.flow_run.id

    assert alone() == (None, None)


def test_parameters_cannot_be_changed_from_a_body() -> None:
    """A body that changes what it was told changes nothing."""

    @flow
    def main(number: int = 1) -> Any:
        runtime.flow_run.parameters["number"] = 2
        return runtime.flow_run.parameters

    assert main() == {"number": 1}


def test_a_transaction_of_the_journal_is_a_hooks_own() -> None:
    """Elsewhere there is none; without a journal there is none either."""
    with pytest.raises(MissingContextError, match=r"runtime\.hook\.transaction\(\)"):
        runtime.hook.transaction()
    told: list[str] = []

    def asks(*_: Any) -> None:
        with runtime.hook.transaction() as connection:
            connection.execute("CREATE TABLE mine (what TEXT)")
            told.append("written")

    def asks_in_vain(*_: Any) -> None:
        with pytest.raises(JournalError, match="EVENTFLOW_DURABILITY is off"):
            runtime.hook.transaction()
        told.append("refused")

    flow(on_completion=[asks])(lambda: 1)()
    with temporary_settings({EVENTFLOW_DURABILITY: "off"}), isolated():
        flow(on_completion=[asks_in_vain])(lambda: 1)()
    assert told == ["written", "refused"]
    with pytest.raises(MissingContextError):
        flow(runtime.hook.transaction)()
