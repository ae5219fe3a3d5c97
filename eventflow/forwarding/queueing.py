"""The queue before an endpoint: each event is sent at once, or with all that wait meanwhile."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Final

from eventflow.blocks.notifications import without_url
from eventflow.forwarding.endpoints import Endpoint, ForwardingError
from eventflow.forwarding.envelope import CloudEvent
from eventflow.primitives.escapes import one_line
from eventflow.settings import MASK

__all__ = ["Sender", "Waiting", "settle"]

SHOWN: Final = 200


class Waiting:
    """An event that is to be sent; `error` is why it was not accepted, once it `is_done`."""

    __slots__ = ("body", "error", "event", "is_done")

    def __init__(self, event: CloudEvent) -> None:
        self.event = event
        self.body = event.model_dump_json().encode()
        self.is_done = False
        self.error: ForwardingError | None = None


class Sender(ABC):
    """Sends events to one endpoint, from any thread; each caller waits for the answer to its own.

    While one request is under way in batched mode, the events that come meanwhile wait, and the
    next request has all of them, at most `batch_size`.
    """

    def __init__(self, endpoint: Endpoint, batch_size: int, timeout_seconds: float) -> None:
        self.endpoint = endpoint
        self.batch_size = batch_size
        self.timeout_seconds = timeout_seconds
        self._waiting: deque[Waiting] = deque()
        self._turn = threading.Lock()

    def send(self, event: CloudEvent) -> None:
        """Send an event, and return when it is accepted.

        Raises:
            ForwardingError: it is not accepted now; it may be later.
            ForwardingRefused: it will never be accepted.
        """
        mine = Waiting(event)
        if self.batch_size == 1:
            self.send_batch([mine])
        else:
            self._waiting.append(mine)
            # Whoever has the turn sends for all that wait, and they find it done.
            with self._turn:
                while not mine.is_done:
                    self._send_next(mine)
        if mine.error is not None:
            # Of its own: several threads would share a traceback.
            raise type(mine.error)(mine.error.receiver, mine.error.reason)

    def _send_next(self, mine: Waiting) -> None:
        count = min(len(self._waiting), self.batch_size)
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            self.send_batch(batch)
        except BaseException:
            # This thread was interrupted: the others send their own.
            others = [each for each in batch if each is not mine and not each.is_done]
            self._waiting.extendleft(reversed(others))
            raise

    @abstractmethod
    def send_batch(self, batch: Sequence[Waiting]) -> None:
        """Send events in their order, and settle each."""

    def failure(self, kind: type[ForwardingError], reason: str) -> ForwardingError:
        """Return an error that shows no secret, which answers often quote."""
        for hidden in (value.value() for _, value in self.endpoint.headers):
            reason = reason.replace(hidden, MASK)
        shown = one_line(without_url(self.endpoint.url.value(), reason), SHOWN)

        return kind(self.endpoint.label, shown.rstrip("."))


def settle(batch: Sequence[Waiting], error: ForwardingError | None) -> None:
    """Note how the sending of events ended."""
    for each in batch:
        each.error = error
        each.is_done = True
