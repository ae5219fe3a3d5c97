"""What a body's return value, and the futures among its arguments, come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from eventflow.primitives.ids import new_id
from eventflow.runs.futures import Future, allow_failure, unmapped
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.states import COMPLETED, AnyState, Failed, State, aggregate

__all__ = ["NOTHING", "PLAIN", "Needs", "needs", "state_of", "without_futures"]

_COLLECTIONS: Final = (list, tuple, set, frozenset, dict)
_MEANINGFUL: Final = (State, Future, *_COLLECTIONS)
"""What may say more, being returned, than that the run has completed."""

PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})
"""The types of values that are surely none of these; to look at the others takes longer."""


class Needs(NamedTuple):
    """What must have ended before a body can begin, found among its arguments."""

    futures: list[Future[Any]]
    states: list[AnyState]
    tolerated: list[Future[Any]]
    """Futures that may have failed."""


NOTHING: Final = Needs([], [], [])


def _leaves(value: Any) -> Iterator[Any]:
    """Go through what a collection holds, however deep; a collection within itself only once."""
    if not isinstance(value, _COLLECTIONS):
        yield value
        return
    seen = {id(value)}
    open_ones = [_items(value)]
    while open_ones:
        for inner in open_ones[-1]:
            if not isinstance(inner, _COLLECTIONS):
                yield inner
            elif id(inner) not in seen:
                seen.add(id(inner))
                open_ones.append(_items(inner))
                break
        else:
            open_ones.pop()


def _items(value: Any) -> Iterator[Any]:
    return iter(value.values() if isinstance(value, dict) else value)


def _rebuilt(value: Any, replaced: Mapping[int, Any]) -> Any:
    """Give the same structure with some leaves replaced, by their identity."""
    return _rebuild(value, replaced, set())


def _rebuild(value: Any, replaced: Mapping[int, Any], above: set[int]) -> Any:
    if not isinstance(value, _COLLECTIONS):
        return replaced.get(id(value), value)
    if id(value) in above:
        return value
    above.add(id(value))
    old = list(_items(value))
    new = [_rebuild(inner, replaced, above) for inner in old]
    above.discard(id(value))
    if all(one is other for one, other in zip(old, new, strict=True)):
        return value

    return _remade(value, new)


def _remade(value: Any, inner: list[Any]) -> Any:
    if isinstance(value, dict):
        return dict(zip(value, inner, strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*inner)
    kind = next(base for base in _COLLECTIONS if isinstance(value, base))

    return kind(inner)


def state_of(returned: Any) -> LazyState:
    """Give the state that a body's return value amounts to.

    A state is that state. Futures and states, alone or in a collection of nothing else, are
    summed up, and their results take their places. Anything else completes the run.
    """
    if type(returned) in PLAIN or not isinstance(returned, _MEANINGFUL):
        return LazyState(COMPLETED, "Completed", None, returned)
    if isinstance(returned, State):
        return BuiltState(_returned_state(returned))
    leaves: list[Future[Any] | AnyState] = []
    for leaf in _leaves(returned):
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

    return BuiltState(aggregate(states, _rebuilt(returned, results)))


def _returned_state(state: AnyState) -> AnyState:
    if state.is_final or state.is_cancelling:
        # A state is entered once, and now; the same one may be returned by many runs.
        return state.model_copy(update={"id": new_id(), "timestamp": datetime.now(UTC)})

    return Failed(message=f"The body returned the state {state}, which does not end a run.")


def needs(values: Any) -> Needs:
    """Find the futures and the states among arguments that must have ended."""
    found = NOTHING
    for leaf in _leaves(values):
        if not isinstance(leaf, Future | State | allow_failure | unmapped):
            continue
        if found is NOTHING:
            found = Needs([], [], [])
        if isinstance(leaf, Future):
            found.futures.append(leaf)
        elif isinstance(leaf, State):
            found.states.append(leaf)
        else:
            _add_marked(leaf, found)

    return found


def _add_marked(mark: allow_failure[Any] | unmapped[Any], found: Needs) -> None:
    inner = needs(mark.value)
    found.tolerated.extend(inner.tolerated)
    if isinstance(mark, allow_failure):
        found.tolerated.extend(inner.futures)
    else:
        found.futures.extend(inner.futures)
        found.states.extend(inner.states)


def without_futures(value: Any) -> Any:
    """Give arguments with the results of futures and states in their places."""
    replaced: dict[int, Any] = {}
    for leaf in _leaves(value):
        if isinstance(leaf, allow_failure | unmapped):
            replaced[id(leaf)] = without_futures(leaf.value)
        elif isinstance(leaf, Future):
            replaced[id(leaf)] = leaf.state.result(raise_on_failure=False)
        elif isinstance(leaf, State):
            replaced[id(leaf)] = leaf.result(raise_on_failure=False)

    return _rebuilt(value, replaced) if replaced else value
