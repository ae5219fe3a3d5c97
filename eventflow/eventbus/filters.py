"""Filters: what a subscription selects, and the topics under which it is indexed."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, TypeAlias, TypedDict
from uuid import UUID

from eventflow.events import Event, StateTransition
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import RunType
from eventflow.states import KNOWN_NAMES, AnyState, State, StateType

__all__ = [
    "Check",
    "Filter",
    "Selection",
    "States",
    "class_topics",
    "run_topic",
    "tag_topic",
    "transition_topics",
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


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled selection: an event class, conditions, and topics of the index."""

    event_type: type[Event]
    checks: tuple[Check, ...] = ()
    topics: tuple[str, ...] = ()
    watches: Literal["run", "tag"] | None = None

    @property
    def per_run_checks(self) -> tuple[Check, ...]:
        """The conditions that must be checked again for each run."""
        return tuple(check for check in self.checks if check.per_run)

    def admits_kind(self, kind: type[Event], subject: object) -> bool:
        """Return whether events of this class and definition may be selected.

        The conditions on single runs are not checked.
        """
        return issubclass(kind, self.event_type) and all(
            check.admits(subject) for check in self.checks if not check.per_run
        )

    def admits(self, event: Event) -> bool:
        """Return whether the event is selected."""
        return self.refusal(event) is None

    def refusal(self, event: Event) -> str | None:
        """Return why the event is not selected; None if it is."""
        if not isinstance(event, self.event_type):
            return f"event_type is {type(event).__name__}, not {self.event_type.__name__}"
        for check in self.checks:
            if not check.admits(event):
                return check.refusal(event)

        return None

    @classmethod
    def of(cls, selection: Selection) -> Filter:
        """Compile the keywords of a subscription.

        A state name that resembles a known one is warned about: a custom name is legal, but a
        misspelt one would never match.

        Raises:
            TypeError: a keyword has a value of the wrong kind.
            ValueError: run_type is neither "flow" nor "task", or run_id is no UUID.
        """
        unknown = ", ".join(sorted(selection.keys() - Selection.__annotations__.keys()))
        if unknown:
            raise TypeError(f"Events are selected by {_KEYWORDS}; there is no {unknown}.")
        states = _read_states("state", selection.get("state"))
        from_states = _read_states("from_state", selection.get("from_state"))
        checks = (
            *_run_type_checks(selection.get("run_type")),
            *_state_checks("state", "to_state", states),
            *_state_checks("from_state", "from_state", from_states),
            *_name_checks(selection.get("name")),
            *_definition_checks(selection.get("definition")),
            *_tag_checks(selection.get("tags")),
            *_run_id_checks(selection.get("run_id")),
        )
        kind: Any = selection.get("event_type") or (StateTransition if checks else Event)
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"event_type must be a subclass of Event, but is {kind!r}.")
        _check_fields(kind, checks)
        topics = _topics(kind, selection, states)
        watches = _WATCHES.get(topics[0].partition(":")[0])

        return cls(event_type=kind, checks=checks, topics=topics, watches=watches)

    def __str__(self) -> str:
        conditions = [f"{check.what}={check.wanted}" for check in self.checks]

        return ", ".join([self.event_type.__name__, *conditions])


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


def _tag_checks(tags: Iterable[str] | None) -> Iterator[Check]:
    if tags is None:
        return
    subset = _tags(tags)
    if any(not isinstance(tag, str) for tag in subset):
        raise TypeError(f"tags must be strings, but are {tags!r}.")

    def has_tags(subject: object) -> bool:
        tags: frozenset[str] = _get(subject, "tags", frozenset())
        return subset <= tags

    yield Check("tags", str(sorted(subset)), has_tags, per_run=True)


def _run_id_checks(run_id: UUID | str | None) -> Iterator[Check]:
    if run_id is None:
        return
    wanted = _uuid(run_id)
    yield Check("run_id", str(wanted), lambda run: _get(run, "run_id") == wanted, per_run=True)


_ATTRIBUTES: Final = {"state": "to_state", "name": "definition_name"}
"""The attribute of an event that a keyword selects by, where it has another name."""


def _check_fields(kind: type[Event], checks: Iterable[Check]) -> None:
    """Refuse conditions that no event of the class can meet."""
    if issubclass(kind, StateTransition) or issubclass(StateTransition, kind):
        return
    for check in checks:
        if _ATTRIBUTES.get(check.what, check.what) not in kind.model_fields:
            raise TypeError(f"{kind.__name__} events cannot be selected by {check.what}.")


def _tags(tags: Iterable[str]) -> frozenset[str]:
    return frozenset({tags} if isinstance(tags, str) else tags)


def _get(subject: object, attribute: str, default: Any = None) -> Any:
    return getattr(subject, attribute, default)


def _shown(subject: object, what: str) -> str:
    value = _get(subject, _ATTRIBUTES.get(what, what))
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
    # A State is iterable as well, over its fields.
    return given if isinstance(given, Iterable) and not isinstance(given, State) else (given,)


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


def _uuid(value: UUID | str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"run_id must be a UUID, but is {value!r}.") from None


_WATCHES: Final[dict[str, Literal["run", "tag"]]] = {"run": "run", "tag": "tag"}
"""The kinds of topics that select single runs, and not definitions or states."""


def _topics(kind: type[Event], selection: Selection, states: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the narrowest topics that every event of the selection has."""
    if not issubclass(kind, StateTransition):
        return (class_topic(kind),)
    run_id, name = selection.get("run_id"), selection.get("name")
    definition: Any = selection.get("definition")
    if run_id is not None:
        return (run_topic(_uuid(run_id)),)
    if definition is not None:
        return (f"name:{definition.name}",)
    if name is not None:
        # Not by tag: a tag may be common, and a pattern is matched once for each definition.
        wild = bool(set(name) & set("*?["))
        return _broad_topics(kind, states) if wild else (f"name:{name}",)
    tags = _tags(selection.get("tags") or ())

    return (tag_topic(min(tags)),) if tags else _broad_topics(kind, states)


def _broad_topics(kind: type[Event], states: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_state_topic, states))) or (class_topic(kind),)


def _state_topic(state: str) -> str:
    return f"type:{state}" if isinstance(state, StateType) else f"state:{state}"


def run_topic(run_id: UUID) -> str:
    """Return the topic of subscriptions to a single run."""
    return f"run:{run_id.hex}"


def tag_topic(tag: str) -> str:
    """Return the topic of subscriptions to runs with a tag."""
    return f"tag:{tag}"


def class_topic(kind: type[Event]) -> str:
    """Return the topic of an event class."""
    return f"event:{kind.__module__}.{kind.__qualname__}"


def class_topics(kind: type[Event]) -> Iterator[str]:
    """Return the topics of subscriptions to an event class or its bases."""
    return (class_topic(base) for base in kind.__mro__ if issubclass(base, Event))


def transition_topics(
    kind: type[StateTransition], name: str, state: LazyState | AnyState
) -> Iterator[str]:
    """Return the topics of subscriptions to a transition, other than to single runs."""
    yield f"name:{name}"
    yield f"state:{state.name}"
    yield f"type:{state.type}"
    yield from class_topics(kind)
