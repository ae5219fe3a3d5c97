"""The event bus: publish and subscribe, within this process."""

from eventflow.eventbus.bus import EventBus, bus, current_bus, use_bus
from eventflow.eventbus.mailbox import EventStream
from eventflow.eventbus.routing import Explanation

__all__ = ["EventBus", "EventStream", "Explanation", "bus", "current_bus", "use_bus"]
