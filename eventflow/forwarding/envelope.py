"""The envelope of an event that is forwarded: a CloudEvent 1.0, in the JSON format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, Field

from eventflow.context import HookContext
from eventflow.eventbus.publication import lasted_event, transition_event
from eventflow.events import (
    FlowRunTransition,
    StateLasted,
    StateTransition,
    TaskRunTransition,
    parse,
)
from eventflow.runs.run import Run, Transition
from eventflow.states.state import AnyState
from eventflow.values.masking import masking

__all__ = ["BATCH", "STRUCTURED", "CloudEvent", "envelope", "event_in_hook"]

STRUCTURED: Final = "application/cloudevents+json"
"""The content type of one event."""

BATCH: Final = "application/cloudevents-batch+json"
"""The content type of several, a JSON array."""

_DIGITS: Final = 10

Text = Annotated[str, Field(min_length=1)]


class CloudEvent(BaseModel, frozen=True, extra="allow"):
    """A CloudEvent 1.0 with JSON data; attributes of other producers are kept as well.

    `source` and `id` together are the same whenever the event is sent again: that is how a receiver
    knows a duplicate. Of eventflow's own, `runid` is the run, `sequence` the place of the event in
    the run, padded with zeros so that it sorts as a text, and `originid` where the run executed.
    """

    specversion: Literal["1.0"] = "1.0"
    id: Text
    source: Text
    type: Text
    subject: Text | None = None
    time: AwareDatetime | None = None
    datacontenttype: Text | None = None
    runid: Text | None = None
    sequence: Text | None = None
    originid: Text | None = None
    data: Any = None

    def transition(self) -> FlowRunTransition | TaskRunTransition:
        """Return the transition that it tells of.

        Raises:
            pydantic.ValidationError: its data is no transition of eventflow.
        """
        return parse(self.model_dump_json(include={"data"}).removeprefix('{"data":')[:-1])


def event_in_hook(
    context: HookContext | None, run: Run, state: AnyState
) -> StateTransition | StateLasted:
    """Return the event that the hook in force is owed; without one, of the run's present state."""
    if context is None:
        return transition_event(Transition.past(run, None))
    hook = context.hook
    seconds = hook.lasting if hook.overdue_seconds is None else hook.overdue_seconds
    if seconds is None:
        return transition_event(context.fact)
    is_overdue = hook.overdue_seconds is not None
    event = lasted_event(context.fact, seconds, state, is_overdue=is_overdue)

    # The same in each attempt.
    return event.model_copy(update={"id": context.delivery_id})


def envelope(
    event: StateTransition | StateLasted, run: Run, *, source: str, origin: str
) -> CloudEvent:
    """Put an event of a run into its envelope, with secrets masked."""
    data = event.model_dump(mode="json")
    states = [data.get(name) for name in ("from_state", "to_state", "state")]
    told = [state for state in states if state and (state["message"] or state["error"])]
    if told:
        mask = masking(run.parameters)
        for state in told:
            _mask(state, mask)

    return CloudEvent(
        id=str(event.id),
        source=source,
        type=event.type,
        subject=f"{event.run_type}-run/{event.run_name}",
        time=event.occurred,
        datacontenttype="application/json",
        runid=str(event.run_id),
        sequence=f"{event.sequence:0{_DIGITS}d}",
        originid=origin,
        data=data,
    )


def _mask(state: dict[str, Any], mask: Callable[[str], str]) -> None:
    for texts in (state, state["error"] or {}):
        for name in ("message", "traceback"):
            if texts.get(name):
                texts[name] = mask(texts[name])
