"""Notifications: hooks that tell Slack, mail, Teams and others what happened to a run."""

from __future__ import annotations

from eventflow.notifications.notifier import Notifier, notify
from eventflow.notifications.texts import Notification

__all__ = ["Notification", "Notifier", "notify"]
