"""The client: reads the journal and the blocks, and cancels runs, from async code."""

from __future__ import annotations

from eventflow.client.client import BlockDocument, Client, get_client
from eventflow.client.records import (
    DeliveryRecord,
    FailingHook,
    FlowRunRecord,
    LogRecord,
    RunRecord,
    TaskRunRecord,
)

__all__ = [
    "BlockDocument",
    "Client",
    "DeliveryRecord",
    "FailingHook",
    "FlowRunRecord",
    "LogRecord",
    "RunRecord",
    "TaskRunRecord",
    "get_client",
]
