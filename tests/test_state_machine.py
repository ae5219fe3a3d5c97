"""Random trees of flows and tasks against a small model of what has to be published.

`EVENTFLOW_EXAMPLES=2000 pytest tests/test_state_machine.py` looks longer, at new examples.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventflow import (
    EventBus,
    FlowRun,
    StateTransition,
    StateType,
    TaskRun,
    flow,
    task,
    use_bus,
    wait,
)
from eventflow.context import current_run, get_run_context
from eventflow.states import ENDING, LEGAL, Paused

EXAMPLES: Final = int(os.environ.get("EVENTFLOW_EXAMPLES", "0"))
TIMEOUT: Final = 0.02
"""Seconds after which a body that never ends is stopped; never given to one that does end."""

KINDS: Final = {
    StateType.RUNNING: "on_running",
    StateType.COMPLETED: "on_completion",
    StateType.FAILED: "on_failure",
    StateType.CANCELLING: "on_cancellation",
    StateType.CRASHED: "on_crashed",
}

Ending: TypeAlias = Literal["return", "pause", "fail", "crash", "cancel"]
"""How a body ends one attempt."""


@dataclass(frozen=True)
class Node:
    """A definition to call, and what its body does."""

    is_flow: bool
    is_async: bool
    submitted: bool
    endless: bool
    endings: tuple[Ending, ...]
    reach: int
    joins: bool
    retries: int
    hooks: tuple[tuple[str, bool], ...]
    children: tuple[Node, ...]

    def ending(self, attempt: int) -> Ending:
        """Return how the body ends an attempt, counted from 1."""
        return self.endings[min(attempt, len(self.endings)) - 1]

    @property
    def family(self) -> Iterator[Node]:
        """This node and its descendants."""
        yield self
        for child in self.children:
            yield from child.family


@st.composite
def nodes(
    draw: st.DrawFn,
    depth: int = 2,
    *,
    root: bool = True,
    parent: Node | None = None,
    calm: bool = False,
) -> Node:
    """Draw a tree. In a body that never ends, no child crashes or cancels: they would race."""
    endless = draw(st.booleans()) and draw(st.booleans())
    endings: list[Ending] = (
        ["return", "pause", "fail"] if calm else ["return", "pause", "fail", "crash", "cancel"]
    )
    is_async = draw(st.booleans())
    is_flow = draw(st.booleans())
    submitted = not root and not is_flow and draw(st.booleans())
    if parent is not None and not parent.is_async and not submitted:
        is_async = False  # sync code cannot await
    node = Node(
        is_flow=is_flow,
        is_async=is_async,
        submitted=submitted,
        endless=endless,
        endings=tuple(draw(st.lists(st.sampled_from(endings), min_size=1, max_size=3))),
        reach=draw(st.integers(0, 3)),
        joins=draw(st.booleans()),
        retries=draw(st.integers(0, 2)),
        hooks=tuple(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(sorted(KINDS.values())), st.booleans()), max_size=4
                )
            )
        ),
        children=(),
    )
    if depth == 0:
        return node
    child_nodes = nodes(depth - 1, root=False, parent=node, calm=calm or endless)
    children = tuple(draw(st.lists(child_nodes, max_size=3 if root else 2)))
    # Every attempt executes the children again.
    retries = min(node.retries, 1) if children else node.retries

    return replace(node, children=children, retries=retries)


# ------------------------------------------------------------------------------------ executing

_ancestors: ContextVar[tuple[FlowRun | TaskRun, ...]] = ContextVar("ancestors", default=())


@dataclass
class Recording:
    """The events and hook calls of a tree, in one order."""

    lines: list[tuple[str, UUID, Any]] = field(default_factory=list)
    nodes: dict[UUID, Node] = field(default_factory=dict)
    definitions: dict[int, Any] = field(default_factory=dict)

    def listen(self, event: StateTransition) -> None:
        """Record an event."""
        self.lines.append(("event", event.run_id, event))

    def events(self, run_id: UUID) -> list[StateTransition]:
        """Return the events of one run."""
        return [what for kind, run, what in self.lines if kind == "event" and run == run_id]

    @property
    def runs(self) -> list[UUID]:
        """Every run, in the order in which they began."""
        return list(dict.fromkeys(run for kind, run, _ in self.lines if kind == "event"))


def hook_for(recording: Recording, kind: str, place: int, *, is_async: bool) -> Callable[..., Any]:
    """Return a hook that records its call."""

    def note(definition: object, run: FlowRun | TaskRun, state: Any) -> None:
        recording.lines.append(("hook", run.id, (kind, place, state.type)))

    async def anote(definition: object, run: FlowRun | TaskRun, state: Any) -> None:
        await asyncio.sleep(0)
        note(definition, run, state)

    return anote if is_async else note


def definition_for(node: Node, recording: Recording) -> Any:
    """Return the flow or task of a node, with its hooks."""
    if id(node) not in recording.definitions:
        recording.definitions[id(node)] = _definition(node, recording)

    return recording.definitions[id(node)]


def _definition(node: Node, recording: Recording) -> Any:
    body = _async_body(node, recording) if node.is_async else _sync_body(node, recording)
    hooks: dict[str, list[Any]] = {}
    for place, (kind, is_async) in enumerate(node.hooks):
        hooks.setdefault(kind, []).append(hook_for(recording, kind, place, is_async=is_async))
    options: dict[str, Any] = {"retries": node.retries, **hooks}
    if node.endless:
        options["timeout_seconds"] = TIMEOUT

    return flow(**options)(body) if node.is_flow else task(**options)(body)


def _begin(node: Node, recording: Recording) -> FlowRun | TaskRun:
    run = get_run_context().run
    assert isinstance(run, FlowRun | TaskRun)
    recording.nodes[run.id] = node
    if not _ancestors.get() or _ancestors.get()[-1] is not run:
        _ancestors.set((*_ancestors.get(), run))

    return run


def _end_attempt(node: Node, run: FlowRun | TaskRun) -> bool:
    """End an attempt as the node says; return whether the body is to wait to be stopped."""
    ending = node.ending(run.run_count)
    if node.endless:
        return True
    if ending == "fail":
        raise ValueError("the body fails")
    if ending == "crash":
        raise SystemExit(3)
    if ending == "cancel":
        _target(node, _ancestors.get()).cancel()

    return ending == "cancel"


def _returned(node: Node, run: FlowRun | TaskRun) -> object:
    return Paused() if node.ending(run.run_count) == "pause" else None


def _target(node: Node, ancestors: tuple[FlowRun | TaskRun, ...]) -> FlowRun | TaskRun:
    return ancestors[max(0, len(ancestors) - 1 - node.reach)]


def _sync_body(node: Node, recording: Recording) -> Callable[[], object]:
    def body() -> object:
        before = _ancestors.get()
        run = _begin(node, recording)
        try:
            futures = []
            for child in node.children:
                definition = definition_for(child, recording)
                if child.submitted and _in_flow(node):
                    futures.append(definition.submit())
                elif not child.is_async:
                    definition(return_state=True)
            if node.joins:
                wait(futures)
            while _end_attempt(node, run):
                while True:
                    time.sleep(0.002)
            return _returned(node, run)
        finally:
            _ancestors.set(before)

    return body


def _async_body(node: Node, recording: Recording) -> Callable[[], object]:
    async def body() -> object:
        before = _ancestors.get()
        run = _begin(node, recording)
        try:
            futures = []
            for child in node.children:
                definition = definition_for(child, recording)
                if child.submitted and _in_flow(node):
                    futures.append(definition.submit())
                elif child.is_async:
                    await definition(return_state=True)
                else:
                    definition(return_state=True)
            if node.joins:
                for future in futures:
                    await future.ended()
            while _end_attempt(node, run):
                await asyncio.Event().wait()
            return _returned(node, run)
        finally:
            _ancestors.set(before)

    return body


def _in_flow(node: Node) -> bool:
    active = current_run.get()

    return active is not None and active.scope is not None


def carry_out(root: Node, *, in_main_thread: bool) -> Recording:
    """Execute a tree on a bus of its own, and return the recording."""
    recording = Recording()
    bus = EventBus()

    def work() -> None:
        with use_bus(bus), bus.subscribe(recording.listen, event_type=StateTransition):
            definition = definition_for(root, recording)
            try:
                if root.is_async:
                    asyncio.run(definition(return_state=True))
                else:
                    definition(return_state=True)
            except SystemExit:
                pass

    if in_main_thread:
        work()
    else:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "the run never ended"

    return recording


# -------------------------------------------------------------------------------- the model


def natural_path(node: Node) -> list[str]:
    """Return the states of a run that is not stopped, and whose children do not end it."""
    path = ["Pending", "Running"]
    for attempt in range(1, node.retries + 2):
        ending = "timeout" if node.endless else node.ending(attempt)
        if ending in {"fail", "timeout"} and attempt <= node.retries:
            path += ["AwaitingRetry", "Retrying"]
        else:
            return path + ENDS[ending]
    raise AssertionError


ENDS: Final[dict[str, list[str]]] = {
    "return": ["Completed"],
    "pause": ["Paused"],
    "fail": ["Failed"],
    "timeout": ["TimedOut"],
    "crash": ["Crashed"],
    "cancel": ["Cancelling", "Cancelled"],
}


def is_alone(node: Node) -> bool:
    """Say whether no child decides how a run of this node ends."""
    descendants = [inner for child in node.children for inner in child.family]
    endings = {ending for inner in descendants if not inner.endless for ending in inner.endings}

    return "crash" not in endings and "cancel" not in endings


def allowed_paths(node: Node) -> list[list[str]]:
    """Return every path of a run that may be stopped by its ancestors at any time."""
    natural = natural_path(node)
    running = [place for place, name in enumerate(natural) if name not in END_NAMES]
    cut = [[*natural[: place + 1], "Cancelling", "Cancelled"] for place in running]

    return [natural, *cut]


END_NAMES: Final = frozenset(name for names in ENDS.values() for name in names)


# -------------------------------------------------------------------------------- the checks


def check_every_run(recording: Recording) -> None:
    """Assert what holds for every run in whatever tree."""
    for run_id in recording.runs:
        events = recording.events(run_id)
        assert [event.sequence for event in events] == list(range(len(events)))
        assert events[0].from_state is None
        assert events[0].follows is None
        for before, after in pairwise(events):
            assert after.follows == before.id == before.to_state.id
            assert after.from_state is not None
            assert after.from_state.id == before.to_state.id
            assert after.to_state.type in LEGAL[before.to_state.type]
        ends = [event for event in events if event.to_state.type in ENDING]
        assert ends == [events[-1]], [event.to_state.name for event in events]


def check_hooks(recording: Recording) -> None:
    """Assert that each run's hooks ran exactly as declared, and in order."""
    for run_id in recording.runs:
        node = recording.nodes.get(run_id)
        if node is None:
            continue  # ended before its body began: its node is not known
        seen = [what for kind, run, what in recording.lines if run == run_id and kind == "hook"]
        expected = [
            (kind, place, event.to_state.type)
            for event in recording.events(run_id)
            for place, (kind, _) in enumerate(node.hooks)
            if kind == KINDS.get(event.to_state.type)
        ]
        assert seen == expected


def check_children(recording: Recording) -> None:
    """Assert that no run has events or hooks after the end of the run around it.

    A submitted task run belongs to the flow run around it, also when another task submitted it.
    """
    ended: set[UUID] = set()
    around: dict[UUID, set[UUID | None]] = {}
    for kind, run_id, what in recording.lines:
        if kind == "event" and run_id not in around:
            inline = run_id in recording.nodes and not recording.nodes[run_id].submitted
            flow_run_id = None if what.flow_run_id == run_id else what.flow_run_id
            around[run_id] = {flow_run_id, what.parent_run_id if inline else None}
        assert not around[run_id] & ended
        if kind == "event" and what.to_state.type in ENDING:
            ended.add(run_id)


def check_paths(root: Node, recording: Recording) -> None:
    """Assert that each run took a path that the model allows."""
    for run_id in recording.runs:
        node = recording.nodes.get(run_id)
        path = [event.to_state.name for event in recording.events(run_id)]
        if node is None:
            # Its body did not begin, for it was cancelled, or its time was over before.
            assert path[-2:] in (["Cancelling", "Cancelled"], ["Running", "TimedOut"]), path
        elif is_alone(node) and not (node.reach and "cancel" in node.endings and not node.endless):
            assert path in ([natural_path(node)] if node is root else allowed_paths(node))


SETTINGS: Final = settings(
    max_examples=EXAMPLES or 120,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# An interrupt may arrive in the callback of a weak reference of Python's own (asyncio has one for
# each task), where Python ignores it and says so. The run is then taken over.
@pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <function WeakSet:pytest.PytestUnraisableExceptionWarning"
)
@SETTINGS
@given(root=nodes(), in_main_thread=st.booleans())
def test_every_run_of_any_tree_keeps_to_the_model(root: Node, in_main_thread: bool) -> None:
    """Whatever happens in a tree, each run takes a legal path to one end, its hooks with it."""
    recording = carry_out(root, in_main_thread=in_main_thread)
    assert recording.runs
    check_every_run(recording)
    check_children(recording)
    check_hooks(recording)
    check_paths(root, recording)
