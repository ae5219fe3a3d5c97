"""What is sent to a worker for one attempt, and what comes back."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = [
    "PICKLED",
    "PLAIN_VALUE",
    "RAISED",
    "REFUSED",
    "STOPPED",
    "TIMED_OUT",
    "FlowFacts",
    "Outcome",
    "Raised",
    "RunFacts",
]


class RunFacts(NamedTuple):
    """What a worker knows of a task run."""

    number: int
    name: str | None
    """The name from the definition's template, if it has one."""
    tags: frozenset[str]
    run_count: int
    parent: int | None
    """The numbers of the runs around it."""
    flow_run: int | None
    root_flow_run: int | None
    at: int
    """When it entered its first state, in nanoseconds since 1970."""
    prints: bool
    """Whether what the body prints is logged."""
    timeout: float | None


class FlowFacts(NamedTuple):
    """What a worker knows of the flow run around a task run."""

    number: int
    name: str
    flow_name: str
    flow_version: str | None
    tags: frozenset[str]
    run_count: int
    parent: int | None
    root: int | None
    at: int
    parameters: dict[str, Any]
    missing: dict[str, str]
    """The parameters that are not sent, and why."""


class Raised(NamedTuple):
    """What a body raised: itself, if it can be pickled, and how it is described."""

    pickled: bytes | None
    kind: str
    message: str
    traceback: str


class Outcome(NamedTuple):
    """How a call on a worker ended."""

    how: str
    value: Any = None
    sent: int = 0
    """How many frames the worker has sent of the attempt."""


PLAIN_VALUE: Final = "value"
PICKLED: Final = "pickled"
RAISED: Final = "raised"
TIMED_OUT: Final = "timed out"
STOPPED: Final = "stopped"
REFUSED: Final = "refused"
