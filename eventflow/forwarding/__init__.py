"""Forwarding: sends what happens here to other programs as CloudEvents, and hears of theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.forwarding.endpoints import ForwardingError, ForwardingRefused
from eventflow.forwarding.envelope import CloudEvent
from eventflow.forwarding.forwarder import Forwarder, forward
from eventflow.primitives.loading import lazily

if TYPE_CHECKING:
    from eventflow.forwarding.remote import RemoteSubscription, subscribe_remote

__all__ = [
    "CloudEvent",
    "Forwarder",
    "ForwardingError",
    "ForwardingRefused",
    "RemoteSubscription",
    "forward",
    "subscribe_remote",
]

# Not for type checkers: to them every name would be one of Any.
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__, {"eventflow.forwarding.remote": ("RemoteSubscription", "subscribe_remote")}
    )
