"""What a subscription selects, and the index keys under which it is found."""

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
    """One condition of a filter; `late` where it is another for each run of a definition."""

    what: str
    wanted: str
    admits: Callable[[Any], bool] = field(repr=False)
    late: bool = False

    def refusal(self, subject: object) -> str:
        """Say why the subject is not admitted."""
        return f"{self.what} is {_shown(subject, self.what)}, not {self.wanted}"


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled selection: an event class, conditions, and where the index keeps it."""

    event_type: type[Event]
    checks: tuple[Check, ...] = ()
    topics: tuple[str, ...] = ()
    watches: Literal["run", "tag"] | None = None

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
        unknown = ", ".join(sorted(selection.keys() - Selection.__annotations__.keys()))
        if unknown:
            raise TypeError(f"Events are selected by {_KEYWORDS}; there is no {unknown}.")
        states = _several_states("state", selection.get("state"))
        left = _several_states("from_state", selection.get("from_state"))
        checks = (
            *_run_type_checks(selection.get("run_type")),
            *_state_checks("state", "to_state", states),
            *_state_checks("from_state", "from_state", left),
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
    yield Check("run_type", repr(run_type), lambda it: _get(it, "run_type") == run_type)


def _state_checks(what: str, attribute: str, wanted: tuple[str, ...]) -> Iterator[Check]:
    if wanted:
        yield Check(what, " or ".join(sorted(wanted)), _in_state(attribute, wanted))


def _name_checks(name: str | None) -> Iterator[Check]:
    if name is None:
        return
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, with * and ? as wildcards, but is {name!r}.")
    yield Check("name", repr(name), lambda it: fnmatchcase(_get(it, "definition_name", ""), name))


def _definition_checks(definition: Any) -> Iterator[Check]:
    if definition is None:
        return
    origin = getattr(definition, "origin", None)
    if origin is None:
        raise TypeError(f"definition must be a flow or a task, but is {definition!r}.")
    yield Check("definition", repr(definition.name), lambda it: _origin(it) is origin)


def _tag_checks(tags: Iterable[str] | None) -> Iterator[Check]:
    if tags is None:
        return
    subset = _tags(tags)
    if any(not isinstance(tag, str) for tag in subset):
        raise TypeError(f"tags must be strings, but are {tags!r}.")
    shown = str(sorted(subset))
    yield Check("tags", shown, lambda it: subset <= _get(it, "tags", frozenset()), late=True)


def _run_id_checks(run_id: UUID | str | None) -> Iterator[Check]:
    if run_id is not None:
        key = _uuid(run_id)
        yield Check("run_id", str(key), lambda it: _get(it, "run_id") == key, late=True)


_ATTRIBUTES: Final = {"state": "to_state", "name": "definition_name"}
"""What a keyword asks for, where it has another name on an event."""


def _check_fields(kind: type[Event], checks: Iterable[Check]) -> None:
    """Refuse conditions that no such event could ever meet."""
    if issubclass(kind, StateTransition) or issubclass(StateTransition, kind):
        return
    for check in checks:
        if _ATTRIBUTES.get(check.what, check.what) not in kind.model_fields:
            raise TypeError(f"{kind.__name__} events cannot be selected by {check.what}.")


def _tags(tags: Iterable[str]) -> frozenset[str]:
    return frozenset({tags} if isinstance(tags, str) else tags)


def _get(subject: object, attribute: str, default: Any = None) -> Any:
    return getattr(subject, attribute, default)


def _origin(subject: object) -> object:
    definition = _get(subject, "definition")

    return getattr(definition, "origin", definition)


def _shown(subject: object, what: str) -> str:
    value = _get(subject, _ATTRIBUTES.get(what, what))
    if what in {"state", "from_state"}:
        return "none" if value is None else f"{value.name} ({value.type})"

    if what == "run_id":
        return str(value)
    if what == "definition":
        return repr(getattr(value, "name", value))

    return str(sorted(value)) if isinstance(value, frozenset) else repr(value)


def _several_states(what: str, given: States) -> tuple[str, ...]:
    """Read one state's name or type, or several, and warn about a name that looks misspelt.

    Raises:
        TypeError: something is no name and no type.
        ValueError: it is empty.
    """
    if given is None:
        return ()
    if isinstance(given, str):
        several: tuple[str, ...] = (given,)
    else:
        several = tuple(_members(given))
    if not several or "" in several:
        raise ValueError(f"{what} names no state: {given!r}.")
    for one in several:
        if not isinstance(one, str):
            raise TypeError(f"{what} must be a state's name or a StateType, but got {one!r}.")
        if not isinstance(one, StateType):
            _warn_if_misspelt(one)

    return several


def _members(given: Any) -> Iterable[Any]:
    # A state can be iterated too, over its fields.
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
    types = {one for one in wanted if isinstance(one, StateType)}
    names = {one for one in wanted if not isinstance(one, StateType)}

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
"""The topics that belong to single runs, and not to definitions and states."""


def _topics(kind: type[Event], selection: Selection, states: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the narrowest keys that every event of the selection has."""
    if not issubclass(kind, StateTransition):
        return (class_topic(kind),)
    run_id, name = selection.get("run_id"), selection.get("name")
    definition: Any = selection.get("definition")
    if run_id is not None:
        return (run_topic(_uuid(run_id)),)
    if definition is not None:
        return (f"name:{definition.name}",)
    if name is not None:
        # One tag may be everywhere; a pattern is matched once for each definition.
        wild = bool(set(name) & set("*?["))
        return _broad_topics(kind, states) if wild else (f"name:{name}",)
    tags = _tags(selection.get("tags") or ())

    return (tag_topic(min(tags)),) if tags else _broad_topics(kind, states)


def _broad_topics(kind: type[Event], states: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_state_topic, states))) or (class_topic(kind),)


def _state_topic(state: str) -> str:
    return f"type:{state}" if isinstance(state, StateType) else f"state:{state}"


def run_topic(run_id: UUID) -> str:
    """Give the key under which subscriptions to a single run are kept."""
    return f"run:{run_id.hex}"


def tag_topic(tag: str) -> str:
    """Give the key under which subscriptions to runs with a tag are kept."""
    return f"tag:{tag}"


def class_topic(kind: type[Event]) -> str:
    """Give the index key of an event class."""
    return f"event:{kind.__module__}.{kind.__qualname__}"


def class_topics(kind: type[Event]) -> Iterator[str]:
    """Give the keys under which subscriptions to this class or its bases are kept."""
    return (class_topic(base) for base in kind.__mro__ if issubclass(base, Event))


def transition_topics(
    kind: type[StateTransition], name: str, state: LazyState | AnyState
) -> Iterator[str]:
    """Give the keys under which subscriptions to it are kept, but those of its single run."""
    yield f"name:{name}"
    yield f"state:{state.name}"
    yield f"type:{state.type}"
    yield from class_topics(kind)
