"""Sending over HTTP: what is sent again, what is refused, and batches of what waits."""

from __future__ import annotations

import logging
import sys

import pytest

from eventflow.errors import MissingExtraError
from eventflow.forwarding import ForwardingError, ForwardingRefused
from eventflow.forwarding.endpoints import read_endpoint
from eventflow.forwarding.envelope import BATCH, STRUCTURED
from eventflow.forwarding.web import WebSender
from tests.forwarding.conftest import TOKEN, Receiver
from tests.forwarding.together import an_event, send_together


def sender(receiver: Receiver, batch_size: int = 1, timeout_seconds: float = 10.0) -> WebSender:
    """Make a sender to the receiver."""
    headers = {"X-Key": f"key-{TOKEN}"}

    return WebSender(read_endpoint(receiver.url, headers), batch_size, timeout_seconds)


def accepted(receiver: Receiver) -> list[str]:
    """Return the ids of what was accepted."""
    return [event.id for event in receiver.accepted]


def test_one_event_is_one_request(receiver: Receiver) -> None:
    sender(receiver).send(an_event(1))
    (post,) = receiver.posts
    assert post.kind == STRUCTURED
    assert post.headers["X-Key"] == f"key-{TOKEN}"
    assert accepted(receiver) == ["1"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_may_be_accepted_later_is_no_refusal(status: int, receiver: Receiver) -> None:
    receiver.answers.append(status)
    with pytest.raises(ForwardingError, match=f"it answered {status} ") as caught:
        sender(receiver).send(an_event(1))
    assert not isinstance(caught.value, ForwardingRefused)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 415])
def test_other_answers_are_refusals(status: int, receiver: Receiver) -> None:
    """A redirection too: what is secret is not sent elsewhere."""
    receiver.answers.append(status)
    with pytest.raises(ForwardingRefused, match=f"it answered {status} "):
        sender(receiver).send(an_event(1))
    assert len(receiver.posts) == 1


def test_no_secret_is_shown(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what the answer quotes nor what the client logs."""
    receiver.answers.append(500)
    with caplog.at_level(logging.DEBUG), pytest.raises(ForwardingError) as caught:
        sender(receiver).send(an_event(1))
    assert "Internal Server Error no ********" in str(caught.value)
    assert TOKEN not in str(caught.value) + caplog.text


def test_a_receiver_that_is_away_may_come_back(receiver: Receiver) -> None:
    away = Receiver(address="127.0.0.1:1")
    with pytest.raises(ForwardingError, match="ConnectError") as caught:
        sender(away).send(an_event(1))
    assert not isinstance(caught.value, ForwardingRefused)


def test_a_receiver_that_hangs_is_not_waited_for(receiver: Receiver) -> None:
    receiver.hangs = True
    with pytest.raises(ForwardingError, match=r"there was no answer within 0\.1 s"):
        sender(receiver, timeout_seconds=0.1).send(an_event(1))


def test_what_waits_is_sent_in_one_request(receiver: Receiver) -> None:
    """In its order, at most so many at once."""
    outcomes = send_together(sender(receiver, batch_size=3), [1, 2, 3, 4, 5])
    assert [post.kind for post in receiver.posts] == [BATCH, BATCH]
    assert accepted(receiver) == ["1", "2", "3", "4", "5"]
    assert set(outcomes.values()) == {None}


def test_one_alone_is_no_batch(receiver: Receiver) -> None:
    sender(receiver, batch_size=3).send(an_event(1))
    assert receiver.posts[0].kind == STRUCTURED


def test_one_that_is_refused_keeps_no_other_of_its_batch(receiver: Receiver) -> None:
    receiver.refuses = lambda event: event.id == "2"
    outcomes = send_together(sender(receiver, batch_size=9), [1, 2, 3])
    assert accepted(receiver) == ["1", "3"]
    assert isinstance(outcomes.pop(2), ForwardingRefused)
    assert set(outcomes.values()) == {None}


def test_a_batch_that_fails_fails_for_each(receiver: Receiver) -> None:
    """Each with an error of its own."""
    receiver.answers.append(503)
    outcomes = send_together(sender(receiver, batch_size=9), [1, 2, 3])
    assert len(receiver.posts) == 1
    assert {type(error) for error in outcomes.values()} == {ForwardingError}
    assert len({id(error) for error in outcomes.values()}) == 3


def test_a_receiver_that_takes_no_batches_is_sent_none(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it has said so."""
    receiver.answers.append(415)
    batched = sender(receiver, batch_size=9)
    send_together(batched, [1, 2])
    batched.send(an_event(3))
    assert [post.kind for post in receiver.posts] == [BATCH, STRUCTURED, STRUCTURED, STRUCTURED]
    assert accepted(receiver) == ["1", "2", "3"]
    assert "takes no batches: events are sent one by one" in caplog.text


def test_without_httpx_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    monkeypatch.delitem(sys.modules, "eventflow.forwarding.web")
    with pytest.raises(MissingExtraError, match=r"pip install 'eventflow-runtime\[forwarding\]'"):
        __import__("eventflow.forwarding.web")
