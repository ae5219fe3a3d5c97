"""The round of one event through its subscriptions: in order, and each on its own."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, TypeAlias, cast

from eventflow.eventbus.subscriptions import Subscription
from eventflow.events import Event, ListenerFailed, fact, transition_event
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.loggers import get_logger
from eventflow.runs.run import Transition
from eventflow.states import ErrorInfo

__all__ = ["Failed", "Publication", "failure_of"]

_logger: Final = get_logger("bus")

Failed: TypeAlias = Callable[[object, Event, BaseException], object]
"""What is told when a listener raised: the listener, the event, the error."""


class _Local(threading.local):
    def __init__(self) -> None:
        self.rounds: list[Publication] = []


_under_way: Final = _Local()
"""The rounds in this thread, the innermost last."""


class Publication:
    """One event, or a transition whose event is built for the first who wants it, on its way.

    `event` is the subject once more, where that is one already. What a listener raises is told to
    `failed` and stops nobody else. What is no Exception
    (Ctrl-C, an exit) is kept until all have been served.
    """

    # What most rounds never change: to make one without slots, and with little in it, is faster.
    _rest: Iterator[Subscription]
    _stop: BaseException | None = None
    _waits: list[tuple[Subscription, Awaitable[None]]] | None = None

    def __init__(
        self, subject: Event | Transition, failed: Failed, event: Event | None = None
    ) -> None:
        self._subject = subject
        self._failed = failed
        self._event = event

    def listeners(self, listeners: tuple[Subscription, ...]) -> None:
        """Serve listeners from sync code."""
        # Who publishes while an event is on its round speaks of what follows from it: the rest
        # hear of the cause first.
        rounds = _under_way.rounds
        if rounds:
            rounds[-1]._serve()  # noqa: SLF001 - one of its own kind
        if len(listeners) == 1:  # and there is no rest to be served by anyone else
            self._offer(listeners[0])
            return
        self._rest = iter(listeners)
        rounds.append(self)
        try:
            self._serve()
        finally:
            rounds.pop()

    def _serve(self) -> None:
        for one in self._rest:
            self._offer(one)

    def _offer(self, one: Subscription) -> None:
        if one.takes(self._subject):
            self._hand(one, self._made() if self._event is None else self._event)

    def hooks(self, hooks: Sequence[Subscription]) -> None:
        """Run hooks that have taken the subject, from sync code, one after the other."""
        for one in hooks:
            self._hand(one, self._subject)

    def _hand(self, one: Subscription, subject: Event | Transition) -> None:
        try:
            if self._waits is None:
                one.receiver.receive(subject)
            else:
                left = one.receiver.areceive(subject)
                if left is not None:
                    self._waits.append((one, left))
        except BaseException as error:  # noqa: BLE001 - a listener may do anything
            self._caught(one, error)
        one.tally.count()
        if one.once:
            one.used_up()

    def _made(self) -> Event:
        """Give the event; of a transition it is built for the first who wants it."""
        if self._event is None:
            self._event = transition_event(cast("Transition", self._subject))

        return self._event

    def _caught(self, one: Subscription, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._failed(one.listener, self._made(), error)
        elif self._stop is None:
            self._stop = error

    def begin(self, listeners: tuple[Subscription, ...]) -> bool:
        """Serve listeners from async code; says whether something is left to `finish`."""
        self._waits = []
        self.listeners(listeners)

        return bool(self._waits)

    async def finish(self, hooks: Sequence[Subscription] = ()) -> None:
        """Wait for what listeners ask to wait for; then run hooks that have taken the subject.

        Raises:
            BaseException: as `end`.
        """
        waits = self._waits = self._waits or []
        await self._settle(waits)
        for one in hooks:
            self._hand(one, self._subject)
            await self._settle(waits)
        self.end()

    async def _settle(self, waits: list[tuple[Subscription, Awaitable[None]]]) -> None:
        while waits:
            one, left = waits.pop(0)
            try:
                await left
            except GeneratorExit:  # this coroutine is being closed, and must not await any more
                raise
            except BaseException as error:  # noqa: BLE001 - a listener may do anything
                self._caught(one, error)

    def end(self) -> None:
        """Raise the first of what has been kept.

        Raises:
            BaseException: whatever other than an Exception a listener or hook raised.
        """
        if self._stop is not None:
            raise self._stop


def failure_of(
    listener: object, event: Event, error: BaseException, *, wanted: bool
) -> ListenerFailed | None:
    """Log what a listener raised; gives the event to publish of it, if anyone wants it."""
    name = qualified_name(listener)
    _logger.error("listener failed", listener=name, event_type=event.type, exc_info=error)
    # A listener of failures that fails itself would go on for ever.
    if isinstance(event, ListenerFailed) or not wanted:
        return None

    return fact(
        ListenerFailed,
        event.id,
        listener=name,
        event_type=event.type,
        error=ErrorInfo.of(error),
    )
