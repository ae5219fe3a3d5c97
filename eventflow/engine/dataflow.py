"""Futures and states among the arguments of a body, and in what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from eventflow.engine.containers import OBJECT, Container, kind_of
from eventflow.primitives.ids import new_id
from eventflow.runs.futures import Future
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.runs.marks import Mark, allow_failure, opaque, quote
from eventflow.states import COMPLETED, AnyState, Failed, State, aggregate

__all__ = [
    "NO_DEPENDENCIES",
    "PLAIN",
    "Dependencies",
    "find_dependencies",
    "state_of",
    "without_futures",
]

PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})
"""The types of values that surely hold no future; asking for the kind of others takes longer."""


class Dependencies(NamedTuple):
    """The futures and states among arguments: they must have ended before a body begins."""

    futures: list[Future[Any]]
    states: list[AnyState]
    tolerated: list[Future[Any]]
    """Futures that may have failed."""

    hidden: list[str]
    """Attributes that hold a future, of objects that eventflow does not look into."""


NO_DEPENDENCIES: Final = Dependencies([], [], [], [])


def _found(value: Any) -> Iterator[Any]:
    """Iterate over the dependencies in nested data, and over the objects that hide some.

    Each container is visited only once.
    """
    seen: set[int] = set()
    stack = [iter((value,))]
    while stack:
        for inner in stack[-1]:
            if type(inner) in PLAIN:
                continue
            kind = kind_of(type(inner))
            if kind is None or (kind is OBJECT and not _hidden(inner)):
                continue
            if not isinstance(kind, Container):
                yield inner
            elif id(inner) not in seen:
                seen.add(id(inner))
                stack.append(iter(kind.contents(inner)))
                break
        else:
            stack.pop()


def _returned_leaves(value: Any) -> Iterator[Any]:
    """Iterate over all that is in nested collections, but for the keys of mappings."""
    seen = {id(value)}
    stack = [iter((value,))]
    while stack:
        for inner in stack[-1]:
            kind = None if type(inner) in PLAIN else kind_of(type(inner))
            if not isinstance(kind, Container) or not kind.is_collection:
                yield inner
            elif inner is value or id(inner) not in seen:
                seen.add(id(inner))
                contents = inner.values() if isinstance(inner, Mapping) else kind.contents(inner)
                stack.append(iter(contents))
                break
        else:
            stack.pop()


def _replaced(value: Any, replaced: Mapping[int, Any]) -> Any:
    """Return the same nested data with some values replaced, by identity.

    Containers in which nothing is replaced stay what they are; the others are copied.
    """
    return _rebuilt(value, replaced, _affected(value, replaced), {})


def _affected(value: Any, replaced: Mapping[int, Any]) -> set[int]:
    """Return the ids of the containers that hold what is to be replaced, at any depth."""
    holders: dict[int, list[int]] = {}
    reached: list[int] = []
    seen = {id(value)}
    to_visit = [value]
    while to_visit:
        outer = to_visit.pop()
        kind = kind_of(type(outer))
        for inner in kind.contents(outer) if isinstance(kind, Container) else ():
            if id(inner) in replaced:
                reached.append(id(outer))
            elif isinstance(kind_of(type(inner)), Container):
                holders.setdefault(id(inner), []).append(id(outer))
                if id(inner) not in seen:
                    seen.add(id(inner))
                    to_visit.append(inner)
    affected: set[int] = set()
    while reached:
        holder = reached.pop()
        if holder not in affected:
            affected.add(holder)
            reached += holders.get(holder, ())

    return affected


def _rebuilt(
    value: Any, replaced: Mapping[int, Any], affected: set[int], made: dict[int, Any]
) -> Any:
    if id(value) in replaced:
        return replaced[id(value)]
    kind = kind_of(type(value))
    if id(value) not in affected or not isinstance(kind, Container):
        return value
    if id(value) in made:
        return made[id(value)]
    copied = value
    if kind.copied is not None:
        # Noted before it is filled: something in it may hold it.
        copied = made[id(value)] = kind.copied(value)
    inner = [_rebuilt(held, replaced, affected, made) for held in kind.contents(value)]
    made[id(value)] = kind.refilled(copied, inner)

    return made[id(value)]


def state_of(returned: Any) -> LazyState:
    """Return the state that a body's return value stands for.

    A state stands for itself. Futures and states, alone or in a collection of nothing else, are
    aggregated, and replaced by their results. Anything else completes the run.
    """
    if type(returned) in PLAIN or kind_of(type(returned)) is None:
        return LazyState(COMPLETED, "Completed", None, returned)
    if isinstance(returned, State):
        return BuiltState(_returned_state(returned))
    leaves: list[Future[Any] | AnyState] = []
    for leaf in _returned_leaves(returned):
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
    if state.is_final() or state.is_cancelling():
        # A copy: the same state may be returned by many runs, and each enters its own.
        return state.model_copy(update={"id": new_id(), "timestamp": datetime.now(UTC)})

    return Failed(message=f"The body returned the state {state}, which does not end a run.")


def find_dependencies(values: Any) -> Dependencies:
    """Find the futures and the states among arguments."""
    dependencies = NO_DEPENDENCIES
    for found in _found(values):
        if dependencies is NO_DEPENDENCIES:
            dependencies = Dependencies([], [], [], [])
        if isinstance(found, Future):
            dependencies.futures.append(found)
        elif isinstance(found, State):
            dependencies.states.append(found)
        elif isinstance(found, Mark):
            _add_marked(found, dependencies)
        else:
            dependencies.hidden.extend(_hidden(found))

    return dependencies


def _hidden(value: Any) -> list[str]:
    """Return the attributes of an object that are futures."""
    attributes = vars(value)
    if Future not in map(type, attributes.values()):
        return []

    return [
        f"{type(value).__qualname__}.{name}"
        for name, held in attributes.items()
        if type(held) is Future
    ]


def _add_marked(mark: Mark[Any], dependencies: Dependencies) -> None:
    if _is_passed_as_it_is(mark):
        return
    inner = find_dependencies(mark.value)
    dependencies.tolerated.extend(inner.tolerated)
    dependencies.hidden.extend(inner.hidden)
    if isinstance(mark, allow_failure):
        dependencies.tolerated.extend(inner.futures)
    else:
        dependencies.futures.extend(inner.futures)
        dependencies.states.extend(inner.states)


def _result(state: AnyState) -> Any:
    result = state.result(raise_on_failure=False)

    return result.unquote() if isinstance(result, quote) else result


def _is_passed_as_it_is(mark: Mark[Any]) -> bool:
    """Return whether nothing in a marked value is replaced by a result."""
    if isinstance(mark, opaque):
        return not isinstance(mark.value, Future | State | Mark)

    return isinstance(mark, quote)


def without_futures(value: Any) -> Any:
    """Return arguments without marks, and with futures and states replaced by their results."""
    replaced: dict[int, Any] = {}
    for found in _found(value):
        if isinstance(found, Mark):
            whole = _is_passed_as_it_is(found)
            replaced[id(found)] = found.value if whole else without_futures(found.value)
        elif isinstance(found, Future):
            replaced[id(found)] = _result(found.state)
        elif isinstance(found, State):
            replaced[id(found)] = _result(found)

    return _replaced(value, replaced) if replaced else value
