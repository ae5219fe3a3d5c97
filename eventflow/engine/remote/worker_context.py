"""What a body finds on a worker: a bus, loggers and a scope that lead home."""

from __future__ import annotations

import logging
import weakref
from typing import Any, Final, NoReturn, TypeVar

from eventflow.context import current_run
from eventflow.engine.remote.worker_lines import WorkerLine
from eventflow.errors import MissingContextError
from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.eventbus.publication import following
from eventflow.events import Event, is_users
from eventflow.primitives.loggers import CONTEXT
from eventflow.primitives.texts import traceback_text
from eventflow.runners.frames import HomeAddress
from eventflow.runners.threads import default
from eventflow.runs.futures import Future
from eventflow.runs.task_scope import TaskScope

__all__ = ["RefusingScope", "WorkerBus", "attempts_here", "forward_logs"]

E = TypeVar("E", bound=Event)

attempts_here: Final[dict[int, WorkerLine]] = {}
"""The lines of the attempts that this process executes, by the number of their run."""


class RefusingScope(TaskScope):
    """The scope of a body on a worker, from which nothing can be submitted."""

    def __init__(self) -> None:
        super().__init__(default, None)

    def add(self, future: Future[Any]) -> NoReturn:
        """Refuse a task run.

        Raises:
            MissingContextError: always.
        """
        raise MissingContextError(
            f"{future.run.task_name}.submit()",
            "The body around it is executed by a worker, which cannot submit tasks; call the task "
            "itself, or submit it in the flow.",
        )


class WorkerBus(EventBus):
    """The bus of a body on a worker: what the body publishes is published at home.

    Runs that the body itself begins are executed by the worker, and recorded nowhere.
    """

    def __init__(self, line: WorkerLine) -> None:
        super().__init__()
        self.composed = True
        # The line has its bus.
        self._line = weakref.ref(line)

    @property
    def line(self) -> WorkerLine:
        """The line home, while the thread that it belongs to exists.

        Raises:
            RuntimeError: the thread has ended.
        """
        line = self._line()
        if line is None:
            raise RuntimeError("The attempt has ended whose bus this is.")

        return line

    @classmethod
    def of(cls, line: WorkerLine) -> WorkerBus:
        """Return the bus of the attempts of a line."""
        bus = vars(line).get("bus")
        if bus is None:
            bus = line.__dict__["bus"] = cls(line)
        made: WorkerBus = bus

        return made

    def publish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an own event at home."""
        if not is_users(event):
            return super().publish(event, follows=follows)
        if follows is not None:
            event = following(event, follows)
        kind = type(event)
        document = event.model_dump_json(exclude={"type"})
        self.line.tell("event", f"{kind.__module__}.{kind.__qualname__}", document)

        return event

    async def apublish(self, event: E, *, follows: Event | None = None) -> E:
        """Publish an own event at home."""
        if is_users(event):
            return self.publish(event, follows=follows)

        return await super().apublish(event, follows=follows)


class _Forwarding(logging.Handler):
    """Sends home what is logged in an attempt."""

    def emit(self, record: logging.LogRecord) -> None:
        active = current_run.get()
        line = None if active is None else _line_of(active)
        if line is None:
            if logging.lastResort is not None and record.levelno >= logging.WARNING:
                logging.lastResort.handle(record)
            return
        error = record.exc_info[1] if record.exc_info else None
        parts = [record.stack_info, None if error is None else traceback_text(error).rstrip()]
        line.tell(
            "log",
            record.name,
            record.levelno,
            record.getMessage(),
            record.created,
            getattr(record, CONTEXT, None),
            "\n".join(part for part in parts if part),
        )


def _line_of(active: Any) -> WorkerLine | None:
    """Return the line of the attempt that a run belongs to: itself, or one that its body calls."""
    line = attempts_here.get(active.run.number)
    bus = current_bus()

    return line or (bus.line if isinstance(bus, WorkerBus) else None)


def forward_logs(home_address: HomeAddress) -> None:
    """Have what is logged in attempts sent home, from the levels on that are logged there."""
    root, own = logging.getLogger(), logging.getLogger("eventflow")
    root.addHandler(_Forwarding())
    root.setLevel(home_address.level)
    own.setLevel(home_address.own_level)
    # Its threads, too, record nothing.
    current_bus().composed = True
