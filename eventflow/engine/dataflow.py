"""Futures and states among the arguments of a body, and in what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from eventflow.primitives.ids import new_id
from eventflow.runs.futures import Future, allow_failure, unmapped
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.states import COMPLETED, AnyState, Failed, State, aggregate

__all__ = [
    "NO_DEPENDENCIES",
    "PLAIN",
    "Dependencies",
    "find_dependencies",
    "state_of",
    "without_futures",
]

_COLLECTIONS: Final = (list, tuple, set, frozenset, dict)
_MEANINGFUL: Final = (State, Future, *_COLLECTIONS)
"""The types of return values that may be, or contain, states and futures."""

PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})
"""The types of values that are surely none of these; checking other types takes longer."""


class Dependencies(NamedTuple):
    """The futures and states among arguments: they must have ended before a body begins."""

    futures: list[Future[Any]]
    states: list[AnyState]
    tolerated: list[Future[Any]]
    """Futures that may have failed."""


NO_DEPENDENCIES: Final = Dependencies([], [], [])


def _flatten(value: Any) -> Iterator[Any]:
    """Iterate over the values in nested collections; visit each collection only once."""
    if not isinstance(value, _COLLECTIONS):
        yield value
        return
    seen = {id(value)}
    stack = [_items(value)]
    while stack:
        for inner in stack[-1]:
            if not isinstance(inner, _COLLECTIONS):
                yield inner
            elif id(inner) not in seen:
                seen.add(id(inner))
                stack.append(_items(inner))
                break
        else:
            stack.pop()


def _items(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value)


def _replaced(value: Any, replaced: Mapping[int, Any]) -> Any:
    """Return the same nested collections with some values replaced, by identity."""
    return _replace(value, replaced, set())


def _replace(value: Any, replaced: Mapping[int, Any], ancestors: set[int]) -> Any:
    if not isinstance(value, _COLLECTIONS):
        return replaced.get(id(value), value)
    if id(value) in ancestors:
        return value
    ancestors.add(id(value))
    old = list(_items(value))
    new = [_replace(inner, replaced, ancestors) for inner in old]
    ancestors.discard(id(value))
    if all(before is after for before, after in zip(old, new, strict=True)):
        return value

    return _copy_with(value, new)


def _copy_with(value: Any, inner: list[Any]) -> Any:
    if isinstance(value, dict):
        return dict(zip(value, inner, strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*inner)
    kind = next(base for base in _COLLECTIONS if isinstance(value, base))

    return kind(inner)


def state_of(returned: Any) -> LazyState:
    """Return the state that a body's return value stands for.

    A state stands for itself. Futures and states, alone or in a collection of nothing else, are
    aggregated, and replaced by their results. Anything else completes the run.
    """
    if type(returned) in PLAIN or not isinstance(returned, _MEANINGFUL):
        return LazyState(COMPLETED, "Completed", None, returned)
    if isinstance(returned, State):
        return BuiltState(_returned_state(returned))
    leaves: list[Future[Any] | AnyState] = []
    for leaf in _flatten(returned):
        if not isinstance(leaf, Future | State):
            return LazyState(COMPLETED, "Completed", None, returned)
        leaves.append(leaf)
    if not leaves:
        return LazyState(COMPLETED, "Completed", None, returned)
    states = [leaf.state if isinstance(leaf, Future) else leaf for leaf in leaves]
    results = {
        id(leaf): state.result(raise_on_failure=False)
        for leaf, state in zip(leaves, states, strict=True)
    }

    return BuiltState(aggregate(states, _replaced(returned, results)))


def _returned_state(state: AnyState) -> AnyState:
    if state.is_final or state.is_cancelling:
        # A copy: the same state may be returned by many runs, and each enters its own.
        return state.model_copy(update={"id": new_id(), "timestamp": datetime.now(UTC)})

    return Failed(message=f"The body returned the state {state}, which does not end a run.")


def find_dependencies(values: Any) -> Dependencies:
    """Find the futures and the states among arguments."""
    dependencies = NO_DEPENDENCIES
    for leaf in _flatten(values):
        if not isinstance(leaf, Future | State | allow_failure | unmapped):
            continue
        if dependencies is NO_DEPENDENCIES:
            dependencies = Dependencies([], [], [])
        if isinstance(leaf, Future):
            dependencies.futures.append(leaf)
        elif isinstance(leaf, State):
            dependencies.states.append(leaf)
        else:
            _add_marked(leaf, dependencies)

    return dependencies


def _add_marked(mark: allow_failure[Any] | unmapped[Any], dependencies: Dependencies) -> None:
    inner = find_dependencies(mark.value)
    dependencies.tolerated.extend(inner.tolerated)
    if isinstance(mark, allow_failure):
        dependencies.tolerated.extend(inner.futures)
    else:
        dependencies.futures.extend(inner.futures)
        dependencies.states.extend(inner.states)


def without_futures(value: Any) -> Any:
    """Return arguments with futures and states replaced by their results."""
    replaced: dict[int, Any] = {}
    for leaf in _flatten(value):
        if isinstance(leaf, allow_failure | unmapped):
            replaced[id(leaf)] = without_futures(leaf.value)
        elif isinstance(leaf, Future):
            replaced[id(leaf)] = leaf.state.result(raise_on_failure=False)
        elif isinstance(leaf, State):
            replaced[id(leaf)] = leaf.result(raise_on_failure=False)

    return _replaced(value, replaced) if replaced else value
