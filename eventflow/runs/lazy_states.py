"""States as runs enter them: noted at once, and built in full only when they are read."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from time import time_ns
from typing import Any, ClassVar, Final, Literal, Protocol
from uuid import UUID

from eventflow.primitives.forks import renewed
from eventflow.primitives.ids import event_number, id_of, new_number
from eventflow.states import StateType
from eventflow.states.kinds import COMPLETED, RUNNING
from eventflow.states.records import ErrorInfo
from eventflow.states.state import AnyState, StateDetails, make_state, set_origin

__all__ = ["BuiltState", "LazyState", "RunningElsewhere"]

_moment: Final = datetime.fromtimestamp

NOT_ENTERED: Final = -1
"""The sequence of a state that no run has entered yet."""

# Reentrant: a finalizer may read a run's state while another one is being built.
_building = threading.RLock()
renewed(globals(), "_building", threading.RLock)


class Entering(Protocol):
    """A run, as far as its states know it."""

    run_type: ClassVar[Literal["flow", "task"]]
    number: int
    flow_run_id: UUID | None
    cache_key: str | None


class LazyState:
    """The facts of a state that a run enters, and when it did so, in nanoseconds since 1970.

    Its id follows from that of the run and from the sequence of the transition, unless it has one
    of its own: it was built, or asked for its id, before a run entered it.
    """

    __slots__ = (
        *("_state", "at", "data", "error", "message", "name"),
        *("own_number", "sequence", "type"),
    )

    def __init__(
        self, kind: StateType, name: str, message: str | None = None, data: Any = None
    ) -> None:
        self.type = kind
        self.name = name
        self.message = message
        self.data = data
        self.error: ErrorInfo | None = None
        self.at = time_ns()
        self.sequence = NOT_ENTERED
        self.own_number = 0
        self._state: AnyState | None = None

    def number_in(self, run: Entering) -> int:
        """Return the id, as a number, of this state of a run."""
        if not self.own_number and self.sequence == NOT_ENTERED:
            with _building:
                if not self.own_number:
                    self.own_number = new_number()

        return self.own_number or event_number(run.number, self.sequence)

    def state_of(self, run: Entering) -> AnyState:
        """Return the state itself, always the same, for the run that enters it."""
        return self._state or self._build(run)

    def _build(self, run: Entering) -> AnyState:
        # Exact: half a microsecond is more than what a float this large may be wrong by.
        at = _moment(self.at // 1000 / 1e6, UTC)
        key = id_of(self.number_in(run))
        origin = (run.run_type, run.number, run.flow_run_id, run.cache_key)
        state = make_state(
            self.type, self.name, self.message, self.data, key=key, timestamp=at, origin=origin
        )
        with _building:
            if self._state is None:
                self._state = state

        return self._state

    @property
    def timestamp(self) -> datetime:
        """When it was entered."""
        return _moment(self.at // 1000 / 1e6, UTC)

    def result_of(self, run: Entering) -> Any:
        """Return the run's result, or raise as the state does."""
        return self.data if self.type is COMPLETED else self.state_of(run).result()


class BuiltState(LazyState):
    """A state that was built before a run enters it."""

    __slots__ = ("_built",)

    def __init__(self, state: AnyState) -> None:
        self.type = state.type
        self.name = state.name
        self.message = state.message
        self.data = state.data
        self.error = state.error
        self.own_number = state.id.int
        self.sequence = NOT_ENTERED
        self._state = None
        self._built = state

    def _build(self, run: Entering) -> AnyState:
        # It knows from now on which run enters it.
        set_origin(self._built, (run.run_type, run.number, run.flow_run_id, run.cache_key))
        self._state = self._built

        return self._state

    @property
    def timestamp(self) -> datetime:
        """When it was entered."""
        return self._built.timestamp

    def __getattr__(self, name: str) -> int:
        """Compute `at` when it is first read: only the journal needs it."""
        if name != "at":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.at = round(self.timestamp.timestamp() * 1e6) * 1000

        return self.at


class RunningElsewhere(LazyState):
    """A worker executes the body: a process, perhaps on another host."""

    __slots__ = ("_host", "_pid")

    def __init__(self, name: str, host: str, pid: int) -> None:
        super().__init__(RUNNING, name, f"Executed by process {pid} on {host}.")
        self._host = host
        self._pid = pid

    def _build(self, run: Entering) -> AnyState:
        state = super()._build(run)
        details = StateDetails(worker_host=self._host, worker_pid=self._pid)
        vars(state).setdefault("_details", details)

        return state
