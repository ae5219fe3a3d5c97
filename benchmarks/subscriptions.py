"""Publishing where many subscriptions do not match, which costs nothing if they are not visited.

Each workload compares a crowd to ten subscriptions of the same kind, with one match in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Final

from benchmarks.calls import work
from benchmarks.catalogue import Plan, Target, paired
from benchmarks.measure import Pair, Side, again
from benchmarks.publishing import Counted, listener
from eventflow import EventBus, task
from eventflow.eventbus.selections import Selection
from eventflow.runs.run import TaskRun, Transition
from eventflow.states import Pending

__all__ = ["CROWDS", "KINDS"]

FEW: Final = 10
CROWDS: Final = (1_000, 10_000, 100_000)
NOT_VISITED: Final = "subscriptions that do not match cost nothing"
TARGETS: Final = {10_000: Target(1.2, NOT_VISITED), 100_000: Target(1.1, NOT_VISITED)}

KINDS: Final[dict[str, tuple[str, Callable[[int], Selection]]]] = {
    "name": ("name", lambda number: {"name": f"other-{number}"}),
    "state": ("state", lambda number: {"state": ("Failed", "Crashed", f"Mine{number}")}),
    "glob": ("pattern", lambda number: {"name": f"other-{number}-*"}),
    "tag": ("tag", lambda number: {"tags": {f"other-{number}"}}),
    "run": ("run", lambda number: {"run_id": f"00000000-0000-7000-8000-{number:012d}"}),
}
"""What the subscriptions that do not match select by, in words, and the selection of each."""


def _fact() -> Transition:
    """Make the transition that the engine publishes when a task run begins."""
    definition = task(name="wanted")(work)
    run = TaskRun(definition, definition.name, dict, frozenset({"wanted"}), None)

    return run.enter(Pending())


def _publisher(count: int, other: Callable[[int], Selection], fact: Transition) -> Side:
    crowd = EventBus()
    for number in range(count - 1):
        crowd.subscribe(listener, **other(number))
    crowd.subscribe(listener, name="wanted", state="Pending")

    return again(crowd.publish_transition, fact)


def _transitions(count: int, other: Callable[[int], Selection], plan: Plan) -> Iterator[Pair]:
    """Publish a transition that the others do not select."""
    fact = _fact()
    yield Pair(_publisher(min(count, plan.crowd), other, fact), _publisher(FEW, other, fact))


def _own_publisher(count: int) -> Side:
    crowd = EventBus()
    for number in range(count - 1):
        crowd.subscribe(listener, name=f"other-{number}")
    crowd.subscribe(listener, event_type=Counted)
    event = Counted(number=1)

    return again(crowd.publish, event)


def _own(count: int, plan: Plan) -> Iterator[Pair]:
    """Publish a user event, where the others select transitions."""
    yield Pair(_own_publisher(min(count, plan.crowd)), _own_publisher(FEW))


def _register(
    kind: str, count: int, words: str, sides: Callable[[Plan], Iterator[Pair]], *, usual: bool
) -> None:
    paired(
        f"subscriptions.{kind}.{count}",
        f"{count:,} {words}, one matches",
        floor=f"{FEW} of them",
        target=TARGETS.get(count),
        usual=usual,
    )(sides)


for _count, (_kind, (_words, _other)) in product(CROWDS, KINDS.items()):
    _register(
        _kind,
        _count,
        f"by {_words}",
        partial(_transitions, _count, _other),
        usual=_kind == "name" or _count == max(CROWDS),
    )

for _count in CROWDS:
    _register("own", _count, "own event", partial(_own, _count), usual=_count == max(CROWDS))
