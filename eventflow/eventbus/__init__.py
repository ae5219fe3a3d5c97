"""The event bus: publish and subscribe, within this process."""

from eventflow.eventbus.bus import (
    EventBus,
    EventStream,
    Explanation,
    bus,
    current_bus,
    use_bus,
)

__all__ = ["EventBus", "EventStream", "Explanation", "bus", "current_bus", "use_bus"]
