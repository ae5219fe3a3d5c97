"""`forward`: a hook of all runs that sends their transitions, in order, until they are accepted."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from eventflow import Hook, StateTransition, flow, task
from eventflow.client import get_client
from eventflow.client.records import DeliveryRecord
from eventflow.errors import MissingExtraError
from eventflow.forwarding import Forwarder, ForwardingRefused, forward
from eventflow.forwarding.envelope import BATCH, STRUCTURED
from eventflow.hooks.configured import Find
from eventflow.hooks.importability import import_problem
from eventflow.testing import capture_events, flush, isolated
from tests.forwarding.conftest import TOKEN, Receiver


def nothing(_: str) -> Any:
    raise AssertionError


FIND: Find = nothing


def dead() -> list[DeliveryRecord]:
    """Return the dead deliveries."""

    async def main() -> list[DeliveryRecord]:
        async with get_client() as client:
            return await client.read_deliveries(status="dead")

    return asyncio.run(main())


@flow(name="etl")
def etl() -> int:
    return 7


@flow(name="aetl")
async def aetl() -> int:
    return 7


@task(name="work")
def work(number: int = 0) -> int:
    return number


@pytest.mark.parametrize("durability", ["process", "off"])
@pytest.mark.parametrize("definition", [etl, aetl, work])
def test_every_transition_is_sent_as_it_was_published(
    definition: Any, durability: str, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of flows and tasks, sync and async, with the journal on and off."""
    monkeypatch.setenv("EVENTFLOW_DURABILITY", durability)
    with isolated(), capture_events() as events:
        forward(receiver.url)
        asyncio.run(definition()) if definition is aetl else definition()
    published = [event for event in events if isinstance(event, StateTransition)]
    assert [event.transition() for event in receiver.accepted] == published
    assert len(published) == 3


def test_filters_select(receiver: Receiver) -> None:
    with isolated():
        forward(
            receiver.url, run_type="flow", state=["Completed", "Failed"], tags="prod", name="e*"
        )
        etl()
        etl.with_options(tags=["prod"])()
        etl.with_options(tags=["prod"], name="other")()
        work.with_options(tags=["prod"], name="e")()
    assert receiver.types == ["flow-run.Completed"]


def test_it_is_cancelled_as_every_subscription(receiver: Receiver) -> None:
    with isolated():
        with forward(receiver.url):
            work()
        work()
    assert len(receiver.accepted) == 3


def test_one_definition_may_forward(receiver: Receiver) -> None:
    """In one attempt, unless its hook has retries."""
    receiver.answers.append(500)
    etl.with_options(on_completion=[Hook(Forwarder(receiver.url), retries=1)])()
    assert receiver.types == ["flow-run.Completed"]
    assert len(receiver.posts) == 2


def test_what_is_sent_again_keeps_the_order_and_the_id(receiver: Receiver) -> None:
    """A run waits for each of its events; those of other runs pass it."""
    receiver.answers.extend([503, 429, 204, 500, 204, 204])
    with isolated():
        forward(receiver.url, retry_delay_seconds=0)
        work()
    sequences = [post.events[0].sequence for post in receiver.posts]
    assert [int(sequence or "") for sequence in sequences] == [0, 0, 0, 1, 1, 2]
    assert len({post.events[0].id for post in receiver.posts}) == 3


def test_a_poison_message_is_a_dead_delivery_and_the_rest_goes_on(receiver: Receiver) -> None:
    """It is not sent again; the error says what was answered."""
    receiver.refuses = lambda event: event.type.endswith("Running")
    with isolated(), capture_events() as events:
        forward(receiver.url)
        assert work(7) == 7
        flush()
        (delivery,) = dead()
    assert receiver.types == ["task-run.Pending", "task-run.Completed"]
    assert len(receiver.posts) == 3
    assert delivery.attempts == 1
    assert (
        f"The event was not accepted by http://{receiver.address}: it answered 400 Bad Request"
        in str(delivery.error)
    )
    assert [event.type for event in events if "hook" in event.type] == [
        *("eventflow.hook.HookSucceeded", "eventflow.hook.HookFailed"),
        *("eventflow.hook.HookDeadLettered", "eventflow.hook.HookSucceeded"),
    ]


def test_after_the_last_retry_its_delivery_is_dead(receiver: Receiver) -> None:
    receiver.answers.extend([500, 500, 500])
    with isolated():
        forward(receiver.url, state="Completed", retries=2, retry_delay_seconds=0)
        work()
        (delivery,) = dead()
    assert delivery.attempts == 3
    assert receiver.accepted == []


def test_runs_at_the_same_time_share_requests(receiver: Receiver) -> None:
    """Those whose events wait while another request is under way; none is lost or out of order."""

    @flow
    def many() -> None:
        work.map(range(50)).wait()

    with isolated():
        forward(receiver.url, batch_size=100, run_type="task")
        many()
    assert {post.kind for post in receiver.posts} <= {STRUCTURED, BATCH}
    places: dict[str, list[int]] = {}
    for event in receiver.accepted:
        places.setdefault(str(event.runid), []).append(int(event.sequence or ""))
    assert len(places) == 50
    assert all(sequences == [0, 1, 2] for sequences in places.values())


@pytest.mark.parametrize("url", [None, "env:EVENTS"])
def test_it_is_made_again_as_it_was(url: str | None, receiver: Receiver) -> None:
    """From plain data, in which nothing secret is in clear; and packed for the guardian."""
    given = Forwarder(
        url or receiver.url,
        headers={"Authorization": TOKEN},
        source="/shop",
        batch_size=9,
        timeout_seconds=3,
    )
    text = json.dumps(given.configuration())
    assert TOKEN not in text
    for other in (Forwarder.restored(json.loads(text), FIND), pickle.loads(pickle.dumps(given))):
        assert vars(other) | {"_recorded_endpoint": 0} == vars(given) | {"_recorded_endpoint": 0}
        assert Hook(other).id == Hook(given).id


def test_what_shows_it_shows_no_secret(receiver: Receiver) -> None:
    given = Forwarder(receiver.url)
    assert repr(given) == f"<forward(http://{receiver.address})>"
    assert Hook(given).id == f"{__name__}:forward(http://{receiver.address})"
    with isolated():
        assert forward(receiver.url, id="events").hook.id == "events"
        assert forward("env:EVENTS").hook.id == f"{__name__}:forward(EVENTS)"


def test_no_secret_is_recorded_or_logged(
    receiver: Receiver, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers.extend([400, 500])
    headers = {"X-Key": "hunter3hunter3"}
    with (
        caplog.at_level(logging.DEBUG),
        forward(receiver.url, headers=headers, retry_delay_seconds=0),
    ):
        work()
        flush()
    files = [path for path in folder.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert b"eventflow.forwarding.forwarder:Forwarder" in content
    assert b"hunter" not in content
    assert "hunter" not in caplog.text
    assert ": it answered 400" in caplog.text


def test_one_that_cannot_be_encrypted_forwards_all_the_same(
    receiver: Receiver, folder: Path
) -> None:
    folder.mkdir()
    (folder / "secret.key").write_bytes(b"nonsense")
    given = Forwarder(receiver.url)
    assert "has a URL or headers that cannot be encrypted" in str(import_problem(Hook(given)))
    etl.with_options(on_completion=[given])()
    assert len(receiver.accepted) == 1


def test_a_variable_that_is_not_set_is_said() -> None:
    with pytest.raises(ForwardingRefused, match="the environment variable EVENTS is not set"):
        call("env:EVENTS")


def call(url: str) -> None:
    """Call a forwarder with a run that has ended."""
    runs: list[Any] = []
    etl.with_options(on_completion=[lambda *arguments: runs.append(arguments)])()
    Forwarder(url)(*runs[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, but is 0"),
        ({"batch_size": True}, TypeError, "batch_size must be a whole number"),
        ({"source": ""}, ValueError, "source must be a URI reference"),
        ({"source": "a b"}, ValueError, "source must be a URI reference"),
        ({"source": "http://[a"}, ValueError, "source must be a URI reference"),
        ({"source": 1}, TypeError, "source must be a string"),
        ({"timeout_seconds": 0}, ValueError, "timeout_seconds must be longer than 0"),
        ({"retries": -1}, ValueError, "retries must be 0 or more"),
        ({"run_type": "job"}, ValueError, "run_type must be 'flow' or 'task'"),
        ({"lasting": 1}, TypeError, "unexpected keyword argument 'lasting'"),
    ],
)
def test_what_is_wrong_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        forward("http://localhost/", **options)


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventflow.forwarding.forwarder.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eventflow-runtime\[forwarding\]'"):
        forward("http://localhost/")


def test_the_module_of_the_caller_is_part_of_its_identity() -> None:
    assert Forwarder("env:EVENTS").__module__ == sys.modules[__name__].__name__
