"""`eventflow replay`: past events given to a hook that was not there when they happened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke
from tests.cli.story import Story

HOOKS = """
from eventflow import Hook, StateType, flow, hook, runtime

@flow
def etl(day: str, limit: int): ...

def tell(definition, run, state):
    print("TOLD", definition.name, run.name, state.name, run.run_count, runtime.flow_run.name)

def facts(definition, run, state):
    print("FACTS", definition is etl, dict(run.parameters), sorted(run.tags), run.id)
    print("FACTS", run.end_time is None, run.total_run_time.total_seconds(), run.cancel())

async def atell(definition, run, state):
    print("AWAITED", state.name)

def breaks(definition, run, state):
    raise ValueError("no pager")

only = Hook(tell, state=["Failed", StateType.COMPLETED], run_type="task")

@hook(state="AwaitingRetry")
def declared(definition, run, state):
    print("DECLARED", run.run_type, run.name, runtime.hook.attempt)

number = 7
"""


@pytest.fixture(autouse=True)
def hooks(folder: Path) -> None:
    (folder / "later.py").write_text(HOOKS)


def told(output: str, word: str) -> list[str]:
    """Give what the hook itself printed."""
    return [one.removeprefix(f"{word} ") for one in output.splitlines() if one.startswith(word)]


def test_the_events_of_a_run_are_given_in_order(invoke: Invoke, told_story: Story) -> None:
    """With the run as it stood at each, and `runtime` speaking of it; what was done is said."""
    ended = invoke("replay", "--hook", "later.py:tell", "brave-otter")
    assert ended.exit_code == 0
    assert told(ended.stdout, "TOLD") == [
        "etl brave-otter Pending 0 brave-otter",
        "etl brave-otter Running 1 brave-otter",
        "etl brave-otter AwaitingRetry 1 brave-otter",
        "etl brave-otter Retrying 2 brave-otter",
        "etl brave-otter Failed 2 brave-otter",
    ]
    assert ended.stdout.count("delivered in") == 5
    assert ended.stdout.endswith("later:tell was run for 5 events: 5 delivered.\n")


def test_a_dry_run_only_says(invoke: Invoke, told_story: Story) -> None:
    """The hook is not called."""
    ended = invoke("replay", "--hook", "later.py:breaks", "--since", "1h", "--dry-run")
    assert ended.exit_code == 0
    assert ended.stdout.count("would run") == 15
    assert ended.stdout.endswith("later:breaks would be run for 15 events.\n")


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
    invoke: Invoke, told_story: Story, options: list[str], runs: list[str]
) -> None:
    """By run, by time, by state, kind and name."""
    ended = invoke("replay", "--hook", "later.py:tell", *options)
    assert [one.split()[1] for one in told(ended.stdout, "TOLD")] == runs


def test_what_the_hook_itself_selects_is_respected(invoke: Invoke, told_story: Story) -> None:
    """A Hook, and a function that was declared with @hook."""
    some = invoke("replay", "--hook", "later.py:only", "--since", "90d")
    assert [one.split()[1:3] for one in told(some.stdout, "TOLD")] == [
        ["sly-fox", "Completed"],
        ["calm-bee", "Failed"],
    ]
    declared = invoke("replay", "--hook", "later.py:declared", "--since", "90d")
    assert told(declared.stdout, "DECLARED") == ["flow brave-otter 1", "task calm-bee 1"]


def test_the_flow_itself_is_given_where_it_can_be_had(
    invoke: Invoke, told_story: Story, folder: Path
) -> None:
    """Else something of its name; parameters, tags and id are the run's; it cannot be cancelled."""
    (folder / "etl.py").write_text("from later import etl\n")
    ended = invoke("replay", "--hook", "later.py:facts", "brave-otter")
    lines = told(ended.stdout, "FACTS")
    who = f"{{'day': '2026-01-31', 'limit': 10}} ['eu', 'prod'] {told_story.failed}"
    assert lines[0] == f"True {who}"
    assert lines[1] == "True 0.0 False"
    assert lines[-1] == "False 1.5 False"


def test_a_module_that_would_run_something_is_not_run(
    invoke: Invoke, told_story: Story, folder: Path
) -> None:
    """A script without the `__main__` guard stops where it calls its flow."""
    (folder / "etl.py").write_text(
        "from eventflow import flow\n@flow\ndef other():\n    print('RAN')\nother()\n"
    )
    ended = invoke("replay", "--hook", "later.py:tell", "brave-otter")
    assert ended.exit_code == 0
    assert "RAN" not in ended.stdout
    assert told(ended.stdout, "TOLD")[0].startswith("etl brave-otter")


def test_an_async_hook_is_awaited(invoke: Invoke, told_story: Story) -> None:
    """Whatever a hook may be when it is declared, it may be here."""
    ended = invoke("replay", "--hook", "later.py:atell", "brave-otter", "--state", "Failed")
    assert told(ended.stdout, "AWAITED") == ["Failed"]


def test_a_hook_that_fails_is_told_and_stops_nothing(invoke: Invoke, told_story: Story) -> None:
    """The exit code is 1; as JSON there is a document for each event."""
    ended = invoke("replay", "--hook", "later.py:breaks", "--since", "1h", "--json")
    assert ended.exit_code == 1
    document = json.loads(ended.stdout)
    assert (document["hook"], document["dry_run"]) == ("later:breaks", False)
    assert {one["status"] for one in document["events"]} == {"failed"}
    assert {one["error"] for one in document["events"]} == {"ValueError: no pager"}
    assert len(document["events"]) == 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hook", "later.py:tell"], "Name a RUN, or give --since TIME."),
        (["--hook", "later.py:tell", "brave-otter", "--since", "1h"], "Name a RUN, or give"),
        (["brave-otter"], "Missing option '--hook'"),
        (["--hook", "later.py", "brave-otter"], "later.py:FUNCTION"),
        (["--hook", "later.py:nope", "brave-otter"], "later.py has no 'nope'."),
        (["--hook", "later.py:number", "brave-otter"], "is of type int, not a function"),
        (["--hook", "nope.py:tell", "brave-otter"], "There is no file nope.py."),
    ],
)
def test_wrong_usage_ends_with_2(
    invoke: Invoke, told_story: Story, arguments: list[str], said: str
) -> None:
    """The message says what would be right."""
    ended = invoke("replay", *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_nothing_to_replay_is_said(invoke: Invoke, told_story: Story) -> None:
    """And is no failure."""
    ended = invoke("replay", "--hook", "later.py:tell", "brave-otter", "--state", "Paused")
    assert (ended.exit_code, ended.stderr) == (0, "No event is one for later:tell.\n")
