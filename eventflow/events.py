"""The typed events: facts about runs, hooks and listeners, and the base of users' own."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    TypeAdapter,
    computed_field,
)
from pydantic.json_schema import JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import CoreSchema

from eventflow.primitives.ids import new_id
from eventflow.runs.run import Run, RunType
from eventflow.states.records import Deferred, ErrorInfo
from eventflow.states.state import AnyState

__all__ = [
    "ErrorInfo",
    "Event",
    "FlowRunTransition",
    "HookDeadLettered",
    "HookFailed",
    "HookOutcome",
    "HookSucceeded",
    "JournalEvent",
    "JournalFailed",
    "JournalRecovered",
    "ListenerFailed",
    "RunEvent",
    "StateLasted",
    "StateTransition",
    "TaskRunTransition",
    "catalogue",
    "is_users",
    "parse",
    "schema",
]

Tags = Annotated[frozenset[str], PlainSerializer(sorted, return_type=list[str], when_used="json")]


class Event(Deferred, frozen=True):
    """A published fact. It never changes, and its JSON form gives it back.

    Subclass it for facts of your own:

        class InvoicePaid(Event):
            invoice: int

        bus.publish(InvoicePaid(invoice=7))

    `follows` is the id of the event that led to this one.
    """

    id: UUID = Field(default_factory=new_id)
    occurred: datetime = Field(default_factory=partial(datetime.now, UTC))
    follows: UUID | None = None

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order
    @property
    def type(self) -> str:
        """What kind of event this is, for people and for other programs."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @classmethod
    def _type_schema(cls) -> dict[str, str]:
        """Return which values `type` has, as a JSON Schema."""
        return {"const": f"{cls.__module__}.{cls.__qualname__}"}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        document = handler(core_schema)
        properties = handler.resolve_ref_schema(document).get("properties", {})
        if "type" in properties:
            properties["type"] |= cls._type_schema()

        return document

    def __hash__(self) -> int:
        return hash(self.id)


# An error in a user's event class is to be raised where the class is defined.
Event.model_config["defer_build"] = False


class RunEvent(Event, frozen=True, defer_build=True):
    """Something about a run."""

    __slots__ = ("_run",)

    run_type: RunType
    run_id: UUID
    run_name: str
    definition_name: str
    flow_run_id: UUID | None
    parent_run_id: UUID | None
    root_flow_run_id: UUID | None

    @property
    def run(self) -> Run | None:
        """The live run, for listeners in this process; None in an event read from JSON."""
        return getattr(self, "_run", None)

    @property
    def definition(self) -> Any:
        """The flow or task of the live run; None in an event read from JSON."""
        return None if self.run is None else self.run.definition

    def __copy__(self) -> Self:
        copied = super().__copy__()
        return copied if self.run is None else copied._with_run(self.run)  # noqa: SLF001 - a copy

    def _with_run(self, run: Run) -> Self:
        # Not a field on purpose: the run is neither compared nor serialised.
        object.__setattr__(self, "_run", run)

        return self


class StateTransition(RunEvent, frozen=True):
    """A run entered a state. The id is the entered state's."""

    from_state: AnyState | None
    to_state: AnyState
    tags: Tags
    run_count: int
    sequence: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order
    @property
    def type(self) -> str:
        """The kind of event: `eventflow.task-run.Failed`."""
        return f"eventflow.{self.run_type}-run.{self.to_state.name}"

    @classmethod
    def _type_schema(cls) -> dict[str, str]:
        kind = cls.model_fields["run_type"].default

        return {"pattern": rf"^eventflow\.{kind}-run\."}

    @property
    def duration(self) -> float | None:
        """The seconds that the run spent in the state it left; None for the first."""
        if self.from_state is None:
            return None

        return (self.to_state.timestamp - self.from_state.timestamp).total_seconds()


class FlowRunTransition(StateTransition, frozen=True):
    """A flow run entered a state; `flow_run_id` is its own id."""

    run_type: Literal["flow"] = "flow"


class TaskRunTransition(StateTransition, frozen=True):
    """A task run entered a state."""

    run_type: Literal["task"] = "task"


class StateLasted(RunEvent, frozen=True):
    """A state has lasted for `lasting` seconds, `since` it was entered, which `follows` tells of.

    `state` is that state. If the run `is_overdue`, it is the present one, whichever it is: that
    counts from the first Running to the end of the run.
    """

    state: AnyState
    since: datetime
    lasting: float
    is_overdue: bool
    from_state: AnyState | None
    tags: Tags
    run_count: int
    sequence: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order
    @property
    def type(self) -> str:
        """The kind of event: `eventflow.state.StateLasted`."""
        return "eventflow.state.StateLasted"

    @classmethod
    def _type_schema(cls) -> dict[str, str]:
        return {"const": "eventflow.state.StateLasted"}

    @property
    def to_state(self) -> AnyState:
        """The state, by the name that transitions have for it."""
        return self.state


class HookOutcome(Event, frozen=True, defer_build=True):
    """The outcome of one attempt to run a hook; `follows` is the transition that it was owed.

    `duration` is in seconds; `attempt` counts from 1.
    """

    hook: str
    delivery_id: UUID
    attempt: int
    duration: float
    run_type: RunType
    run_id: UUID
    run_name: str
    definition_name: str
    flow_run_id: UUID | None
    state_name: str

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order
    @property
    def type(self) -> str:
        """The kind of event: `eventflow.hook.HookFailed`."""
        return f"eventflow.hook.{type(self).__name__}"

    @classmethod
    def _type_schema(cls) -> dict[str, str]:
        return {"const": f"eventflow.hook.{cls.__name__}"}


class HookSucceeded(HookOutcome, frozen=True):
    """A hook ran to its end."""


class HookFailed(HookOutcome, frozen=True):
    """An attempt to run a hook ended with an exception or a timeout."""

    error: ErrorInfo


class HookDeadLettered(HookOutcome, frozen=True):
    """The last attempt to run a hook failed; it will not be tried again."""

    error: ErrorInfo


class ListenerFailed(Event, frozen=True, defer_build=True):
    """A listener raised; `follows` is the event it was given."""

    listener: str
    event_type: str
    error: ErrorInfo

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order
    @property
    def type(self) -> str:
        """The kind of event: `eventflow.listener.ListenerFailed`."""
        return f"eventflow.listener.{type(self).__name__}"

    @classmethod
    def _type_schema(cls) -> dict[str, str]:
        return {"const": f"eventflow.listener.{cls.__name__}"}


class JournalEvent(Event, frozen=True, defer_build=True):
    """Whether the journal can be written; `lost` counts the lines that will never be in it.

    Listeners are called in whatever thread notices it.
    """

    lost: int

    @computed_field  # type: ignore[prop-decorator]  # pydantic documents this order
    @property
    def type(self) -> str:
        """The kind of event: `eventflow.journal.JournalFailed`."""
        return f"eventflow.journal.{type(self).__name__}"

    @classmethod
    def _type_schema(cls) -> dict[str, str]:
        return {"const": f"eventflow.journal.{cls.__name__}"}


class JournalFailed(JournalEvent, frozen=True):
    """The journal cannot be written. The runs go on; what happens is kept until it can be."""

    error: ErrorInfo


class JournalRecovered(JournalEvent, frozen=True):
    """The journal can be written again, and what was kept is in it."""


def is_users(event: Event) -> bool:
    """Return whether the class of an event is a user's, and not one of eventflow."""
    return event.__class__.__module__ != __name__


_ABSTRACT: Final = frozenset({Event, RunEvent, StateTransition, HookOutcome, JournalEvent})


def catalogue() -> dict[str, type[Event]]:
    """Return every class of events that is defined, eventflow's and users', by qualified name."""
    classes: dict[str, type[Event]] = {}
    pending: list[type[Event]] = [Event]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if kind not in _ABSTRACT:
            classes[f"{kind.__module__}.{kind.__qualname__}"] = kind

    return dict(sorted(classes.items()))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of every event in the catalogue, as one document.

    An event's JSON form is valid under the one entry of `oneOf` that its `type` belongs to.
    """
    kinds = list(catalogue().values())
    mode: JsonSchemaMode = "serialization"
    references, document = models_json_schema([(kind, mode) for kind in kinds], title="eventflow")

    return {**document, "oneOf": [references[kind, mode] for kind in kinds]}


_transition: Final = TypeAdapter(
    Annotated[FlowRunTransition | TaskRunTransition, Field(discriminator="run_type")],
    config=ConfigDict(defer_build=True),
)


def parse(document: str | bytes) -> FlowRunTransition | TaskRunTransition:
    """Read a transition back from its JSON form.

    Raises:
        pydantic.ValidationError: the document is not a transition.
    """
    return _transition.validate_json(document)
