"""Selections: the keywords by which events are selected, read and checked."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypedDict
from uuid import UUID

from eventflow.primitives.durations import read_seconds
from eventflow.states import KNOWN_NAMES, TERMINAL, StateType

if TYPE_CHECKING:
    from eventflow.events import Event
    from eventflow.runs.run import RunType

__all__ = [
    "ATTRIBUTES",
    "Check",
    "Conditions",
    "Selection",
    "States",
    "read_conditions",
    "read_run_id",
    "read_tags",
]

States: TypeAlias = "str | StateType | Iterable[str | StateType] | None"
"""A state's name, a type (every name of it), or several of either."""


class Selection(TypedDict, total=False):
    """The keywords by which subscriptions select events."""

    run_type: RunType | None
    state: States
    from_state: States
    name: str | None
    tags: Iterable[str] | None
    definition: Any
    run_id: UUID | str | None
    event_type: type[Event] | None
    lasting: float | timedelta | None


_FINAL: Final = TERMINAL | {"Completed", "Failed", "TimedOut", "Cancelled", "Crashed"}
"""The types and the usual names of the states in which runs end."""

_KEYWORDS: Final = ", ".join(Selection.__annotations__)


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a filter; `per_run` if runs of one definition may differ in it."""

    what: str
    wanted: str
    admits: Callable[[Any], bool] = field(repr=False)
    per_run: bool = False

    def refusal(self, subject: object) -> str:
        """Return why the subject is not admitted."""
        return f"{self.what} is {_shown(subject, self.what)}, not {self.wanted}"


class Conditions(NamedTuple):
    """What a selection asks of events, besides their class.

    With `lasting`, a state has to last so many seconds. If that counts `until_end`, it begins with
    the first Running and counts until the run ends, whatever its states.
    """

    selection: Selection
    states: tuple[str, ...]
    checks: tuple[Check, ...]
    lasting: float | None = None
    until_end: bool = False

    def overdue(self, seconds: float) -> Conditions:
        """Return the same conditions on runs that have not ended so long after they began."""
        running = (StateType.RUNNING,)
        checks = (*self.checks, *_state_checks("state", "to_state", running))

        return self._replace(states=running, checks=checks, lasting=seconds, until_end=True)


def read_conditions(selection: Selection) -> Conditions:
    """Read the keywords of a subscription.

    A state name that resembles a known one is warned about: a custom name is legal, but a
    misspelt one would never match.

    Raises:
        TypeError: a keyword has a value of the wrong kind.
        ValueError: run_type is neither "flow" nor "task", run_id is no UUID, or lasting is not
            longer than 0 seconds, or for a final state.
    """
    unknown = ", ".join(sorted(selection.keys() - Selection.__annotations__.keys()))
    if unknown:
        raise TypeError(f"Events are selected by {_KEYWORDS}; there is no {unknown}.")
    states = _read_states("state", selection.get("state"))
    from_states = _read_states("from_state", selection.get("from_state"))
    given = selection.get("tags")
    tags = None if given is None else read_tags(given)
    checks = (
        *_run_type_checks(selection.get("run_type")),
        *_state_checks("state", "to_state", states),
        *_state_checks("from_state", "from_state", from_states),
        *_name_checks(selection.get("name")),
        *_definition_checks(selection.get("definition")),
        *_tag_checks(tags),
        *_run_id_checks(selection.get("run_id")),
    )

    lasting = selection.get("lasting")
    seconds = None if lasting is None else read_seconds("lasting", lasting)
    if seconds is not None:
        _refuse_final(states)
    # What was an iterator is used up.
    read = Selection(state=states or None, from_state=from_states or None, tags=tags)

    return Conditions({**selection, **read}, states, checks, seconds)


def _refuse_final(states: Iterable[str]) -> None:
    """Refuse to wait for how long a final state lasts: a run never leaves it."""
    final = next((state for state in states if state in _FINAL), None)
    if final is not None:
        raise ValueError(
            f"{str(final)!r} is a final state: nothing lasts after the end of a run. Leave lasting "
            "out to be told of that end, or give another state."
        )


def _run_type_checks(run_type: RunType | None) -> Iterator[Check]:
    if run_type is None:
        return
    if run_type not in ("flow", "task"):
        raise ValueError(f"run_type must be 'flow' or 'task', but is {run_type!r}.")
    yield Check("run_type", repr(run_type), lambda subject: _get(subject, "run_type") == run_type)


def _state_checks(what: str, attribute: str, wanted: tuple[str, ...]) -> Iterator[Check]:
    if wanted:
        yield Check(what, " or ".join(sorted(wanted)), _in_state(attribute, wanted))


def _name_checks(name: str | None) -> Iterator[Check]:
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, with * and ? as wildcards, but is {name!r}.")

    def has_name(subject: object) -> bool:
        return fnmatchcase(_get(subject, "definition_name", ""), name)

    yield Check("name", repr(name), has_name)


def _definition_checks(definition: Any) -> Iterator[Check]:
    if definition is None:
        return
    origin = getattr(definition, "origin", None)
    if origin is None:
        raise TypeError(f"definition must be a flow or a task, but is {definition!r}.")

    def has_origin(subject: object) -> bool:
        return _get(_get(subject, "definition"), "origin") is origin

    yield Check("definition", repr(definition.name), has_origin)


def _tag_checks(subset: frozenset[str] | None) -> Iterator[Check]:
    if subset is None:
        return
    if any(not isinstance(tag, str) for tag in subset):
        raise TypeError(f"tags must be strings, but are {sorted(subset, key=repr)!r}.")

    def has_tags(subject: object) -> bool:
        tags: frozenset[str] = _get(subject, "tags", frozenset())
        return subset <= tags

    yield Check("tags", str(sorted(subset)), has_tags, per_run=True)


def _run_id_checks(run_id: UUID | str | None) -> Iterator[Check]:
    if run_id is None:
        return
    wanted = read_run_id(run_id)
    yield Check("run_id", str(wanted), lambda run: _get(run, "run_id") == wanted, per_run=True)


ATTRIBUTES: Final = {"state": "to_state", "name": "definition_name"}
"""The attribute of an event that a keyword selects by, where it has another name."""


def read_tags(tags: Iterable[str]) -> frozenset[str]:
    """Read one tag, or several."""
    return frozenset({tags} if isinstance(tags, str) else tags)


def _get(subject: object, attribute: str, default: Any = None) -> Any:
    return getattr(subject, attribute, default)


def _shown(subject: object, what: str) -> str:
    value = _get(subject, ATTRIBUTES.get(what, what))
    if what in {"state", "from_state"}:
        return "none" if value is None else f"{value.name} ({value.type})"

    if what == "run_id":
        return str(value)
    if what == "definition":
        return repr(getattr(value, "name", value))

    return str(sorted(value)) if isinstance(value, frozenset) else repr(value)


def _read_states(what: str, given: States) -> tuple[str, ...]:
    """Read one state's name or type, or several, and warn about a name that looks misspelt.

    Raises:
        TypeError: something is no name and no type.
        ValueError: it is empty.
    """
    if given is None:
        return ()
    states: tuple[str, ...] = (given,) if isinstance(given, str) else tuple(_members(given))
    if not states or "" in states:
        raise ValueError(f"{what} names no state: {given!r}.")
    for state in states:
        if not isinstance(state, str):
            raise TypeError(f"{what} must be a state's name or a StateType, but got {state!r}.")
        if not isinstance(state, StateType):
            _warn_if_misspelt(state)

    return states


def _members(given: Any) -> Iterable[Any]:
    # A State is iterable as well, over its fields, as every model of pydantic.
    is_several = isinstance(given, Iterable) and not hasattr(given, "model_fields_set")

    return given if is_several else (given,)


def _warn_if_misspelt(name: str) -> None:
    if name in KNOWN_NAMES:
        return
    by_fold = {known.casefold(): known for known in KNOWN_NAMES}
    near = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.75)
    if near:
        warnings.warn(
            f"No state of eventflow is named {name!r}; did you mean {by_fold[near[0]]!r}?",
            UserWarning,
            stacklevel=_depth_of_caller(),
        )


def _depth_of_caller() -> int:
    depth, frame = 1, sys._getframe(1)  # noqa: SLF001 - the documented way to find the caller
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("eventflow."):
        depth, frame = depth + 1, frame.f_back

    return depth


def _in_state(attribute: str, wanted: tuple[str, ...]) -> Callable[[Any], bool]:
    types = {state for state in wanted if isinstance(state, StateType)}
    names = {state for state in wanted if not isinstance(state, StateType)}

    def admits(subject: Any) -> bool:
        state = _get(subject, attribute)
        return state is not None and (state.type in types or state.name in names)

    return admits


def read_run_id(value: UUID | str) -> UUID:
    """Read the id of a run.

    Raises:
        ValueError: it is no UUID.
    """
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"run_id must be a UUID, but is {value!r}.") from None
