"""The large journals are sound, and every command of the benchmarks has something to show there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.archives import build
from benchmarks.large import COMMANDS, command

RUNS = 400


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a journal once."""
    folder = tmp_path_factory.mktemp("archive")
    build(folder, RUNS)

    return folder


def documents(words: str, home: Path) -> Any:
    return json.loads(command(f"{words} --json", home))


def test_a_built_journal_is_sound(home: Path) -> None:
    """It has as many runs as asked for, all ended; one hook in ten is dead, the others are not."""
    report = documents("verify", home)
    assert report["clean"]
    assert (report["journal"]["runs"], report["journal"]["unfinished"]) == (RUNS, 0)
    statuses = [row["status"] for row in documents("deliveries ls", home)]
    assert sorted(statuses) == ["dead", *["delivered"] * 4]


def test_its_last_flow_has_a_tenth_of_all_runs(home: Path) -> None:
    """The ones before it have a hundred each, together with the flow itself."""
    last, _, before, *_ = documents("runs ls", home)
    assert len(documents(f"runs ls -n 1000 --in {last['id']}", home)) == RUNS // 10 - 1
    assert len(documents(f"runs ls -n 1000 --in {before['id']}", home)) == 99


def test_one_run_in_a_thousand_failed_and_its_events_say_so(home: Path) -> None:
    """It is a task, whose flow completed nevertheless."""
    (failed,) = documents("runs ls --state Failed", home)
    events = documents(f"events {failed['id']}", home)
    assert [event["to_state"]["name"] for event in events] == ["Pending", "Running", "Failed"]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_something_to_show(name: str, home: Path) -> None:
    """But for the one that asks for runs without an end."""
    assert bool(documents(COMMANDS[name], home)) is (name != "ls.unfinished")
