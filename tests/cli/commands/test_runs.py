"""`eventflow runs` and `eventflow events`: runs are listed, and one is shown with its events."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from eventflow.events import parse
from tests.cli.conftest import Invoke
from tests.cli.sample_journal import Sample


def listed(invoke: Invoke, *options: str) -> list[str]:
    """Return the names of the runs that `runs ls` lists."""
    runs: list[dict[str, Any]] = json.loads(invoke("runs", "ls", "--json", *options).stdout)

    return [run["name"] for run in runs]


def test_runs_are_listed_in_aligned_columns_without_colours_in_a_pipe(
    invoke: Invoke, sample: Sample
) -> None:
    """One line each, newest first, for awk: no tabs, no colours, nothing cut."""
    result = invoke("runs", "ls")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "RUN", "TYPE", "BEGAN", "TOOK"]
    assert [row.split("/")[1].split()[0] for row in rows] == [
        "quick-hare",
        "brave-otter",
        "hidden-lynx",
    ]
    assert "✗ Failed     etl/brave-otter      flow   5 m ago" in rows[1]
    assert rows[1].startswith(sample.failed.hex[-8:])
    assert not {"\t", "\x1b"} & set(result.stdout)


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
    invoke: Invoke, sample: Sample, options: list[str], names: list[str]
) -> None:
    """Each option narrows the list; child runs are omitted unless an option asks for them."""
    assert listed(invoke, *options) == names


def test_a_message_says_that_there_are_more(invoke: Invoke, sample: Sample) -> None:
    """On stderr, so that a pipe gets rows only; as does one for no match."""
    assert "There are more; see --limit (now 1)." in invoke("runs", "ls", "-n", "1").stderr
    nothing = invoke("runs", "ls", "--state", "Paused")
    assert (nothing.exit_code, nothing.stdout, nothing.stderr) == (0, "", "No runs match.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
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
    invoke: Invoke, sample: Sample, arguments: list[str], message: str
) -> None:
    """With a message that says what is expected."""
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_run_is_shown_with_all_that_belongs_to_it(invoke: Invoke, sample: Sample) -> None:
    """Its parameters, transitions with their times, child runs, and hooks."""
    result = invoke("runs", "show", "brave-otter")
    assert result.exit_code == 0
    head, *lines = result.stdout.splitlines()
    assert head == "✗ Failed  etl/brave-otter  in 4.0 s"
    text = "\n".join(lines)
    for part in (
        f"id          {sample.failed}",
        "tags        eu, prod",
        'parameters  day="2026-01-31", limit=10',
        "attempts    2",
        "cause       ValueError: no such table",
        "• AwaitingRetry  ValueError: no such table",
        "Called  1 Completed, 1 Failed",
        "✗ Failed     extract/calm-bee",
        "alerts:<lambda>",
    ):
        assert part in text
    assert text.index("calm-bee") < text.index("sly-fox")


def test_a_run_is_shown_as_one_document(invoke: Invoke, sample: Sample) -> None:
    """Times are ISO in UTC, durations seconds, parameters JSON values, children lists."""
    document = json.loads(invoke("runs", "show", "brave-otter", "--json").stdout)
    assert document["parameters"] == {"day": "2026-01-31", "limit": 10}
    assert document["created"].endswith("Z")
    assert document["total_run_time"] == 2.0
    assert [event["to_state"]["name"] for event in document["events"]][-2:] == [
        "Retrying",
        "Failed",
    ]
    assert {UUID(child["id"]) for child in document["children"]} == set(sample.tasks)
    assert [each["status"] for each in document["deliveries"]] == ["delivered", "dead", "delivered"]


def test_events_are_listed_in_order(invoke: Invoke, sample: Sample) -> None:
    """With how long each state lasted, and the error."""
    head, *rows = invoke("events", "brave-otter").stdout.splitlines()
    assert head.split() == ["AT", "AFTER", "STATE", "MESSAGE"]
    states = ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert [row.split("• ")[-1].split("✗ ")[-1].split()[0] for row in rows] == states
    assert "1.0 s" in rows[1]


def test_events_as_json_are_the_events_that_were_published(invoke: Invoke, sample: Sample) -> None:
    """Each can be parsed, and follows the one before."""
    documents = json.loads(invoke("events", "brave-otter", "--json").stdout)
    events = [parse(json.dumps(document)) for document in documents]
    assert [event.sequence for event in events] == [0, 1, 2, 3, 4]
    assert events[0].from_state is None
    for before, after in pairwise(events):
        assert after.from_state == before.to_state
        assert after.follows == before.id
    assert events[-1].to_state.error is not None
    assert events[-1].flow_run_id == sample.failed
    assert events[-1].tags == {"eu", "prod"}
