"""The queue: who has the turn sends for all that wait, and leaves nothing undone."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from eventflow.forwarding import ForwardingError
from eventflow.forwarding.endpoints import read_endpoint
from eventflow.forwarding.queueing import Sender, Waiting, settle
from tests.forwarding.together import an_event, send_together


class Listing(Sender):
    """Lists the batches that it is to send; the first may be interrupted or refused."""

    def __init__(self, batch_size: int, first: BaseException | None = None) -> None:
        super().__init__(read_endpoint("http://localhost/", None), batch_size, 10.0)
        self.batches: list[list[str]] = []
        self.first = first

    def send_batch(self, batch: Sequence[Waiting]) -> None:
        """List it."""
        first, self.first = self.first, None
        if isinstance(first, ForwardingError):
            settle(batch, first)
        elif first is not None:
            raise first
        else:
            self.batches.append([each.event.id for each in batch])
            settle(batch, None)


def test_what_waits_is_sent_together_in_its_order() -> None:
    """At most so many at once."""
    listing = Listing(2)
    assert send_together(listing, [1, 2, 3]) == dict.fromkeys([1, 2, 3])
    assert listing.batches == [["1", "2"], ["3"]]


def test_each_is_alone_without_batches() -> None:
    listing = Listing(1)
    for number in (1, 2):
        listing.send(an_event(number))
    assert listing.batches == [["1"], ["2"]]


def test_each_has_an_error_of_its_own() -> None:
    """Threads would share a traceback."""
    outcomes = send_together(Listing(9, ForwardingError("there", "away")), [1, 2, 3])
    assert {str(error) for error in outcomes.values()} == {
        "The event was not accepted by there: away."
    }
    assert len({id(error) for error in outcomes.values()}) == 3


def test_who_is_interrupted_leaves_the_others_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    listing = Listing(9, KeyboardInterrupt())
    outcomes = send_together(listing, [1, 2, 3])
    assert len(outcomes) == 2
    sent = [each for batch in listing.batches for each in batch]
    assert sorted(sent) == sorted(map(str, outcomes))
