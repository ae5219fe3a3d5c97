"""Workloads run with the settings of their mode, and their turns end when all is journalled."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.calls import hook, work
from benchmarks.catalogue import MODES, JournalMode, Plan, chosen, drained, journalled, paired
from benchmarks.measure import Pair, Reading, again
from eventflow import task
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_GUARDIAN
from eventflow.testing import isolated
from eventflow.wiring import recorder


@pytest.mark.parametrize(
    ("name", "durability", "guarded"),
    [("off", "off", False), ("on", "process", True), ("power", "power", True)],
)
def test_the_settings_are_those_of_the_name(name: str, durability: str, guarded: bool) -> None:
    with isolated(), journalled(MODES[name]):
        assert EVENTFLOW_DURABILITY.value() == durability
        assert EVENTFLOW_GUARDIAN.value() is guarded


@pytest.mark.parametrize("name", MODES)
def test_a_drained_side_ends_when_all_is_in_the_journal(name: str) -> None:
    called = task(on_completion=[hook])(work)
    with isolated(), journalled(MODES[name]):
        drained(again(called, 1))(7)
        own = recorder()
        if name == "off":
            assert own is None
        else:
            assert own is not None
            statistics = own.journal.statistics()
            assert (statistics.runs, statistics.events) == (7, 21)
            assert statistics.deliveries == {"delivered": 7}


@pytest.mark.parametrize("mode", MODES.values())
def test_a_turn_makes_as_many_runs_as_its_mode_says(
    mode: JournalMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the workload has a size of its own."""
    plans = []

    def sides(plan: Plan) -> Iterator[Pair]:
        plans.append(plan)
        yield Pair(again(int), again(int), None if len(plans) == 1 else 3)

    turns: list[tuple[int | None, int]] = []

    def by(pair: Pair, rounds: int) -> Reading:
        turns.append((pair.loops, rounds))
        return Reading((1.0,))

    monkeypatch.setattr("benchmarks.catalogue._workloads", {})
    paired("some.work", "about", mode=mode)(sides)
    (workload,) = chosen(["some.work"])
    workload.run(Plan(by=by))
    workload.run(Plan(rounds=2, by=by))
    assert turns == [(mode.loops, mode.rounds), (3, 2)]
    assert [plan.rounds for plan in plans] == [None, 2]
