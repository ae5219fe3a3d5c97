"""What a workload's runs leave in a journal: nothing, unless it says so, and then all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.calls import hook, work
from benchmarks.catalogue import BOOKS, Books, Plan, chosen, drained, kept, paired
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
    with isolated(), kept(BOOKS[name]):
        assert EVENTFLOW_DURABILITY.value() == durability
        assert EVENTFLOW_GUARDIAN.value() is guarded


@pytest.mark.parametrize("name", BOOKS)
def test_the_time_of_our_side_ends_when_all_is_in_the_journal(name: str) -> None:
    called = task(on_completion=[hook])(work)
    with isolated(), kept(BOOKS[name]):
        drained(again(called, 1))(7)
        account = recorder()
        if name == "off":
            assert account is None
        else:
            assert account is not None
            statistics = account.journal.statistics()
            assert (statistics.runs, statistics.events) == (7, 21)
            assert statistics.deliveries == {"delivered": 7}


@pytest.mark.parametrize("books", BOOKS.values())
def test_a_turn_is_cut_as_the_journal_needs_it(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many runs as go into a group, unless a workload has a size of its own."""
    seen = []

    def sides(plan: Plan) -> Iterator[Pair]:
        seen.append(plan)
        yield Pair(again(int), again(int), None if len(seen) == 1 else 3)

    cut: list[tuple[int | None, int]] = []

    def by(pair: Pair, rounds: int) -> Reading:
        cut.append((pair.loops, rounds))
        return Reading((1.0,))

    monkeypatch.setattr("benchmarks.catalogue._workloads", {})
    paired("some.work", "about", books=books)(sides)
    (found,) = chosen(["some.work"])
    found.run(Plan(by=by))
    found.run(Plan(rounds=2, by=by))
    assert cut == [(books.loops, books.rounds), (3, 2)]
    assert [plan.rounds for plan in seen] == [None, 2]
