"""Filters: what a subscription selects, and the topics under which it is indexed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from eventflow.eventbus.selections import (
    ATTRIBUTES,
    Check,
    Conditions,
    Selection,
    read_conditions,
    read_run_id,
    read_tags,
)
from eventflow.events import Event, StateLasted, StateTransition
from eventflow.runs.lazy_states import LazyState
from eventflow.states import StateType
from eventflow.states.state import AnyState

__all__ = ["Filter", "class_topics", "run_topic", "tag_topic", "transition_topics"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled selection: an event class, conditions, and topics of the index."""

    event_type: type[Event]
    checks: tuple[Check, ...] = ()
    topics: tuple[str, ...] = ()
    watches: Literal["run", "tag"] | None = None
    lasting: float | None = None
    """How many seconds a selected state has to last; then the event is a `StateLasted`."""
    until_end: bool = False
    """Whether that counts from the first Running to the end of the run, whatever its states."""
    selection: Selection = field(default_factory=Selection, repr=False)
    """The keywords that it was made of."""

    @property
    def per_run_checks(self) -> tuple[Check, ...]:
        """The conditions that must be checked again for each run."""
        return tuple(check for check in self.checks if check.per_run)

    def admits_kind(self, kind: type[Event], subject: object) -> bool:
        """Return whether events of this class and definition may be selected.

        The conditions on single runs are not checked.
        """
        wanted = StateTransition if self.lasting is not None else self.event_type

        return issubclass(kind, wanted) and all(
            check.admits(subject) for check in self.checks if not check.per_run
        )

    def admits_fact(self, subject: object) -> bool:
        """Return whether a transition is selected, or what has its attributes."""
        return all(check.admits(subject) for check in self.checks)

    def admits(self, event: Event) -> bool:
        """Return whether the event is selected."""
        return self.refusal(event) is None

    def refusal(self, event: Event) -> str | None:
        """Return why the event is not selected; None if it is."""
        # A transition is selected when it happens, and told of later.
        kind = StateTransition if self.is_told_later(event) else self.event_type
        if not isinstance(event, kind):
            return f"event_type is {type(event).__name__}, not {self.event_type.__name__}"
        if self.lasting is not None and isinstance(event, StateLasted):
            if event.is_overdue != self.until_end:
                return f"is_overdue is {event.is_overdue}, not {self.until_end}"
            if event.lasting != self.lasting:
                return f"lasting is {event.lasting:g}, not {self.lasting:g}"
            if self.until_end:
                # It is another state by now.
                return self._first_refusal(event, but="state")
        if self.until_end and isinstance(event, StateTransition) and event.run_count > 1:
            return f"run_count is {event.run_count}, and overdue counts from the first Running"

        return self._first_refusal(event)

    def is_told_later(self, event: Event) -> bool:
        """Return whether the event, if it is selected, only begins the time that has to pass."""
        return self.lasting is not None and not isinstance(event, StateLasted)

    def _first_refusal(self, event: Event, but: str = "") -> str | None:
        refusing = (each for each in self.checks if each.what != but and not each.admits(event))
        check = next(refusing, None)

        return None if check is None else check.refusal(event)

    @classmethod
    def of(cls, selection: Selection) -> Filter:
        """Compile the keywords of a subscription.

        Raises:
            TypeError: a keyword has a value of the wrong kind.
            ValueError: run_type is neither "flow" nor "task", or run_id is no UUID.
        """
        conditions = read_conditions(selection)
        kind: Any = selection.get("event_type")
        if conditions.lasting is not None:
            kind = kind or StateLasted
        kind = kind or (StateTransition if conditions.checks else Event)
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"event_type must be a subclass of Event, but is {kind!r}.")
        if conditions.lasting is not None and kind is not StateLasted:
            raise TypeError(
                "A state that lasts is told of by a StateLasted: with lasting, event_type must be "
                f"that or left out, but is {kind.__name__}."
            )
        _check_fields(kind, conditions.checks)

        return cls._of(kind, conditions)

    @classmethod
    def of_transitions(cls, conditions: Conditions) -> Filter:
        """Compile conditions on transitions that were read before, or on states that last."""
        return cls._of(StateTransition if conditions.lasting is None else StateLasted, conditions)

    @classmethod
    def _of(cls, kind: type[Event], conditions: Conditions) -> Filter:
        indexed = kind if conditions.lasting is None else StateTransition
        topics = _topics(indexed, conditions.selection, conditions.states)
        watches = _WATCHES.get(topics[0].partition(":")[0])

        return cls(
            *(kind, conditions.checks, topics, watches),
            lasting=conditions.lasting,
            until_end=conditions.until_end,
            selection=conditions.selection,
        )

    def __str__(self) -> str:
        conditions = [f"{check.what}={check.wanted}" for check in self.checks]
        if self.lasting is not None:
            what = "overdue_seconds" if self.until_end else "lasting"
            conditions.append(f"{what}={self.lasting:g}")

        return ", ".join([self.event_type.__name__, *conditions])


def _check_fields(kind: type[Event], checks: Iterable[Check]) -> None:
    """Refuse conditions that no event of the class can meet."""
    if issubclass(kind, StateTransition) or issubclass(StateTransition, kind):
        return
    for check in checks:
        attribute = ATTRIBUTES.get(check.what, check.what)
        if attribute not in kind.model_fields and not hasattr(kind, attribute):
            raise TypeError(f"{kind.__name__} events cannot be selected by {check.what}.")


_WATCHES: Final[dict[str, Literal["run", "tag"]]] = {"run": "run", "tag": "tag"}
"""The kinds of topics that select single runs, and not definitions or states."""


def _topics(kind: type[Event], selection: Selection, states: tuple[str, ...]) -> tuple[str, ...]:
    """Choose the narrowest topics that every event of the selection has."""
    if not issubclass(kind, StateTransition):
        return (class_topic(kind),)
    run_id, name = selection.get("run_id"), selection.get("name")
    definition: Any = selection.get("definition")
    if run_id is not None:
        return (run_topic(read_run_id(run_id)),)
    if definition is not None:
        return (f"name:{definition.name}",)
    if name is not None:
        # Not by tag: a tag may be common, and a pattern is matched once for each definition.
        wild = bool(set(name) & set("*?["))
        return _broad_topics(kind, states) if wild else (f"name:{name}",)
    tags = read_tags(selection.get("tags") or ())

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
