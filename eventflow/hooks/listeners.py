"""Listeners as a set of hooks names them, so that another process can say what they were for.

No other process calls them: a listener is described by its name and by what it selects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import eventflow.events
from eventflow.eventbus.filters import Filter
from eventflow.eventbus.selections import Selection
from eventflow.eventbus.subscriptions import Subscription
from eventflow.events import Event
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.texts import printable
from eventflow.states import StateType

__all__ = ["RecordedListener", "recorded_listeners"]

MOST: Final = 100
"""How many listeners are described."""

_WILD: Final = "*?["


class RecordedListener(NamedTuple):
    """A listener as a set describes it: its name, and what it selects.

    `event_type` is the class of its events, with its module unless it is one of `eventflow.events`;
    `description` the whole selection in words. States are
    given by type and by name.
    """

    name: str
    description: str
    event_type: str
    run_type: Any = None
    types: Sequence[str] = ()
    names: Sequence[str] = ()
    from_types: Sequence[str] = ()
    from_names: Sequence[str] = ()
    definition_name: str | None = None
    tags: Sequence[str] | None = None
    lasting: float | None = None

    @classmethod
    def of(cls, subscription: Subscription) -> RecordedListener:
        """Describe the listener of a subscription."""
        chosen = subscription.filter
        selection = chosen.selection
        states: Any = selection.get("state")
        types, names = _states(states)
        from_states: Any = selection.get("from_state")
        from_types, from_names = _states(from_states)
        tags = selection.get("tags")
        definition: Any = selection.get("definition")
        name = selection.get("name")
        if definition is not None:
            name = "".join(f"[{each}]" if each in _WILD else each for each in definition.name)

        return cls(
            printable(qualified_name(subscription.listener)),
            printable(str(chosen)),
            _name_of(chosen.event_type),
            run_type=selection.get("run_type"),
            types=types,
            names=names,
            from_types=from_types,
            from_names=from_names,
            definition_name=None if name is None else printable(name),
            tags=None if tags is None else sorted(map(printable, tags)),
            lasting=chosen.lasting,
        )

    @classmethod
    def read(cls, text: str) -> list[RecordedListener]:
        """Read the listeners of a set; none where an earlier version has made it.

        Raises:
            ValueError: the text is not that of a set.
        """
        try:
            return [cls(**facts) for facts in json.loads(text).get("listeners", ())]
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{text[:200]!r} is no set of listeners: {error!r}") from error

    def filter(self) -> Filter | None:
        """Return what it selects; None if that is a class of events that only its program has."""
        kind = getattr(eventflow.events, self.event_type, None)
        if kind is None:
            return None

        return Filter.of(
            Selection(
                event_type=kind,
                run_type=self.run_type,
                state=(*map(StateType, self.types), *self.names) or None,
                from_state=(*map(StateType, self.from_types), *self.from_names) or None,
                name=self.definition_name,
                tags=self.tags,
                lasting=self.lasting,
            )
        )

    def text(self) -> str:
        """Return the description as JSON, without what it does not ask for."""
        facts = {name: value for name, value in self._asdict().items() if value not in (None, [])}

        return json.dumps(facts, separators=(",", ":"))


def recorded_listeners(subscriptions: Iterable[Subscription]) -> str:
    """Return the listeners of a bus as the text of a JSON list.

    Those to a single run, or for a single event, come and go with it, and are left out.
    """
    lasting = [
        each
        for each in subscriptions
        if each.hook is None and not each.once and each.filter.watches != "run"
    ]

    return f"[{','.join(RecordedListener.of(each).text() for each in lasting[:MOST])}]"


def _name_of(kind: type[Event]) -> str:
    name = kind.__name__

    return (
        name if getattr(eventflow.events, name, None) is kind else printable(qualified_name(kind))
    )


def _states(states: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Return the types and the names among the states of a selection that was read."""
    types = [state.value for state in states or () if isinstance(state, StateType)]
    names = [printable(state) for state in states or () if not isinstance(state, StateType)]

    return types, names
