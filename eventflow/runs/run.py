"""One execution of a flow or a task, and the one place where its state changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any, ClassVar, Literal, Self, TypeAlias
from uuid import UUID

from eventflow.errors import IllegalTransition
from eventflow.interrupts.scopes import CancelScope, Reason
from eventflow.primitives.ids import id_of, new_number, two_words
from eventflow.primitives.texts import printable
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.states import ENDING, LEGAL, StateType
from eventflow.states.kinds import RUNNING
from eventflow.states.state import AnyState

__all__ = ["FlowRun", "Run", "RunType", "TaskRun", "Transition"]

RunType: TypeAlias = Literal["flow", "task"]
"""What kind of definition a run executes."""

Moment: TypeAlias = LazyState | datetime | None
"""When a state was entered: its time in a restored run, else the state, which holds it."""


class Transition:
    """The fact that a run entered a state: all that its event is built from.

    `previous` and `entered` are the two states. `journal` records the deliveries of the hooks that
    the transition is owed to; `next_ordinal` is the ordinal of the next one to be delivered. `bus`
    is where it is published: the bus sets it, if the transition is owed to a hook.
    """

    __slots__ = (
        "_follows",
        "bus",
        "entered",
        "journal",
        "next_ordinal",
        "previous",
        "run",
        "run_count",
        "sequence",
    )

    def __init__(self, run: Run, previous: LazyState | None, entered: LazyState) -> None:
        self.run = run
        self.previous = previous
        self.entered = entered
        self.sequence = run.transitions
        self.run_count = run.run_count
        self.journal: Any = None
        self.next_ordinal = 0
        self._follows: UUID | None = None
        self.bus: Any

    @classmethod
    def past(cls, run: Run, follows: UUID | None) -> Self:
        """Return the transition into the present state of a restored run."""
        assert run.entered is not None  # noqa: S101 - it was restored in one
        transition = cls(run, None, run.entered)
        transition.sequence = run.transitions - 1
        transition._follows = follows

        return transition

    @property
    def from_state(self) -> AnyState | None:
        """The state before; None for the first transition."""
        return None if self.previous is None else self.previous.state_of(self.run)

    @property
    def to_state(self) -> AnyState:
        """The state that was entered."""
        return self.entered.state_of(self.run)

    @property
    def follows(self) -> UUID | None:
        """The id of the run's previous transition."""
        return self._follows if self.previous is None else id_of(self.previous.number_in(self.run))

    @property
    def number(self) -> int:
        """The id of the entered state, as a number."""
        return self.entered.number_in(self.run)

    @property
    def definition(self) -> Any:
        """The flow or task of the run."""
        return self.run.definition

    @property
    def definition_name(self) -> str:
        """The name of the flow or task."""
        return self.run.definition_name

    @property
    def run_type(self) -> RunType:
        """The kind of run."""
        return self.run.run_type

    @property
    def run_id(self) -> UUID:
        """The id of the run."""
        return self.run.id

    @property
    def tags(self) -> frozenset[str]:
        """The tags of the run."""
        return self.run.tag_set


def _time(moment: Moment) -> datetime | None:
    return moment if moment is None or isinstance(moment, datetime) else moment.timestamp


class Run:
    """One execution. Only the engine changes it, by having it enter a state."""

    __slots__ = (
        "__weakref__",
        "_id",
        "_parameters",
        "_running_since",
        "_seconds",
        "_usual_name",
        "bus",
        "cache_key",
        "cancel_scope",
        "created_at",
        "deadlines",
        "definition",
        "definition_name",
        "encoder",
        "ended_at",
        "entered",
        "flow_run_id",
        "given_name",
        "may_wait",
        "number",
        "parent_run_id",
        "recorder",
        "root_flow_run_id",
        "routes",
        "run_count",
        "started_at",
        "tag_set",
        "transitions",
    )

    run_type: ClassVar[RunType]

    def __init__(
        self,
        definition: Any,
        name: str,
        parameters: Callable[[], Mapping[str, Any]],
        tag_set: frozenset[str],
        parent: Run | None,
    ) -> None:
        self.number = new_number()
        self._id: UUID | None = None
        self.definition = definition
        self.definition_name = name
        self.tag_set = tag_set
        self.parent_run_id = None if parent is None else parent.id
        self.flow_run_id: UUID | None = None if parent is None else parent.flow_run_id
        self.root_flow_run_id: UUID | None = None if parent is None else parent.root_flow_run_id
        self.cancel_scope: CancelScope = CancelScope(
            None if parent is None else parent.cancel_scope
        )
        self.entered: LazyState | None = None
        self.routes: Any = None  # the routes of its transitions, once the bus has compiled them
        self.encoder: Any = None  # encodes its transitions for the journal
        self.recorder: Any = None  # records them
        self.bus: Any = None  # where they are published
        self.deadlines: Any = None  # what is told if it is in a state for too long
        self.may_wait = False  # whether it may be Pending for long, as it was submitted
        self.cache_key: str | None = None
        self.transitions: int = 0
        self.run_count: int = 0
        self.created_at: Moment = None
        self.started_at: Moment = None
        self.ended_at: Moment = None
        self.given_name: str | None = None  # where it is not made from the id
        self._usual_name: str | None = None
        self._parameters: Callable[[], Mapping[str, Any]] | Mapping[str, Any] = parameters
        self._running_since: float | None = None
        self._seconds = 0.0

    @classmethod
    def restored(
        cls, definition: Any, name: str, state: AnyState, facts: Mapping[str, object]
    ) -> Self:
        """Return a run of another process as it was in a state that it had entered.

        `name` is the definition's; `facts` are the run's attributes by name.
        """
        run = cls(definition, name, dict, frozenset(), None)
        run.entered = BuiltState(state)
        for attribute, value in facts.items():
            setattr(run, attribute, value)
        run._id = None  # a flow run has computed it from another number
        run.cancel_scope.closed = run.ended_at is not None

        return run

    def enter(self, entered: LazyState | AnyState) -> Transition:
        """Enter a state; return the transition to publish.

        Raises:
            IllegalTransition: the present state does not lead there.
        """
        state = entered if isinstance(entered, LazyState) else BuiltState(entered)
        kind, present = state.type, self.entered
        if kind not in LEGAL[None if present is None else present.type]:
            raise self._illegal(state)
        if self._running_since is not None:
            self._seconds += perf_counter() - self._running_since
            self._running_since = None
        if kind is RUNNING:
            self.run_count += 1
            self._running_since = perf_counter()
            if self.started_at is None:
                self.started_at = state
        elif kind in ENDING or state.name == "NotReady":
            self.ended_at = state
            self.cancel_scope.closed = True
        elif self.created_at is None:
            self.created_at = state
        transition = Transition(self, present, state)
        state.sequence = self.transitions
        self.transitions += 1
        self.entered = state
        if self.deadlines is not None:
            self.deadlines = self.deadlines.leave(present, ended=self.ended_at is not None)

        return transition

    def _illegal(self, state: LazyState) -> IllegalTransition:
        present = None if self.entered is None else self.entered.type
        name = "without a state" if self.entered is None else self.entered.name

        return IllegalTransition(
            f"The {self.run_type} run {self.name!r}", name, state.name, LEGAL[present]
        )

    @property
    def id(self) -> UUID:
        """The id, a UUID of version 7."""
        if self._id is None:
            # Two threads may make two ids, which are equal.
            self._id = id_of(self.number)

        return self._id

    @property
    def state(self) -> AnyState | None:
        """The present state; None before the first."""
        return None if self.entered is None else self.entered.state_of(self)

    @property
    def name(self) -> str:
        """The name from the definition's template, else one made from the id."""
        if self.given_name is not None:
            return self.given_name
        if self._usual_name is None:
            self._usual_name = self._default_name()

        return self._usual_name

    @name.setter
    def name(self, name: str) -> None:
        # As the journal has it: no database can store a NUL.
        self.given_name = printable(name).replace("\0", "\\x00")

    def _default_name(self) -> str:
        return two_words(self.id)

    @property
    def tags(self) -> list[str]:
        """The tags of the definition and of the `tags(...)` blocks around the call, sorted."""
        return sorted(self.tag_set)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the body is called with, by parameter name; empty if it could not be bound."""
        parameters = self._parameters
        if callable(parameters):
            parameters = self._parameters = parameters()

        return parameters

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        self._parameters = parameters

    @property
    def state_type(self) -> StateType | None:
        """The type of the present state."""
        return None if self.entered is None else self.entered.type

    @property
    def state_name(self) -> str | None:
        """The name of the present state."""
        return None if self.entered is None else self.entered.name

    @property
    def created(self) -> datetime | None:
        """When the run entered its first state."""
        return _time(self.created_at)

    @property
    def expected_start_time(self) -> datetime | None:
        """When the run was to begin: when it entered its first state."""
        return _time(self.created_at)

    @property
    def start_time(self) -> datetime | None:
        """When the first attempt began; None before."""
        return _time(self.started_at)

    @property
    def end_time(self) -> datetime | None:
        """When the run ended; None before."""
        return _time(self.ended_at)

    @property
    def seconds(self) -> float:
        """How many seconds the body has been executed, over all attempts."""
        since = self._running_since

        return self._seconds if since is None else self._seconds + perf_counter() - since

    @property
    def total_run_time(self) -> timedelta:
        """How long the body has been executed, over all attempts."""
        return timedelta(seconds=self.seconds)

    def cancel(self) -> bool:
        """Request the run's cancellation; return False if it has ended or is being cancelled."""
        return self.cancel_scope.stop(Reason.CANCELLED)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, id={self.id}, state={self.state_name})"


class FlowRun(Run):
    """One execution of a flow."""

    __slots__ = ("parent_flow_run_id",)

    run_type = "flow"

    def __init__(
        self,
        definition: Any,
        name: str,
        parameters: Callable[[], Mapping[str, Any]],
        tag_set: frozenset[str],
        parent: Run | None,
    ) -> None:
        super().__init__(definition, name, parameters, tag_set, parent)
        self.parent_flow_run_id = self.flow_run_id
        self.flow_run_id = self.id
        self.root_flow_run_id = self.root_flow_run_id or self.id

    @property
    def flow_name(self) -> str:
        """The name of the flow."""
        return self.definition_name


class TaskRun(Run):
    """One execution of a task."""

    __slots__ = ()

    run_type = "task"

    def _default_name(self) -> str:
        # The last digits of its id, by which it is also found.
        return f"{self.definition_name}-{self.number & 0xFFF:03x}"

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self.definition_name
