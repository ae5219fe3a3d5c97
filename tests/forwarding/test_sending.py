"""The senders of a process: one to each endpoint, and others in a child."""

from __future__ import annotations

import os

from eventflow.forwarding.endpoints import read_endpoint
from eventflow.forwarding.sending import sender_of
from eventflow.forwarding.streams import RedisSender
from eventflow.forwarding.web import WebSender
from tests.forwarding.conftest import Receiver
from tests.forwarding.together import an_event


def test_an_endpoint_has_one_sender_in_each_process(receiver: Receiver) -> None:
    endpoint = read_endpoint(receiver.url, None)
    mine = sender_of(endpoint, 1, 10.0)
    mine.send(an_event(1))
    assert sender_of(read_endpoint(receiver.url, {}), 1, 10.0) is mine
    pid = os.fork()
    if pid == 0:  # the child has connections of its own
        code = 1
        try:
            other = sender_of(endpoint, 1, 10.0)
            other.send(an_event(2))
            code = 0 if other is not mine else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    mine.send(an_event(3))
    assert [event.id for event in receiver.accepted] == ["1", "2", "3"]


def test_the_scheme_of_the_url_decides() -> None:
    web, stream = "http://localhost/", "redis://localhost/0?stream=events"
    assert isinstance(sender_of(read_endpoint(web, None), 1, 10.0), WebSender)
    assert isinstance(sender_of(read_endpoint(stream, None), 1, 10.0), RedisSender)
