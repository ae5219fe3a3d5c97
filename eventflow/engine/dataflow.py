"""Futures and states among the arguments of a body, and in what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from eventflow.engine.containers import DEPENDENCY, OBJECT, Container, kind_of
from eventflow.errors import RunError
from eventflow.primitives.ids import new_id
from eventflow.primitives.texts import error_text, is_a
from eventflow.runners.failures import WorkerLostError
from eventflow.runs.futures import Future
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.runs.marks import Mark, allow_failure, opaque, quote
from eventflow.runs.run import Run
from eventflow.states import ENDING
from eventflow.states.constructors import Cancelled, Crashed, Failed, aggregate
from eventflow.states.kinds import COMPLETED, FAILED
from eventflow.states.state import AnyState, State, states_in

__all__ = [
    "NO_DEPENDENCIES",
    "PLAIN",
    "Dependencies",
    "cancelled",
    "end_of",
    "end_of_last",
    "find_dependencies",
    "futures_in",
    "plain_end",
    "without_futures",
]

PLAIN: Final = frozenset({bool, bytes, float, int, str, type(None)})
"""The types of values that surely hold no future; asking for the kind of others takes longer."""


_GROUPS: Final = (list, tuple, set, frozenset)


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


def plain_end(returned: Any) -> LazyState | None:
    """Return the state in which a run completes with a value; None for one to be looked into.

    That is a state, a future, or a list, tuple or set that begins with one of these.
    """
    if type(returned) not in PLAIN:
        first = next(iter(returned), None) if issubclass(type(returned), _GROUPS) else returned
        if kind_of(type(first)) is DEPENDENCY:
            return None

    return LazyState(COMPLETED, "Completed", None, returned)


def futures_in(value: Any) -> list[Future[Any]]:
    """Return the futures in nested data."""
    return [found for found in _found(value) if isinstance(found, Future)]


def end_of(returned: Any, futures: list[Future[Any]]) -> LazyState:
    """Return the state that a body's return value stands for, whose futures have ended.

    A state that was made by hand stands for itself. States of runs, and futures, which stand for
    their final states, decide together, alone or in a list, tuple or set of nothing else; then they
    are the data. Anything else completes the run.
    """
    states = {id(future): future.state for future in futures}
    resolved = _replaced(returned, states) if states else returned
    if is_a(resolved, State) and not _is_of_a_run(resolved):
        return BuiltState(_adopted(resolved))
    members = states_in(resolved)
    if members:
        return BuiltState(aggregate(members, resolved))

    return LazyState(COMPLETED, "Completed", None, resolved)


def end_of_last(final: LazyState) -> LazyState:
    """Return the state in which a run ends after its last attempt: Crashed if its worker died."""
    if final.type is not FAILED or not is_a(final.data, WorkerLostError):
        return final

    return BuiltState(Crashed(message=error_text(final.data), data=final.data))


def cancelled(run: Run) -> LazyState:
    """Return the state in which a cancelled run ends; its message says how far the run was."""
    message = "The run was cancelled."
    if not run.run_count:
        message = "The run was cancelled before its body began."
    elif run.state_name == "AwaitingRetry":
        message = f"The run was cancelled between attempts {run.run_count} and {run.run_count + 1}."

    return BuiltState(Cancelled(message=message))


def _is_of_a_run(state: AnyState) -> bool:
    details = state.state_details

    return details.flow_run_id is not None or details.task_run_id is not None


def _adopted(state: AnyState) -> AnyState:
    if state.type in ENDING or state.is_cancelling():
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


def _result(state: AnyState) -> Any:
    """Return the result of an ended run, or what there is in its place: data, or an exception."""
    try:
        result = state.result(raise_on_failure=False)
    except RunError as error:  # it is paused, or could not begin
        return error

    return result.unquote() if isinstance(result, quote) else result
