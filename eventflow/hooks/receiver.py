"""Running one hook for one event: attempts, timeout, isolation, outcome."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from time import sleep
from typing import TypeVar

import anyio.to_thread

from eventflow.errors import HookTimeout
from eventflow.eventbus.bus import current_bus
from eventflow.eventbus.filters import States
from eventflow.eventbus.subscriptions import Phase
from eventflow.events import (
    Event,
    StateTransition,
)
from eventflow.hooks.declaration import Hook, HookFunction
from eventflow.hooks.delivery import Delivery
from eventflow.interrupts.masks import ENGINE, HOOK
from eventflow.interrupts.portals import Outcome, background, in_thread, unpacked
from eventflow.interrupts.scopes import thread_mask
from eventflow.retries import Delays
from eventflow.runs.run import RunType, Transition

__all__ = ["HookReceiver", "hook", "redeliver"]

F = TypeVar("F", bound=HookFunction)


class HookReceiver:
    """Receives for a hook: sync code runs it here and now, async code is given it to await."""

    __slots__ = ("hook",)

    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def receive(self, event: Event | Transition) -> None:
        """Run the hook, however it is written, and come back when it has ended."""
        delivery = self._delivery(event)
        if delivery is not None:
            _run_to_the_end(delivery)

    def areceive(self, event: Event | Transition) -> Awaitable[None] | None:
        """Give the running of the hook, to be awaited."""
        delivery = self._delivery(event)
        return None if delivery is None else self._run(delivery)

    async def _run(self, delivery: Delivery) -> None:
        delay: float | None = 0.0
        while delay is not None:
            delivery.attempt += 1
            error: BaseException | None = None
            try:
                await _aattempt(delivery, delay)
            except BaseException as raised:  # noqa: BLE001 - the delivery decides
                error = raised
            delay = delivery.ended(error)

    def _delivery(self, event: Event | Transition) -> Delivery | None:
        if isinstance(event, Transition):
            delivery = Delivery(self.hook, event.run, event.to_state, event.to_state.id)
            delivery.ledger = event.journal
            delivery.ordinal = event.handed
            # The row of the first says already that it is begun.
            delivery.is_counted = event.handed == 0
            event.handed += 1
            return delivery
        # Published again by hand: a hook can be run for it while there is the live run.
        run = event.run if isinstance(event, StateTransition) else None
        if run is None or run.state is None:
            return None

        return Delivery(self.hook, run, run.state, event.id)

    def end(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def redeliver(hook: Hook, fact: Transition, ordinal: int, attempts: int, limit: int) -> None:
    """Run the attempts that are left of a delivery, from sync code, and settle them.

    `attempts` is how many have begun before, in this process or in another; there are `limit` at
    most. If they are used up, the delivery goes to the dead letters.

    Raises:
        BaseException: whatever other than an Exception the hook raised.
    """
    delivery = Delivery(hook, fact.run, fact.to_state, fact.to_state.id)
    delivery.ledger = fact.journal
    delivery.ordinal = ordinal
    delivery.attempt = attempts
    delivery.at_most = limit
    if attempts >= limit:
        delivery.give_up()
    else:
        _run_to_the_end(delivery)


def _run_to_the_end(delivery: Delivery) -> None:
    delay: float | None = 0.0
    while delay is not None:
        delivery.attempt += 1
        error: BaseException | None = None
        try:
            _attempt(delivery, delay)
        except BaseException as raised:  # noqa: BLE001 - the delivery decides
            error = raised
        delay = delivery.ended(error)


def _attempt(delivery: Delivery, delay: float) -> None:
    here = thread_mask()
    before, bodies = here.phase, here.bodies
    try:
        if before is ENGINE:
            # A signal that came before waits on: it must not take the place of the hook. And what
            # stops the bodies around the run is none of the hook's business.
            here.phase, here.bodies = HOOK, []
        if delay:
            sleep(delay)
        delivery.begin()
        hook = delivery.hook
        if hook.is_async:
            background.run(delivery.acall())
        elif hook.timeout_seconds is None:
            delivery.call_to_the_end()
        else:
            _call_in_time(delivery, hook.timeout_seconds)
    finally:
        here.phase, here.bodies = before, bodies


def _call_in_time(delivery: Delivery, seconds: float) -> None:
    """Leave it alone in its thread if it takes too long: nothing can stop it there."""
    future = in_thread(delivery.call_to_the_end)
    try:
        outcome = future.result(seconds)
    except TimeoutError:
        raise HookTimeout(delivery.hook.id, seconds) from None
    unpacked(outcome)


async def _aattempt(delivery: Delivery, delay: float) -> None:
    if delay:
        await asyncio.sleep(delay)
    delivery.begin()
    if delivery.hook.is_async:
        await delivery.acall()
        return
    # A sync hook may block; the loop must not.
    if delivery.hook.timeout_seconds is None:
        result = await anyio.to_thread.run_sync(delivery.call, abandon_on_cancel=True)
    else:
        # Not a thread of the pool: one that is never given back would keep the process alive.
        future = in_thread(delivery.call)
        try:
            async with delivery.limit():
                result = unpacked(await asyncio.wrap_future(future))
        except HookTimeout:
            future.add_done_callback(_leave_unawaited)
            raise
    if inspect.iscoroutine(result):
        await delivery.finish(result)


def _leave_unawaited(late: Future[Outcome[object]]) -> None:
    """Close what a plain function gives to be awaited when nobody waits any more."""
    result, _ = late.result()
    if inspect.iscoroutine(result):
        result.close()


def hook(
    *,
    run_type: RunType | None = None,
    state: States = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    id: str | None = None,
    timeout_seconds: float | None = None,
    retries: int = 0,
    retry_delay_seconds: Delays = None,
) -> Callable[[F], F]:
    """Declare a function as a hook of every run that matches, whoever declared the run.

    The function is left as it is; the bus in force calls it with `(definition, run, state)`.

    `run_type`, `state`, `name` (a pattern) and `tags` select the runs and their transitions; the
    others are those of `Hook`.

    Raises:
        TypeError: what is decorated is not callable, or an option is of a wrong type.
        ValueError: an option has a wrong value.
    """

    def declare(function: F) -> F:
        declared = Hook(
            function,
            state=state,
            run_type=run_type,
            name=name,
            tags=tags,
            id=id,
            timeout_seconds=timeout_seconds,
            retries=retries,
            retry_delay_seconds=retry_delay_seconds,
        )
        receiver = HookReceiver(declared)
        current_bus().attach(function, receiver, declared.filter(), phase=Phase.HOOK)

        return function

    return declare
