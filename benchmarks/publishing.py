"""Publishing: an event of one's own, and how much subscriptions cost that do not match."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks import floors
from benchmarks.calls import work
from benchmarks.catalogue import Target, paired
from benchmarks.measure import Pair, Side, again
from eventflow import Event, EventBus, bus, task
from eventflow.filters import Selection
from eventflow.runs import TaskRun, Transition
from eventflow.states import Pending

SUBSCRIPTIONS = Target(1.2, issue=2)
MANY, FEW = 10_000, 10


class Counted(Event):
    """An event of one's own."""

    number: int


def listener(event: object) -> None:
    """Take what a listener takes."""


@paired(
    "publish.own",
    "publish an own event, one sync listener",
    Target(1.3, issue=4),
    floor="pydantic construction + one call",
)
def own_event() -> Iterator[Pair]:
    """Build and publish an event for one listener."""
    in_force = EventBus()
    in_force.subscribe(listener, event_type=Counted)
    yield Pair(
        again(lambda: in_force.publish(Counted(number=1))), again(floors.publish, 1, listener)
    )


@paired("publish.own.none", "publish an own event, no listener", floor="pydantic construction")
def own_event_for_nobody() -> Iterator[Pair]:
    """Build and publish an event that nobody subscribed to, on the bus in force."""
    yield Pair(
        again(lambda: bus.publish(Counted(number=1))),
        again(lambda: floors.FloorOwnEvent(number=1)),
    )


def _fact() -> Transition:
    """Make what the engine publishes when a task run begins."""
    definition = task(name="wanted")(work)
    run = TaskRun(definition, definition.name, dict, frozenset({"wanted"}), None)

    return run.enter(Pending())


def _publisher(count: int, other: Callable[[int], Selection], fact: Transition) -> Side:
    crowd = EventBus()
    for number in range(count - 1):
        crowd.subscribe(listener, **other(number))
    crowd.subscribe(listener, name="wanted", state="Pending")

    return again(crowd.publish_transition, fact)


def _compared(other: Callable[[int], Selection]) -> Iterator[Pair]:
    fact = _fact()
    yield Pair(_publisher(MANY, other, fact), _publisher(FEW, other, fact))


@paired("subscriptions.name", "10,000 by name, one matches", SUBSCRIPTIONS, floor="10 of them")
def by_name() -> Iterator[Pair]:
    """The others select other definitions."""
    yield from _compared(lambda number: {"name": f"other-{number}"})


@paired("subscriptions.state", "10,000 by state, one matches", SUBSCRIPTIONS, floor="10 of them")
def by_state() -> Iterator[Pair]:
    """The others select other states."""
    yield from _compared(lambda number: {"state": ("Failed", "Crashed", f"Mine{number}")})


@paired("subscriptions.glob", "10,000 by pattern, one matches", SUBSCRIPTIONS, floor="10 of them")
def by_pattern() -> Iterator[Pair]:
    """The others select other definitions, by patterns."""
    yield from _compared(lambda number: {"name": f"other-{number}-*"})


@paired("subscriptions.tag", "10,000 by tag, one matches", SUBSCRIPTIONS, floor="10 of them")
def by_tag() -> Iterator[Pair]:
    """The others select other tags."""
    yield from _compared(lambda number: {"tags": {f"other-{number}"}})


@paired("subscriptions.run", "10,000 by run, one matches", SUBSCRIPTIONS, floor="10 of them")
def by_run() -> Iterator[Pair]:
    """The others select other runs."""
    yield from _compared(lambda number: {"run_id": f"00000000-0000-7000-8000-{number:012d}"})


def _own_publisher(count: int) -> Side:
    crowd = EventBus()
    for number in range(count - 1):
        crowd.subscribe(listener, name=f"other-{number}")
    crowd.subscribe(listener, event_type=Counted)
    event = Counted(number=1)

    return again(crowd.publish, event)


@paired("subscriptions.own", "10,000, own event, one matches", SUBSCRIPTIONS, floor="10 of them")
def own_event_among_many() -> Iterator[Pair]:
    """The others select transitions."""
    yield Pair(_own_publisher(MANY), _own_publisher(FEW))
