"""Blocks: typed configuration saved under a name, and notification services."""

from __future__ import annotations

from eventflow.blocks.core import Block, BlockId
from eventflow.blocks.notifications import NotificationBlock, Notify, Sending, SlackWebhook
from eventflow.blocks.system import JSON, Secret, String

__all__ = [
    "JSON",
    "Block",
    "BlockId",
    "NotificationBlock",
    "Notify",
    "Secret",
    "Sending",
    "SlackWebhook",
    "String",
]
