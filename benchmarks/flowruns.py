"""Flow runs, against the floors of as many runs: empty, nested, and with tasks in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from benchmarks import floors
from benchmarks.calls import hook, hooks, work
from benchmarks.catalogue import MODES, Plan, Target, paired
from benchmarks.measure import Pair, again
from eventflow import flow, task

__all__ = ["DEPTH", "TASKS"]

DEPTH: Final = 5
TASKS: Final = 1_000

TARGETS: Final = {
    "flow.bare.on": Target(3.0, "a floor to set it up, a floor for its end in the journal"),
    "flow.empty.on": Target(3.5, "half a floor for the guarded hook"),
}


def _empty(count: int, _plan: Plan) -> Iterator[Pair]:
    """Call a flow that does nothing; its parameter is validated; the floor has one callback."""
    called = flow(on_completion=hooks(count))(work)
    yield Pair(again(called, 1), again(floors.run, work, 1, hook))


def _nested(_plan: Plan) -> Iterator[Pair]:
    """Call a flow that calls a flow, and so on; each has a hook."""
    ours: Callable[[int], Any] = work
    by_hand: Callable[[int], Any] = work
    for _ in range(DEPTH):
        ours = flow(on_completion=[hook])(_calling(ours))
        by_hand = partial(floors.run, by_hand, callback=hook)

    yield Pair(again(ours, 1), again(by_hand, 1))


def _calling(inner: Callable[[int], Any]) -> Callable[[int], Any]:
    def around(number: int) -> Any:
        return inner(number)

    return around


def _with_tasks(count: int, plan: Plan) -> Iterator[Pair]:
    """Call a flow that calls tasks; each has a hook."""
    called = task(on_completion=[hook])(work)

    @flow(on_completion=[hook])
    def many(count: int) -> None:
        for number in range(count):
            called(number)

    def by_hand(count: int) -> None:
        for number in range(count):
            floors.run(work, number, hook)

    count = min(count, plan.task_runs)
    loops = 1 if count == TASKS else None
    yield Pair(again(many, count), again(floors.run, by_hand, count, hook), loops)


FLOWS: Final[dict[str, tuple[str, str, Callable[[Plan], Iterator[Pair]]]]] = {
    "bare": ("empty, no hook", "floor", partial(_empty, 0)),
    "empty": ("empty, one hook", "floor", partial(_empty, 1)),
    "nested": (f"{DEPTH} nested, each with one hook", f"{DEPTH} floors", _nested),
    "1": ("with a task call, one hook each", "2 floors", partial(_with_tasks, 1)),
    "1000": ("with 1,000 task calls, one hook each", "1,001 floors", partial(_with_tasks, TASKS)),
}

for _kind, (_about, _floor, _sides) in FLOWS.items():
    for _journal, mode in MODES.items():
        paired(
            f"flow.{_kind}.{_journal}",
            f"flow call, {_about}, journal {_journal}",
            floor=_floor,
            target=TARGETS.get(f"flow.{_kind}.{_journal}"),
            mode=mode,
            rounds=15 if _kind == "1000" else None,
            usual=_journal != "power" or _kind == "empty",
        )(_sides)
