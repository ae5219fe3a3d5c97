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
    for of, names in (
        (runtime.flow_run, ("flow_name", "flow_version")),
        (runtime.task_run, ("task_name",)),
    ):
        assert {
            key: value for key, value in facts(of, *names).items() if value is not None
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

    @flow(name="main", flow_run_name="named", retries=0, version="7")
    def main(day: str = "monday") -> Any:
        assert runtime.flow_run.flow_version == "7"
        return facts(runtime.flow_run, "flow_name"), inner.submit(3).result(), sub()

    with temporary_settings({EVENTFLOW_API_URL: "http://host:1"}):
        of_flow, (of_task, around), of_sub = main()
    assert of_flow["name"] == "named"
    assert of_flow["flow_name"] == "main"
    assert of_flow["parameters"] == {"day": "monday"}
    assert of_flow["run_count"] == 1
    assert of_flow["parent_flow_run_id"] is None
    assert of_flow["root_flow_run_id"] == of_flow["id"]
    assert of_flow["scheduled_start_time"] is not None
    assert of_flow["ui_url"].startswith("http://host:1")
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

    def note(definition: Any, run: Any, state: Any) -> None:
        seen.append((runtime.flow_run.id == str(run.id), runtime.hook.delivery_id))
        seen.append(runtime.hook.attempt)
        if runtime.hook.attempt == 1:
            raise ValueError

    flow(hooks=[Hook(note, state="Completed", retries=1)])(lambda: 1)()
    (is_same_run, delivery), first, (is_same_run_again, same_delivery), second = seen
    assert is_same_run
    assert is_same_run_again
    assert delivery == same_delivery
    assert isinstance(delivery, str)
    assert (first, second) == (1, 2)


def test_a_task_without_a_flow() -> None:
    """A task that is called by itself belongs to no flow run."""

    @task
    def alone() -> Any:
        return runtime.task_run.parent_flow_run_id, runtime.flow_run.id

    assert alone() == (None, None)


def test_parameters_cannot_be_changed_from_a_body() -> None:
    """A body gets a copy of its parameters."""

    @flow
    def main(number: int = 1) -> Any:
        runtime.flow_run.parameters["number"] = 2
        return runtime.flow_run.parameters

    assert main() == {"number": 1}


def test_a_transaction_of_the_journal_is_a_hooks_own() -> None:
    """Without a hook in force there is none, nor without a journal."""
    with pytest.raises(MissingContextError, match=r"runtime\.hook\.transaction\(\)"):
        runtime.hook.transaction()
    results: list[str] = []

    def writes(*_: Any) -> None:
        with runtime.hook.transaction() as connection:
            connection.execute("CREATE TABLE mine (what TEXT)")
            results.append("written")

    def is_refused(*_: Any) -> None:
        with pytest.raises(JournalError, match="EVENTFLOW_DURABILITY is off"):
            runtime.hook.transaction()
        results.append("refused")

    flow(on_completion=[writes])(lambda: 1)()
    with temporary_settings({EVENTFLOW_DURABILITY: "off"}), isolated():
        flow(on_completion=[is_refused])(lambda: 1)()
    assert results == ["written", "refused"]
    with pytest.raises(MissingContextError):
        flow(runtime.hook.transaction)()
