"""The publication of one event: made of a fact, and delivered to its subscriptions, in order."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar, cast
from uuid import UUID

from eventflow.eventbus.subscriptions import Subscription
from eventflow.events import (
    Event,
    FlowRunTransition,
    ListenerFailed,
    StateLasted,
    StateTransition,
    TaskRunTransition,
)
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.ids import new_id
from eventflow.primitives.loggers import get_logger
from eventflow.primitives.texts import is_a
from eventflow.runs.lazy_states import BuiltState
from eventflow.runs.run import TaskRun, Transition
from eventflow.states.records import ErrorInfo, record
from eventflow.states.state import AnyState

__all__ = [
    "FailureHandler",
    "Publication",
    "fact",
    "following",
    "lasted_event",
    "log_failure",
    "transition_event",
    "transition_of",
]

_logger: Final = get_logger("bus")

E = TypeVar("E", bound=Event)

FailureHandler: TypeAlias = Callable[[object, Event, BaseException], object]
"""Called when a listener raises, with the listener, the event and the error."""


class _Local(threading.local):
    def __init__(self) -> None:
        self.publications: list[Publication] = []


_in_progress: Final = _Local()
"""The publications in progress in this thread, the innermost last."""


class Publication:
    """Delivers an event, or a transition whose event is built when a listener first needs it.

    A subject that is an event is passed as `event` as well. An exception of a listener goes to
    `on_failure` and stops no other delivery. What is no Exception (Ctrl-C, an exit) is raised
    after the last delivery.
    """

    # Most publications never change these: class attributes, and no slots, are faster to set up.
    _remaining: Iterator[Subscription]
    _deferred_error: BaseException | None = None
    _awaitables: list[tuple[Subscription, Awaitable[None]]] | None = None

    def __init__(
        self, subject: Event | Transition, on_failure: FailureHandler, event: Event | None = None
    ) -> None:
        self._subject = subject
        self._on_failure = on_failure
        self._event = event

    def call_listeners(self, listeners: tuple[Subscription, ...]) -> None:
        """Deliver to listeners from sync code."""
        # A listener may publish an event in response to the one that it was given, which the
        # remaining listeners get first.
        publications = _in_progress.publications
        if publications:
            publications[-1].call_remaining()
        if len(listeners) == 1:  # nothing remains that a nested publication would have to deliver
            self._offer(listeners[0])
            return
        self._remaining = iter(listeners)
        publications.append(self)
        try:
            self.call_remaining()
        finally:
            publications.pop()

    def call_remaining(self) -> None:
        """Deliver to the listeners that have not been called yet."""
        for subscription in self._remaining:
            self._offer(subscription)

    def _offer(self, subscription: Subscription) -> None:
        if subscription.accepts(self._subject):
            event = self._built_event() if self._event is None else self._event
            self.deliver(subscription, event)

    def run_hooks(self, hooks: Sequence[Subscription]) -> None:
        """Run hooks that have accepted the subject, from sync code, one after the other."""
        for subscription in hooks:
            self.deliver(subscription, self._subject)

    def deliver(self, subscription: Subscription, subject: Event | Transition) -> None:
        """Deliver to a subscription that has accepted the subject."""
        try:
            if self._awaitables is None:
                subscription.receiver.receive(subject)
            else:
                awaitable = subscription.receiver.areceive(subject)
                if awaitable is not None:
                    self._awaitables.append((subscription, awaitable))
        except BaseException as error:  # noqa: BLE001 - a listener may do anything
            self._handle(subscription, error)
        subscription.counter.increment()
        if subscription.once:
            subscription.expire()

    def _built_event(self) -> Event:
        """Return the event; that of a transition is built at the first call."""
        if self._event is None:
            self._event = transition_event(cast("Transition", self._subject))

        return self._event

    def _handle(self, subscription: Subscription, error: BaseException) -> None:
        if is_a(error, Exception):
            self._on_failure(subscription.listener, self._built_event(), error)
        elif self._deferred_error is None:
            self._deferred_error = error

    def start(self, listeners: tuple[Subscription, ...]) -> bool:
        """Deliver to listeners from async code; return whether `complete` has to be awaited."""
        self._awaitables = []
        self.call_listeners(listeners)

        return bool(self._awaitables)

    async def complete(self, hooks: Sequence[Subscription] = ()) -> None:
        """Await what deliveries to listeners returned; then run hooks that accepted the subject.

        Raises:
            BaseException: as `raise_deferred`.
        """
        awaitables = self._awaitables = self._awaitables or []
        await self._await_all(awaitables)
        for subscription in hooks:
            self.deliver(subscription, self._subject)
            await self._await_all(awaitables)
        self.raise_deferred()

    async def _await_all(self, awaitables: list[tuple[Subscription, Awaitable[None]]]) -> None:
        while awaitables:
            subscription, awaitable = awaitables.pop(0)
            try:
                await awaitable
            except GeneratorExit:  # this coroutine is being closed, and must not await any more
                raise
            except BaseException as error:  # noqa: BLE001 - a listener may do anything
                self._handle(subscription, error)

    def raise_deferred(self) -> None:
        """Raise the first error that was deferred until all deliveries were made.

        Raises:
            BaseException: whatever other than an Exception a listener or hook raised.
        """
        if self._deferred_error is not None:
            raise self._deferred_error


def following(event: E, cause: Event) -> E:
    """Return the event with `follows` set to the id of its cause.

    Raises:
        TypeError: the cause is no event.
    """
    if not isinstance(cause, Event):
        raise TypeError(f"follows must be the event that led to this one, but is {cause!r}.")

    return event.model_copy(update={"follows": cause.id})


def log_failure(
    listener: object, event: Event, error: BaseException, *, wanted: bool
) -> ListenerFailed | None:
    """Log what a listener raised; return the event to publish about it if it is `wanted`."""
    name = qualified_name(listener)
    _logger.error("listener failed", listener=name, event_type=event.type, exc_info=error)
    # A listener of failures that fails itself would go on for ever.
    if isinstance(event, ListenerFailed) or not wanted:
        return None

    return fact(
        ListenerFailed,
        event.id,
        listener=name,
        event_type=event.type,
        error=ErrorInfo.of(error),
    )


# -- making events -------------------------------------------------------------------------------

_FIELDS: Final = set(StateTransition.model_fields)


def fact(kind: type[E], follows: UUID | None = None, /, **values: Any) -> E:
    """Make an event of valid values, which are named in the order of the fields.

    They are not validated: pydantic opens files to build the schema for that, which may be what
    has just failed.
    """
    fields = {"id": new_id(), "occurred": datetime.now(UTC), "follows": follows, **values}

    return record(kind, fields, set(kind.model_fields))


def transition_event(fact: Transition) -> StateTransition:
    """Make the event of a transition; only this function makes one."""
    run, to_state, from_state = fact.run, fact.to_state, fact.from_state
    kind = TaskRunTransition if isinstance(run, TaskRun) else FlowRunTransition
    values = {
        "id": to_state.id,
        "occurred": to_state.timestamp,
        "follows": fact.follows,
        "run_type": run.run_type,
        "run_id": run.id,
        "run_name": run.name,
        "definition_name": run.definition_name,
        "flow_run_id": run.flow_run_id,
        "parent_run_id": run.parent_run_id,
        "root_flow_run_id": run.root_flow_run_id,
        "from_state": None if from_state is None else from_state.detached(),
        "to_state": to_state.detached(),
        "tags": run.tag_set,
        "run_count": fact.run_count,
        "sequence": fact.sequence,
    }
    event = record(kind, values, _FIELDS)

    return event._with_run(run)  # noqa: SLF001 - the one place that makes such events


def lasted_event(
    entered: Transition, seconds: float, state: AnyState, *, is_overdue: bool
) -> StateLasted:
    """Make the event that a state has lasted; it is another one now if the run is overdue."""
    run, previous = entered.run, entered.from_state
    event = fact(
        StateLasted,
        entered.to_state.id,
        run_type=run.run_type,
        run_id=run.id,
        run_name=run.name,
        definition_name=run.definition_name,
        flow_run_id=run.flow_run_id,
        parent_run_id=run.parent_run_id,
        root_flow_run_id=run.root_flow_run_id,
        state=state.detached(),
        since=entered.to_state.timestamp,
        lasting=seconds,
        is_overdue=is_overdue,
        from_state=None if previous is None else previous.detached(),
        tags=run.tag_set,
        run_count=entered.run_count,
        sequence=entered.sequence,
    )

    return event._with_run(run)  # noqa: SLF001 - one of the two places that make such events


AGAIN: Final = 1 << 15
"""The first ordinal of a transition that is published again: none is so high in the journal."""


def transition_of(event: Event) -> Transition | None:
    """Return the transition that an event is of; None if it is of none, or its run is not here."""
    run = event.run if isinstance(event, StateTransition) else None
    if run is None:
        return None
    assert isinstance(event, StateTransition)  # noqa: S101 - for the type checker
    before, present = event.from_state, run.entered
    # The present state has its data as well.
    is_present = present is not None and present.number_in(run) == event.to_state.id.int
    entered = present if present is not None and is_present else BuiltState(event.to_state)
    transition = Transition(run, None if before is None else BuiltState(before), entered)
    transition.sequence = event.sequence
    transition.run_count = event.run_count
    transition.next_ordinal = AGAIN

    return transition
