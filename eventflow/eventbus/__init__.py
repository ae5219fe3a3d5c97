"""The event bus: publish and subscribe, within this process."""

from eventflow.eventbus.bus import EventBus, bus, current_bus, use_bus
from eventflow.eventbus.routing import Explanation
from eventflow.eventbus.waiting import EventStream

__all__ = ["EventBus", "EventStream", "Explanation", "bus", "current_bus", "use_bus"]
