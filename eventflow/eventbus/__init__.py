"""The event bus: publish and subscribe, within this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.primitives.loading import lazily

if TYPE_CHECKING:
    from eventflow.eventbus.bus import EventBus, bus, current_bus, use_bus
    from eventflow.eventbus.deadlines import set_for_present_runs
    from eventflow.eventbus.filters import Filter
    from eventflow.eventbus.routing import Explanation
    from eventflow.eventbus.subscriptions import Subscription
    from eventflow.eventbus.waiting import EventStream

__all__ = [
    "EventBus",
    "EventStream",
    "Explanation",
    "Filter",
    "Subscription",
    "bus",
    "current_bus",
    "set_for_present_runs",
    "use_bus",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "eventflow.eventbus.bus": ("EventBus", "bus", "current_bus", "use_bus"),
            "eventflow.eventbus.deadlines": ("set_for_present_runs",),
            "eventflow.eventbus.filters": ("Filter",),
            "eventflow.eventbus.routing": ("Explanation",),
            "eventflow.eventbus.subscriptions": ("Subscription",),
            "eventflow.eventbus.waiting": ("EventStream",),
        },
    )
