"""The types of states, their known names, and which type may follow which."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "ENDING",
    "FAILED",
    "KNOWN_NAMES",
    "LEGAL",
    "PENDING",
    "RUNNING",
    "TERMINAL",
    "StateType",
    "title",
]


class StateType(StrEnum):
    """The nine types of state; every state has one of them, whatever its name."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"

    # Called at every publish: that of Enum is a Python function, that of str is not.
    __hash__ = str.__hash__


# Named once: Python 3.11 looks a member up by calling Python code, too slow for every transition.
PENDING: Final = StateType.PENDING
RUNNING: Final = StateType.RUNNING
COMPLETED: Final = StateType.COMPLETED
FAILED: Final = StateType.FAILED
CANCELLED: Final = StateType.CANCELLED

TERMINAL: Final = frozenset(
    {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}
)

ENDING: Final = TERMINAL | {StateType.PAUSED}
"""The types in which the execution of a run ends. NotReady, which is of type PENDING, ends it too.

A run is Paused if its body returns that state: nothing goes on with it, and it is not over."""

_TITLES: Final = {kind: kind.value.capitalize() for kind in StateType}

KNOWN_NAMES: Final = frozenset(
    {*_TITLES.values(), "Late", "AwaitingRetry", "Retrying", "Cached"}
    | {"RolledBack", "TimedOut", "NotReady", "Suspended"}
)
"""The names of eventflow's own states; a user may choose any other."""


def title(kind: StateType) -> str:
    """Return the name that a state of this type has by default."""
    return _TITLES[kind]


def _legal() -> dict[StateType | None, frozenset[StateType]]:
    kind = StateType
    # From every state a run can fail, crash or be cancelled.
    always = {kind.FAILED, kind.CRASHED, kind.CANCELLING}
    onward = {
        kind.SCHEDULED: {kind.PENDING, kind.RUNNING, kind.SCHEDULED, kind.PAUSED},
        kind.PENDING: {kind.PENDING, kind.SCHEDULED, kind.RUNNING, kind.COMPLETED, kind.PAUSED},
        kind.RUNNING: {kind.COMPLETED, kind.SCHEDULED, kind.PAUSED},
        kind.PAUSED: {kind.RUNNING, kind.SCHEDULED},
        kind.CANCELLING: {kind.CANCELLED},
    }
    table: dict[StateType | None, frozenset[StateType]] = {
        source: frozenset(targets | always) for source, targets in onward.items()
    }
    table |= dict.fromkeys(TERMINAL, frozenset())
    table[None] = frozenset({kind.PENDING, kind.SCHEDULED})

    return table


LEGAL: Final = MappingProxyType(_legal())
"""For each state type (None: no state yet) the types that may be entered next."""
