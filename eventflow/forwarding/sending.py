"""The senders of this process: one to each endpoint, by the scheme of its URL."""

from __future__ import annotations

from typing import Final

from eventflow.forwarding.endpoints import Endpoint, is_redis
from eventflow.forwarding.queueing import Sender
from eventflow.primitives.forks import in_children
from eventflow.primitives.loading import load

__all__ = ["sender_of"]

_senders: Final[dict[tuple[Endpoint, int, float], Sender]] = {}
_inherited: Final[list[Sender]] = []


def sender_of(endpoint: Endpoint, batch_size: int, timeout_seconds: float) -> Sender:
    """Return the sender of this process to an endpoint, which all forwarders to it share.

    Raises:
        ForwardingRefused: the variable that holds the URL is not set.
        MissingExtraError: the client that it needs is not installed.
    """
    key = (endpoint, batch_size, timeout_seconds)

    return _senders.get(key) or _senders.setdefault(key, _made(*key))


def _made(endpoint: Endpoint, batch_size: int, timeout_seconds: float) -> Sender:
    # Loaded where they are used: what they need is optional, and slow to import.
    if is_redis(endpoint.url.value()):
        kind: type[Sender] = load("eventflow.forwarding.streams").RedisSender
    else:
        kind = load("eventflow.forwarding.web").WebSender

    return kind(endpoint, batch_size, timeout_seconds)


@in_children
def _forget_senders() -> None:
    """Leave the connections to the parent: they stay open, as closing them would end them there."""
    _inherited.extend(_senders.values())
    _senders.clear()
