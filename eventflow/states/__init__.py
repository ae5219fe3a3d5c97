"""States: their types, their constructors and the legal transitions between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.primitives.loading import lazily
from eventflow.states.kinds import ENDING, KNOWN_NAMES, LEGAL, TERMINAL, StateType

if TYPE_CHECKING:
    from eventflow.states.constructors import (
        AwaitingRetry,
        Cached,
        Cancelled,
        Cancelling,
        Completed,
        Crashed,
        Failed,
        Late,
        NotReady,
        Paused,
        Pending,
        Retrying,
        RolledBack,
        Running,
        Scheduled,
        Suspended,
        TimedOut,
        aggregate,
    )
    from eventflow.states.records import ErrorInfo
    from eventflow.states.state import (
        AnyState,
        State,
        StateDetails,
        get_state_exception,
        raise_state_exception,
    )

__all__ = [
    "ENDING",
    "KNOWN_NAMES",
    "LEGAL",
    "TERMINAL",
    "AnyState",
    "AwaitingRetry",
    "Cached",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "ErrorInfo",
    "Failed",
    "Late",
    "NotReady",
    "Paused",
    "Pending",
    "Retrying",
    "RolledBack",
    "Running",
    "Scheduled",
    "State",
    "StateDetails",
    "StateType",
    "Suspended",
    "TimedOut",
    "aggregate",
    "get_state_exception",
    "raise_state_exception",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "eventflow.states.constructors": __all__,  # all that no other module gives
            "eventflow.states.records": ("ErrorInfo",),
            "eventflow.states.state": (
                *("AnyState", "State", "StateDetails"),
                *("get_state_exception", "raise_state_exception"),
            ),
        },
    )
