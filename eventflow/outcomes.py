"""What a body's return value, and the futures among its arguments, come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from eventflow.futures import Future, allow_failure, unmapped
from eventflow.states import AnyState, Completed, Failed, State, aggregate

__all__ = ["state_of", "upstream", "without_futures"]

_COLLECTIONS: Final = (list, tuple, set, frozenset, dict)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, _COLLECTIONS):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value


def _rebuilt(value: Any, replaced: Mapping[int, Any]) -> Any:
    """Give the same structure with some leaves replaced, by their identity."""
    if isinstance(value, dict):
        return {key: _rebuilt(inner, replaced) for key, inner in value.items()}
    if isinstance(value, _COLLECTIONS):
        inner = [_rebuilt(one, replaced) for one in value]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*inner)
        kind = next(base for base in _COLLECTIONS if isinstance(value, base))
        return kind(inner)

    return replaced.get(id(value), value)


def state_of(returned: Any) -> AnyState:
    """Give the state that a body's return value amounts to.

    A state is that state. Futures and states, alone or in a collection of nothing else, are
    summed up, and their results take their places. Anything else completes the run.
    """
    if isinstance(returned, State):
        return _returned_state(returned)
    if not isinstance(returned, (Future, *_COLLECTIONS)):
        return Completed(data=returned)
    leaves = list(_leaves(returned))
    if not leaves or not all(isinstance(leaf, Future | State) for leaf in leaves):
        return Completed(data=returned)
    states = [leaf.state if isinstance(leaf, Future) else leaf for leaf in leaves]
    results = {
        id(leaf): state.result(raise_on_failure=False)
        for leaf, state in zip(leaves, states, strict=True)
    }

    return aggregate(states, _rebuilt(returned, results))


def _returned_state(state: AnyState) -> AnyState:
    if state.is_final or state.is_cancelling:
        # A state is entered once; the same one may be returned by many runs.
        return state.model_copy(update={"id": type(state)(type=state.type).id})

    return Failed(message=f"The body returned the state {state}, which does not end a run.")


def upstream(values: Any) -> tuple[list[Future[Any]], list[AnyState]]:
    """Find the futures and the states among arguments that must have completed."""
    futures: list[Future[Any]] = []
    states: list[AnyState] = []
    for leaf in _leaves(values):
        if isinstance(leaf, Future):
            futures.append(leaf)
        elif isinstance(leaf, State):
            states.append(leaf)
        elif isinstance(leaf, unmapped):
            more = upstream(leaf.value)
            futures += more[0]
            states += more[1]

    return futures, states


def tolerated(values: Any) -> list[Future[Any]]:
    """Find the futures among arguments that may have failed."""
    marked = (leaf for leaf in _leaves(values) if isinstance(leaf, allow_failure))

    return [future for mark in marked for future in upstream(mark.value)[0]]


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
