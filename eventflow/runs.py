"""One execution of a flow or a task, and the one place where its state changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from time import perf_counter
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias
from uuid import UUID

from eventflow.control import Control, Reason
from eventflow.errorinfo import printable
from eventflow.errors import IllegalTransition
from eventflow.ids import new_id
from eventflow.names import two_words
from eventflow.states import LEGAL, TERMINAL, AnyState, StateType

__all__ = ["FlowRun", "Run", "RunType", "TaskRun", "Transition"]

RunType: TypeAlias = Literal["flow", "task"]
"""What kind of definition a run executes."""


# Python 3.11 looks a member up by calling Python code, which is too slow for every transition.
_RUNNING: Final = StateType.RUNNING


class Transition:
    """The fact that a run entered a state: all that an event of it is made from.

    `journal` is what keeps account of the hooks that are owed it; `handed` counts to how many of
    them it has been handed.
    """

    __slots__ = (
        "follows",
        "from_state",
        "handed",
        "journal",
        "run",
        "run_count",
        "sequence",
        "to_state",
    )

    def __init__(self, run: Run, from_state: AnyState | None, to_state: AnyState) -> None:
        self.run = run
        self.from_state = from_state
        self.to_state = to_state
        self.sequence = run.transitions
        self.follows = None if from_state is None else from_state.id
        self.run_count = run.run_count
        self.journal: Any = None
        self.handed = 0

    @classmethod
    def past(cls, run: Run, follows: UUID | None) -> Self:
        """Give the transition into the present state of a restored run."""
        assert run.state is not None  # noqa: S101 - it was restored in one
        made = cls(run, None, run.state)
        made.sequence = run.transitions - 1
        made.follows = follows

        return made

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
        return self.run.labels


class Run:
    """One execution. Only the engine changes it, and only by having it enter a state."""

    __slots__ = (
        "__weakref__",
        "_name",
        "_parameters",
        "_running_since",
        "_seconds",
        "control",
        "definition",
        "definition_name",
        "end_time",
        "expected_start_time",
        "flow_run_id",
        "id",
        "journalled",
        "labels",
        "parent_run_id",
        "root_flow_run_id",
        "routes",
        "run_count",
        "start_time",
        "state",
        "transitions",
    )

    run_type: ClassVar[RunType]

    def __init__(
        self,
        definition: Any,
        name: str,
        parameters: Callable[[], Mapping[str, Any]],
        labels: frozenset[str],
        above: Run | None,
    ) -> None:
        self.id: UUID = new_id()
        self.definition = definition
        self.definition_name = name
        self.labels = labels
        self.parent_run_id = None if above is None else above.id
        self.flow_run_id: UUID | None = None if above is None else above.flow_run_id
        self.root_flow_run_id: UUID | None = None if above is None else above.root_flow_run_id
        self.control: Control = Control(None if above is None else above.control)
        self.state: AnyState | None = None
        self.routes: Any = None  # what the bus remembers of whom this run's transitions go to
        self.journalled: Any = None  # its page in the journal
        self.transitions: int = 0
        self.run_count: int = 0
        self.start_time: datetime | None = None
        self.end_time: datetime | None = None
        self.expected_start_time: datetime | None = None
        self._name: str | None = None
        self._parameters: Callable[[], Mapping[str, Any]] | Mapping[str, Any] = parameters
        self._running_since: float | None = None
        self._seconds = 0.0

    @classmethod
    def restored(
        cls, definition: Any, name: str, state: AnyState, facts: Mapping[str, object]
    ) -> Self:
        """Give a run of another process as it stood in a state that it had entered.

        `name` is the definition's; `facts` are the run's attributes by name.
        """
        run = cls(definition, name, dict, frozenset(), None)
        run.state = state
        for attribute, value in facts.items():
            setattr(run, attribute, value)
        run.control.closed = run.end_time is not None

        return run

    def enter(self, state: AnyState) -> Transition:
        """Enter a state; what comes out is the fact to publish.

        Raises:
            IllegalTransition: the present state does not lead there.
        """
        present = self.state
        if state.type not in LEGAL[None if present is None else present.type]:
            raise self._illegal(state)
        self._keep_time(state)
        transition = Transition(self, present, state)
        self.transitions += 1
        self.state = state

        return transition

    def _keep_time(self, state: AnyState) -> None:
        kind = state.type
        if self._running_since is not None:
            self._seconds += perf_counter() - self._running_since
            self._running_since = None
        if kind is _RUNNING:
            self.run_count += 1
            self._running_since = perf_counter()
            if self.start_time is None:
                self.start_time = state.timestamp
        elif kind in TERMINAL or state.name == "NotReady":
            self.end_time = state.timestamp
            self.control.closed = True
        elif self.expected_start_time is None:
            self.expected_start_time = state.timestamp

    def _illegal(self, state: AnyState) -> IllegalTransition:
        present = None if self.state is None else self.state.type
        name = "without a state" if self.state is None else self.state.name

        return IllegalTransition(
            f"The {self.run_type} run {self.name!r}", name, state.name, LEGAL[present]
        )

    @property
    def name(self) -> str:
        """The name from the definition's template, else two words made from the id."""
        if self._name is None:
            self._name = two_words(self.id)

        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = printable(name)

    @property
    def tags(self) -> list[str]:
        """The tags of the definition and of the `tags(...)` blocks around the call, sorted."""
        return sorted(self.labels)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the body is called with, by parameter name; empty if it could not be bound."""
        given = self._parameters
        if callable(given):
            given = self._parameters = given()

        return given

    @parameters.setter
    def parameters(self, parameters: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        self._parameters = parameters

    @property
    def state_type(self) -> StateType | None:
        """The type of the present state."""
        return None if self.state is None else self.state.type

    @property
    def state_name(self) -> str | None:
        """The name of the present state."""
        return None if self.state is None else self.state.name

    @property
    def created(self) -> datetime | None:
        """When the run entered its first state."""
        return self.expected_start_time

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
        """Ask for the run's cancellation; gives False if it has ended or was asked already."""
        return self.control.stop(Reason.CANCELLED)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, id={self.id}, state={self.state_name})"


class FlowRun(Run):
    """One execution of a flow."""

    __slots__ = ("parent_flow_run_id", "scope")

    run_type = "flow"

    def __init__(
        self,
        definition: Any,
        name: str,
        parameters: Callable[[], Mapping[str, Any]],
        labels: frozenset[str],
        above: Run | None,
    ) -> None:
        super().__init__(definition, name, parameters, labels, above)
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

    @property
    def task_name(self) -> str:
        """The name of the task."""
        return self.definition_name
