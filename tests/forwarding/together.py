"""Events that are sent at the same time."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from eventflow.forwarding import CloudEvent, ForwardingError
from eventflow.forwarding.queueing import Sender

__all__ = ["an_event", "send_together"]


def an_event(number: int) -> CloudEvent:
    """Return an event."""
    return CloudEvent(id=str(number), source="/a", type="b")


class Waiting(deque[Any]):
    """The events that wait; `arrived` is released for each."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Semaphore(0)

    def append(self, event: Any) -> None:
        """Append an event."""
        super().append(event)
        self.arrived.release()


def send_together(sender: Sender, numbers: list[int]) -> dict[int, Exception | None]:
    """Have events wait, each in a thread, until all do; return how each ended."""
    waiting = Waiting()
    sender._waiting = waiting
    outcomes: dict[int, Exception | None] = {}

    def send(number: int) -> None:
        try:
            sender.send(an_event(number))
        except ForwardingError as error:
            outcomes[number] = error
        else:
            outcomes[number] = None

    threads = [threading.Thread(target=send, args=[number]) for number in numbers]
    with sender._turn:
        for thread in threads:
            thread.start()
            assert waiting.arrived.acquire(timeout=30)
    for thread in threads:
        thread.join()

    return outcomes
