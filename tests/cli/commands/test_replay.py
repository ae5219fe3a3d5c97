"""`eventflow replay`: a hook is run for past events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.cli.sample_journal import Sample

HOOKS = """
from eventflow import Hook, StateType, hook, runtime
from eventflow.context import FlowRunContext, get_run_context

def show(definition, run, state):
    print("SHOW", definition.name, run.name, state.name, run.run_count, runtime.flow_run.name)

async def ashow(definition, run, state):
    print("AWAITED", state.name)

def breaks(definition, run, state):
    raise ValueError("no pager")

def context(definition, run, state):
    inner, around = get_run_context(), FlowRunContext.get()
    assert inner.run is run
    assert inner.start_time == run.start_time > run.created
    assert around.start_time == around.flow_run.start_time > around.flow_run.created
    print("CONTEXT", type(inner).__name__, inner.flow.name, inner.run_count, around.run_count)

only = Hook(show, state=["Failed", StateType.COMPLETED], run_type="task")

@hook(state="AwaitingRetry")
def declared(definition, run, state):
    print("DECLARED", run.run_type, run.name, runtime.hook.attempt)

number = 7
"""


@pytest.fixture(autouse=True)
def hooks(folder: Path) -> None:
    (folder / "later.py").write_text(HOOKS)


def printed(output: str, word: str) -> list[str]:
    """Return the lines that the hook printed, without the word that they begin with."""
    return [line.removeprefix(f"{word} ") for line in output.splitlines() if line.startswith(word)]


def test_the_hook_gets_the_events_of_a_run_in_order(invoke: Invoke, sample: Sample) -> None:
    """With the run as it was at each, and `runtime` about that run."""
    result = invoke("replay", "--hook", "later.py:show", "brave-otter")
    assert result.exit_code == 0
    assert printed(result.stdout, "SHOW") == [
        "etl brave-otter Pending 0 brave-otter",
        "etl brave-otter Running 1 brave-otter",
        "etl brave-otter AwaitingRetry 1 brave-otter",
        "etl brave-otter Retrying 2 brave-otter",
        "etl brave-otter Failed 2 brave-otter",
    ]
    assert result.stdout.count("delivered in") == 5
    assert result.stdout.endswith("later:show was run for 5 events: 5 delivered.\n")


def test_a_dry_run_calls_nothing(invoke: Invoke, sample: Sample) -> None:
    """It prints the events that the hook would be called for."""
    result = invoke("replay", "--hook", "later.py:breaks", "--since", "1h", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.count("would run") == 15
    assert result.stdout.endswith("later:breaks would be run for 15 events.\n")


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        (["brave-otter", "--state", "Failed"], ["brave-otter"]),
        (["brave-otter", "--state", "Failed", "--within"], ["brave-otter", "calm-bee"]),
        (["--since", "1h", "--state", "completed"], ["sly-fox"]),
        (["--since", "90d", "--state", "COMPLETED"], ["hidden-lynx", "sly-fox"]),
        (["--since", "90d", "--type", "flow", "--state", "Failed"], ["brave-otter"]),
        (["--since", "1h", "--name", "extr*", "--state", "Failed"], ["calm-bee"]),
    ],
)
def test_events_are_selected(
    invoke: Invoke, sample: Sample, options: list[str], runs: list[str]
) -> None:
    """By run, by time, by state, kind and name."""
    result = invoke("replay", "--hook", "later.py:show", *options)
    assert [line.split()[1] for line in printed(result.stdout, "SHOW")] == runs


def test_the_hook_s_own_filter_applies(invoke: Invoke, sample: Sample) -> None:
    """That of a Hook, and that of a function declared with @hook."""
    hook = invoke("replay", "--hook", "later.py:only", "--since", "90d")
    assert [line.split()[1:3] for line in printed(hook.stdout, "SHOW")] == [
        ["sly-fox", "Completed"],
        ["calm-bee", "Failed"],
    ]
    declared = invoke("replay", "--hook", "later.py:declared", "--since", "90d")
    assert printed(declared.stdout, "DECLARED") == ["flow brave-otter 1", "task calm-bee 1"]


def test_an_async_hook_is_awaited(invoke: Invoke, sample: Sample) -> None:
    """As when it is delivered."""
    result = invoke("replay", "--hook", "later.py:ashow", "brave-otter", "--state", "Failed")
    assert printed(result.stdout, "AWAITED") == ["Failed"]


def test_the_contexts_of_the_run_are_in_force(invoke: Invoke, sample: Sample) -> None:
    """That of a task run has the flow run around it, as it ended."""
    selection = ("brave-otter", "--state", "Failed", "--within")
    result = invoke("replay", "--hook", "later.py:context", *selection)
    assert printed(result.stdout, "CONTEXT") == [
        "FlowRunContext etl 2 2",
        "TaskRunContext etl 2 2",
    ], result.output


def test_a_hook_that_fails_does_not_end_the_replay(invoke: Invoke, sample: Sample) -> None:
    """The exit code is 1; as JSON there is a document for each event."""
    result = invoke("replay", "--hook", "later.py:breaks", "--since", "1h", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["hook"], document["dry_run"]) == ("later:breaks", False)
    assert {event["status"] for event in document["events"]} == {"failed"}
    assert {event["error"] for event in document["events"]} == {"ValueError: no pager"}
    assert len(document["events"]) == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hook", "later.py:show"], "Name a RUN, or give --since TIME."),
        (["--hook", "later.py:show", "brave-otter", "--since", "1h"], "Name a RUN, or give"),
        (["brave-otter"], "Missing option '--hook'"),
        (["--hook", "later.py", "brave-otter"], "later.py:FUNCTION"),
        (["--hook", "later.py:nope", "brave-otter"], "later.py has no 'nope'."),
        (["--hook", "later.py:number", "brave-otter"], "is of type int, not a function"),
        (["--hook", "nope.py:tell", "brave-otter"], "There is no file nope.py."),
    ],
)
def test_wrong_usage_ends_with_2(
    invoke: Invoke, sample: Sample, arguments: list[str], message: str
) -> None:
    """With a message that says what is expected."""
    result = invoke("replay", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_nothing_to_replay(invoke: Invoke, sample: Sample) -> None:
    """Is no failure."""
    result = invoke("replay", "--hook", "later.py:show", "brave-otter", "--state", "Paused")
    assert (result.exit_code, result.stderr) == (0, "No event is one for later:show.\n")
