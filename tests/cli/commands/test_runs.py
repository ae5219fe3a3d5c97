"""`eventflow runs` and `eventflow events`: what is listed and shown, and how runs are named."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from eventflow import settings
from eventflow.events import parse
from tests.cli.conftest import Invoke
from tests.cli.story import WENT_WELL, Story, live


def listed(invoke: Invoke, *options: str) -> list[str]:
    """Give the names of the runs that `runs ls` lists."""
    found: list[dict[str, Any]] = json.loads(invoke("runs", "ls", "--json", *options).stdout)

    return [one["name"] for one in found]


def test_runs_are_listed_in_aligned_columns_without_colours_in_a_pipe(
    invoke: Invoke, told_story: Story
) -> None:
    """One line each, newest first, ready for awk: no tab, no colour, nothing cut."""
    ended = invoke("runs", "ls")
    assert ended.exit_code == 0
    head, *rows = ended.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "RUN", "TYPE", "BEGAN", "TOOK"]
    assert [row.split("/")[1].split()[0] for row in rows] == [
        "quick-hare",
        "brave-otter",
        "hidden-lynx",
    ]
    assert "✗ Failed     etl/brave-otter      flow   5 m ago" in rows[1]
    assert rows[1].startswith(told_story.failed.hex[-8:])
    assert not {"\t", "\x1b"} & set(ended.stdout)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["quick-hare", "brave-otter", "hidden-lynx"]),
        (["--all"], ["quick-hare", "calm-bee", "sly-fox", "brave-otter", "hidden-lynx"]),
        (["--type", "task"], ["calm-bee", "sly-fox"]),
        (["--state", "failed"], ["calm-bee", "brave-otter"]),
        (["--state", "failed", "--state", "RUNNING"], ["quick-hare", "calm-bee", "brave-otter"]),
        (["--state", "AwaitingRetry"], []),
        (["--name", "e*"], ["calm-bee", "sly-fox", "brave-otter"]),
        (["--unfinished"], ["quick-hare"]),
        (["--in", "brave-otter"], ["calm-bee", "sly-fox"]),
        (["--since", "1h"], ["quick-hare", "brave-otter"]),
        (["--limit", "1"], ["quick-hare"]),
    ],
)
def test_runs_are_selected(
    invoke: Invoke, told_story: Story, options: list[str], names: list[str]
) -> None:
    """Each option narrows the list; what other runs called is left out unless it is asked for."""
    assert listed(invoke, *options) == names


def test_where_there_is_more_it_is_said(invoke: Invoke, told_story: Story) -> None:
    """On stderr, so that a pipe gets rows only; and so is that nothing matches."""
    assert "There are more; see --limit (now 1)." in invoke("runs", "ls", "-n", "1").stderr
    nothing = invoke("runs", "ls", "--state", "Paused")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "No runs match.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs", "ls", "--state", "Faild"], "did you mean Failed?"),
        (["runs", "ls", "--since", "yesterday"], "write 15m, 12h, 30d, 2026-03-01"),
        (["runs", "ls", "--limit", "0"], "--limit"),
        (["runs", "ls", "--type", "job"], "'job' is not one of"),
        (["runs", "show"], "Missing argument 'RUN'"),
        (["runs", "show", "nobody"], "The journal knows no run 'nobody'"),
        (["events", "00000000-0000-0000-0000-000000000000"], "The journal knows no run"),
    ],
)
def test_wrong_usage_ends_with_2(
    invoke: Invoke, told_story: Story, arguments: list[str], said: str
) -> None:
    """The message says what would be right."""
    ended = invoke(*arguments)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert said in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "ls"],
        ["deliveries", "ls"],
        ["runs", "show", "x"],
        ["events", "x"],
        ["deliveries", "show", "abcd"],
        ["deliveries", "redrive", "--all"],
        ["cancel", "x"],
        ["replay", "--hook", "flows.py:told", "x"],
        ["verify"],
        ["prune"],
        ["recover"],
    ],
)
def test_without_a_journal_nothing_is_made(
    invoke: Invoke, tmp_path: Path, arguments: list[str]
) -> None:
    """Neither the home nor a file; what names something ends with 2, the rest has nothing."""
    home = settings.EVENTFLOW_HOME.value()
    ended = invoke(*arguments)
    names_something = not {"ls", "verify", "prune", "recover"} & set(arguments)
    assert ended.exit_code == (2 if names_something else 0)
    if arguments != ["recover"]:
        assert f"there is no journal at {home}/journal.db" in ended.stderr
    assert not home.exists()


def test_a_run_is_named_by_id_either_end_of_it_or_name(invoke: Invoke, told_story: Story) -> None:
    """Whatever was shown can be pasted back."""
    whole = str(told_story.failed)
    for name in (
        *(whole, whole.upper(), told_story.failed.hex, told_story.failed.hex[-8:]),
        *(whole[:31], "brave-otter", "etl/brave-otter"),
    ):
        ended = invoke("runs", "show", name, "--json")
        assert ended.exit_code == 0, (name, ended.stderr)
        assert json.loads(ended.stdout)["id"] == whole


def test_a_name_of_several_runs_is_refused_with_their_ids(
    invoke: Invoke, told_story: Story
) -> None:
    """None is taken by chance."""
    again = live(told_story.journal, WENT_WELL, run_type="flow", name="brave-otter")
    ended = invoke("cancel", "brave-otter")
    assert ended.exit_code == 2
    assert "'brave-otter' could be any of these; give more of the id:" in ended.stderr
    assert {str(again), str(told_story.failed)} <= set(ended.stderr.split())
    # A name with the definition before it may still be one run's only.
    assert invoke("runs", "show", "etl/brave-otter").exit_code == 0


def test_the_first_digits_of_an_id_may_be_those_of_several(
    invoke: Invoke, told_story: Story
) -> None:
    """They are digits of the time: the message lists no more than a few, and says so."""
    for _ in range(6):
        live(told_story.journal, WENT_WELL)
    ended = invoke("runs", "show", told_story.failed.hex[:6])
    assert ended.exit_code == 2
    assert ended.stderr.endswith("  …\n")


def test_a_run_is_shown_with_all_that_belongs_to_it(invoke: Invoke, told_story: Story) -> None:
    """Its parameters, transitions with their times, what it called, and its hooks."""
    ended = invoke("runs", "show", "brave-otter")
    assert ended.exit_code == 0
    head, *lines = ended.stdout.splitlines()
    assert head == "✗ Failed  etl/brave-otter  in 4.0 s"
    said = "\n".join(lines)
    for part in (
        f"id          {told_story.failed}",
        "tags        eu, prod",
        'parameters  day="2026-01-31", limit=10',
        "attempts    2",
        "cause       ValueError: no such table",
        "• AwaitingRetry  ValueError: no such table",
        "Called  1 Completed, 1 Failed",
        "✗ Failed     extract/calm-bee",
        "alerts:<lambda>",
    ):
        assert part in said
    assert said.index("calm-bee") < said.index("sly-fox")


def test_a_run_is_shown_as_one_document(invoke: Invoke, told_story: Story) -> None:
    """Times are ISO in UTC, durations seconds, parameters values; the parts are lists."""
    found = json.loads(invoke("runs", "show", "brave-otter", "--json").stdout)
    assert found["parameters"] == {"day": "2026-01-31", "limit": 10}
    assert found["created"].endswith("Z")
    assert found["total_run_time"] == 1.5
    assert [one["to_state"]["name"] for one in found["events"]][-2:] == ["Retrying", "Failed"]
    assert {UUID(one["id"]) for one in found["children"]} == set(told_story.tasks)
    assert [one["status"] for one in found["deliveries"]] == ["delivered", "dead", "delivered"]


def test_events_are_listed_in_order(invoke: Invoke, told_story: Story) -> None:
    """With how long each state lasted, and why it failed."""
    head, *rows = invoke("events", "brave-otter").stdout.splitlines()
    assert head.split() == ["AT", "AFTER", "STATE", "MESSAGE"]
    states = ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert [row.split("• ")[-1].split("✗ ")[-1].split()[0] for row in rows] == states
    assert "1.0 s" in rows[1]


def test_events_as_json_are_the_events_that_were_published(
    invoke: Invoke, told_story: Story
) -> None:
    """Each can be read back, and follows the one before."""
    found = json.loads(invoke("events", "brave-otter", "--json").stdout)
    events = [parse(json.dumps(one)) for one in found]
    assert [one.sequence for one in events] == [0, 1, 2, 3, 4]
    assert events[0].from_state is None
    for before, after in pairwise(events):
        assert after.from_state == before.to_state
        assert after.follows == before.id
    assert events[-1].to_state.error is not None
    assert events[-1].flow_run_id == told_story.failed
    assert events[-1].tags == {"eu", "prod"}
