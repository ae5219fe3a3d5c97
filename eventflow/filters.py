"""What a subscription selects, and the index keys under which it is found."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeAlias, TypedDict
from uuid import UUID

from eventflow.events import Event, StateTransition
from eventflow.runs import RunType
from eventflow.states import KNOWN_NAMES, AnyState, StateType

__all__ = ["Check", "Filter", "Selection", "States", "class_topics", "transition_topics"]

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


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a filter; `late` where it depends on the run and not on its definition."""

    what: str
    wanted: str
    late: bool
    admits: Callable[[Any], bool] = field(repr=False)

    def refusal(self, subject: object) -> str:
        """Say why the subject is not admitted."""
        return f"{self.what} is {_shown(subject, self.what)}, not {self.wanted}"


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled selection: an event class, conditions, and where the index keeps it."""

    event_type: type[Event]
    checks: tuple[Check, ...] = ()
    topics: tuple[str, ...] = ()
    run_id: UUID | None = None

    @property
    def late(self) -> tuple[Check, ...]:
        """The conditions that must be asked anew for each run."""
        return tuple(check for check in self.checks if check.late)

    def admits_kind(self, kind: type[Event], subject: object) -> bool:
        """Whether events of this class and definition are selected, late conditions aside."""
        return issubclass(kind, self.event_type) and all(
            check.admits(subject) for check in self.checks if not check.late
        )

    def admits(self, event: Event) -> bool:
        """Whether the event is selected."""
        return self.refusal(event) is None

    def refusal(self, event: Event) -> str | None:
        """Say why the event is not selected; None if it is."""
        if not isinstance(event, self.event_type):
            return f"event_type is {type(event).__name__}, not {self.event_type.__name__}"
        for check in self.checks:
            if not check.admits(event):
                return check.refusal(event)

        return None

    @classmethod
    def of(cls, selection: Selection) -> Filter:
        """Compile the keywords of a subscription.

        A state name that is not known but near a known one is warned about: a name of one's
        own is right, a slip of the pen would wait for ever.

        Raises:
            TypeError: a keyword has a value of the wrong kind.
            ValueError: run_type is neither "flow" nor "task", or run_id is no UUID.
        """
        checks = tuple(_checks(selection))
        kind = selection.get("event_type") or (StateTransition if checks else Event)
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"event_type must be a subclass of Event, but is {kind!r}.")
        run_id = selection.get("run_id")

        return cls(
            event_type=kind,
            checks=checks,
            topics=_topics(kind, selection),
            run_id=None if run_id is None else _uuid(run_id),
        )

    def __str__(self) -> str:
        conditions = [f"{check.what}={check.wanted}" for check in self.checks]

        return ", ".join([self.event_type.__name__, *conditions])


def _checks(selection: Selection) -> Iterator[Check]:
    run_type = selection.get("run_type")
    if run_type is not None:
        if run_type not in {"flow", "task"}:
            raise ValueError(f"run_type must be 'flow' or 'task', but is {run_type!r}.")
        yield Check("run_type", repr(run_type), False, lambda it: _get(it, "run_type") == run_type)
    for what, attribute in (("state", "to_state"), ("from_state", "from_state")):
        wanted = _states(what, selection.get(what))  # type: ignore[arg-type]
        if wanted:
            shown = " or ".join(sorted(wanted))
            yield Check(what, shown, what == "from_state", _in_state(attribute, wanted))
    yield from _name_checks(selection)
    tags = selection.get("tags")
    if tags is not None:
        subset = frozenset({tags} if isinstance(tags, str) else tags)
        yield Check("tags", str(sorted(subset)), True, lambda it: subset <= _get(it, "tags", set()))
    run_id = selection.get("run_id")
    if run_id is not None:
        key = _uuid(run_id)
        yield Check("run_id", str(key), True, lambda it: _get(it, "run_id") == key)


def _name_checks(selection: Selection) -> Iterator[Check]:
    name, definition = selection.get("name"), selection.get("definition")
    if name is not None:
        yield Check(
            "name", repr(name), False, lambda it: fnmatchcase(_get(it, "definition_name", ""), name)
        )
    if definition is not None:
        origin = getattr(definition, "origin", definition)
        shown = repr(getattr(definition, "name", definition))
        yield Check("definition", shown, False, lambda it: _origin(it) is origin)


def _get(subject: object, attribute: str, default: Any = None) -> Any:
    return getattr(subject, attribute, default)


def _origin(subject: object) -> object:
    definition = _get(subject, "definition")

    return getattr(definition, "origin", definition)


def _shown(subject: object, what: str) -> str:
    attribute = {"state": "to_state", "name": "definition_name"}.get(what, what)
    value = _get(subject, attribute)
    if what in {"state", "from_state"}:
        return "none" if value is None else f"{value.name} ({value.type})"

    return str(sorted(value)) if isinstance(value, frozenset) else repr(value)


def _states(what: str, given: States) -> frozenset[str]:
    if given is None:
        return frozenset()
    several = (given,) if isinstance(given, str) else tuple(given)
    for one in several:
        if not isinstance(one, str):
            raise TypeError(f"{what} must be a state's name or a StateType, but got {one!r}.")
        if not isinstance(one, StateType):
            _warn_if_misspelt(one)

    return frozenset(several)


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
    import sys  # noqa: PLC0415 - only for a warning

    depth, frame = 1, sys._getframe(1)  # noqa: SLF001 - the documented way to find the caller
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("eventflow."):
        depth, frame = depth + 1, frame.f_back

    return depth


def _in_state(attribute: str, wanted: frozenset[str]) -> Callable[[Any], bool]:
    types = {one for one in wanted if isinstance(one, StateType)}
    names = {one for one in wanted if not isinstance(one, StateType)}

    def admits(subject: Any) -> bool:
        state: AnyState | None = _get(subject, attribute)
        return state is not None and (state.type in types or state.name in names)

    return admits


def _uuid(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except ValueError:
        raise ValueError(f"run_id must be a UUID, but is {value!r}.") from None


def _topics(kind: type[Event], selection: Selection) -> tuple[str, ...]:
    """Choose the narrowest keys that every event of the selection has."""
    if not issubclass(kind, StateTransition):
        return (class_topic(kind),)
    run_id, name, definition = (selection.get(key) for key in ("run_id", "name", "definition"))
    if run_id is not None:
        return (f"run:{run_id}",)
    if definition is not None:
        return (f"name:{definition.name}",)
    if isinstance(name, str) and not set(name) & set("*?["):
        return (f"name:{name}",)
    states = _states_quietly(selection.get("state"))

    return tuple(_state_topic(one) for one in sorted(states)) or (class_topic(kind),)


def _states_quietly(given: States) -> set[str | StateType]:
    return set() if given is None else {given} if isinstance(given, str) else set(given)


def _state_topic(state: str) -> str:
    return f"type:{state}" if isinstance(state, StateType) else f"state:{state}"


def class_topic(kind: type[Event]) -> str:
    """Give the index key of an event class."""
    return f"event:{kind.__module__}.{kind.__qualname__}"


def class_topics(kind: type[Event]) -> Iterator[str]:
    """Give the keys under which subscriptions to this class or its bases are kept."""
    return (class_topic(base) for base in kind.__mro__ if issubclass(base, Event))


def transition_topics(kind: type[StateTransition], name: str, state: AnyState) -> Iterator[str]:
    """Give the keys under which subscriptions to such a transition are kept, but by run."""
    yield f"name:{name}"
    yield f"state:{state.name}"
    yield f"type:{state.type}"
    yield from class_topics(kind)
