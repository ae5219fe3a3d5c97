"""Forwarding: sends what happens here to other programs, as CloudEvents."""

from __future__ import annotations

from eventflow.forwarding.endpoints import ForwardingError, ForwardingRefused
from eventflow.forwarding.envelope import CloudEvent
from eventflow.forwarding.forwarder import Forwarder, forward

__all__ = ["CloudEvent", "Forwarder", "ForwardingError", "ForwardingRefused", "forward"]
