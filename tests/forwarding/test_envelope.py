"""The envelope is a CloudEvent 1.0, which holds the event as it was published."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from pydantic import ValidationError

from eventflow import FlowRun, Hook, StateTransition, flow, task
from eventflow.context import current_hook
from eventflow.events import StateLasted
from eventflow.forwarding import CloudEvent
from eventflow.forwarding.envelope import STRUCTURED, envelope, event_in_hook
from eventflow.testing import capture_events

SPECIFIED = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}


def forwarded() -> tuple[list[CloudEvent], list[StateTransition]]:
    """Return the envelopes that a hook of a flow makes, and the events that were published."""
    made: list[CloudEvent] = []

    def forward(definition: Any, run: Any, state: Any) -> None:
        event = event_in_hook(current_hook.get(), run, state)
        made.append(envelope(event, run, source="/shop", origin="here"))

    etl = flow(name="etl", tags=["prod"], hooks=[Hook(forward)])(lambda: 7)
    with capture_events() as events:
        etl(return_state=True)

    return made, [event for event in events if isinstance(event, StateTransition)]


def test_the_sdk_of_cloudevents_reads_it() -> None:
    """It validates all attributes; each has the value that was sent."""
    made, _ = forwarded()
    for event in made:
        message = HTTPMessage({"content-type": STRUCTURED}, event.model_dump_json().encode())
        read = from_structured_event(message)
        assert read.get_id() == event.id
        assert read.get_source() == event.source == "/shop"
        assert read.get_type() == event.type
        assert read.get_subject() == event.subject
        assert read.get_time() == event.time
        assert read.get_datacontenttype() == "application/json"
        assert read.get_extension("runid") == event.runid
        assert read.get_extension("sequence") == event.sequence
        assert read.get_extension("originid") == "here"
        assert read.get_data() == event.data


def test_attributes_are_named_as_the_specification_asks() -> None:
    """Extensions have lower-case letters and digits only, at most 20; nothing is null."""
    made, _ = forwarded()
    for event in made:
        content = json.loads(event.model_dump_json())
        assert None not in content.values()
        for name in content.keys() - SPECIFIED:
            assert re.fullmatch("[a-z0-9]{1,20}", name)


def test_it_holds_the_event_as_it_was_published() -> None:
    made, events = forwarded()
    assert [event.transition() for event in made] == events
    assert [event.id for event in made] == [str(event.id) for event in events]
    assert [event.sequence for event in made] == ["0000000000", "0000000001", "0000000002"]
    assert {event.runid for event in made} == {str(events[0].run_id)}
    assert made[-1].type == "eventflow.flow-run.Completed"
    assert made[-1].subject == f"flow-run/{events[0].run_name}"


def test_secrets_of_the_run_are_masked() -> None:
    """What it was given for a secret, and credentials, in the texts of both states."""
    made: list[CloudEvent] = []

    def forward(definition: Any, run: Any, state: Any) -> None:
        event = event_in_hook(current_hook.get(), run, state)
        made.append(envelope(event, run, source="/shop", origin="here"))

    @task(retries=1, hooks=[Hook(forward, state=["AwaitingRetry", "Retrying"])])
    def login(password: str) -> None:
        if login_attempts:
            return
        login_attempts.append(1)
        raise ValueError(f"cannot log in as {password}, nor at https://me:hunter4@host/")

    login_attempts: list[int] = []
    login("hunter5")
    texts = [event.model_dump_json() for event in made]
    assert len(texts) == 2
    for text in texts:
        assert "cannot log in as ********, nor at https://********@host/" in text
        assert "hunter" not in text


def test_a_state_that_has_lasted_is_an_event_of_its_own() -> None:
    """Its id is the same in each attempt."""
    made: list[CloudEvent] = []

    def forward(definition: Any, run: Any, state: Any) -> None:
        event = event_in_hook(current_hook.get(), run, state)
        made.append(envelope(event, run, source="/shop", origin="here"))
        if len(made) < 2:
            raise OSError
        run.cancel()

    @flow(hooks=[Hook(forward, state="Running", lasting=timedelta(milliseconds=5), retries=1)])
    def etl() -> None:
        while len(made) < 2:
            pass

    etl(return_state=True)
    first, second = made
    assert first.id == second.id
    assert first.type == "eventflow.state.StateLasted"
    assert StateLasted.model_validate(first.data | {"id": first.id}).lasting == 0.005


def test_outside_a_hook_it_is_of_the_present_state() -> None:
    runs: list[FlowRun] = []
    etl = flow(on_completion=[lambda definition, run, state: runs.append(run)])(lambda: 1)
    etl()
    (run,) = runs
    assert run.state is not None
    event = event_in_hook(None, run, run.state)
    assert isinstance(event, StateTransition)
    assert event.id == run.state.id
    assert event.sequence == 2


def test_one_of_another_producer_keeps_its_attributes() -> None:
    text = '{"specversion":"1.0","id":"1","source":"/a","type":"b","partitionkey":"7","data":[1]}'
    event = CloudEvent.model_validate_json(text)
    assert event.model_extra == {"partitionkey": "7"}
    assert event.data == [1]
    with pytest.raises(ValidationError):
        event.transition()


@pytest.mark.parametrize(
    "change", [{"id": ""}, {"specversion": "0.3"}, {"source": None}, {"time": "yesterday"}]
)
def test_what_is_no_cloudevent_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CloudEvent.model_validate({"id": "1", "source": "/a", "type": "b", **change})
