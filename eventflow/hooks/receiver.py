"""Runs hooks: as receivers on the bus, and again for deliveries that are still owed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from time import sleep
from typing import Final, TypeAlias

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from eventflow.errors import HookTimeout
from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.events import Event
from eventflow.hooks.declaration import Hook
from eventflow.hooks.delivery import Delivery, is_given_up
from eventflow.interrupts.masks import ENGINE, HOOK, this_thread
from eventflow.interrupts.portals import Outcome, background_portal, in_thread, unwrap
from eventflow.runs.run import Transition

__all__ = ["HookReceiver", "redeliver"]

DeliveryKind: TypeAlias = Callable[[Hook, Transition, int, EventBus], Delivery]
"""Makes the delivery to a hook: of a transition, with its ordinal, and the bus of its outcomes."""

BLOCKED_SECONDS: Final = 1.0
"""How long after its timeout an async hook has ended, unless it blocks its event loop."""

THREADS: Final = 40
"""How many sync hooks of async runs may execute at once on one event loop, each in a thread.

They do not count among anyio's threads, which a program uses for other work: neither is blocked
by the other.
"""

_limiter: Final[RunVar[CapacityLimiter | None]] = RunVar("eventflow_hook_threads", None)


class HookReceiver:
    """Receives transitions for a hook: runs it in sync code, returns its run to async code.

    An event that is still an event is passed over: the run that a hook needs is not in this
    process. So is a transition whose record leaves the hook to a worker.
    """

    __slots__ = ("hook", "is_workers", "kind")

    def __init__(self, hook: Hook, kind: DeliveryKind = Delivery) -> None:
        self.hook = hook
        self.kind = kind
        self.is_workers = hook.where == "worker"

    def receive(self, event: Event | Transition) -> None:
        """Run the hook, sync or async, and return when it has ended."""
        if self.is_workers and _is_left(event):
            return
        if isinstance(event, Transition) and not is_given_up(event.run, event.journal):
            _run(self._delivery(event))

    def areceive(self, event: Event | Transition) -> Awaitable[None] | None:
        """Return the run of the hook, to be awaited."""
        if self.is_workers and _is_left(event):
            return None
        if isinstance(event, Transition) and not is_given_up(event.run, event.journal):
            return _arun(self._delivery(event))

        return None

    def _delivery(self, fact: Transition) -> Delivery:
        delivery = self.kind(self.hook, fact, fact.next_ordinal, fact.bus)
        # The row of the first has recorded its beginning.
        delivery.is_begun = fact.next_ordinal == 0
        fact.next_ordinal += 1

        return delivery

    def end(self) -> None:
        """Do nothing: no event is held."""

    def close(self) -> None:
        """Do nothing: no event is held."""


def _is_left(event: Event | Transition) -> bool:
    """Return whether a worker runs the hook: not where the transition is not recorded for others.

    Then it runs here: rather than never.
    """
    ledger = event.journal if isinstance(event, Transition) else None

    return ledger is not None and ledger.has_workers


def redeliver(
    hook: Hook,
    fact: Transition,
    ordinal: int,
    attempts: int,
    limit: int,
    *,
    kind: DeliveryKind = Delivery,
) -> None:
    """Run the remaining attempts of a delivery, from sync code, and record their outcomes.

    `attempts` is how many have begun before, in this process or in another; there are `limit` at
    most. If none remains, the delivery is dead-lettered.

    Raises:
        BaseException: whatever other than an Exception the hook raised.
    """
    delivery = kind(hook, fact, ordinal, current_bus())
    delivery.attempt = attempts
    delivery.max_attempts = limit
    if attempts >= limit:
        delivery.give_up()
    else:
        _run(delivery)


def _run(delivery: Delivery) -> None:
    delay: float | None = 0.0
    while delay is not None:
        delivery.attempt += 1
        error: BaseException | None = None
        try:
            _attempt(delivery, delay)
        except BaseException as raised:  # noqa: BLE001 - the delivery decides
            error = raised
        delay = delivery.end_attempt(error)


async def _arun(delivery: Delivery) -> None:
    delay: float | None = 0.0
    while delay is not None:
        delivery.attempt += 1
        error: BaseException | None = None
        try:
            await _aattempt(delivery, delay)
        except BaseException as raised:  # noqa: BLE001 - the delivery decides
            error = raised
        delay = delivery.end_attempt(error)


def _attempt(delivery: Delivery, delay: float) -> None:
    mask = this_thread.mask
    phase, bodies = mask.phase, mask.bodies
    try:
        if phase is ENGINE:
            # A signal that is pending stays so: it must not interrupt the hook. Nor must what
            # stops the bodies of the runs around it.
            mask.phase, mask.bodies = HOOK, []
        if delay:
            sleep(delay)
        delivery.begin()
        if delivery.limit_seconds is not None:
            _attempt_within_limit(delivery, delivery.limit_seconds)
        elif delivery.hook.is_async:
            background_portal.run(delivery.acall())
        elif delivery.hook.timeout_seconds is None:
            delivery.call_blocking()
        else:
            _call_within(delivery, delivery.hook.timeout_seconds)
    finally:
        mask.phase, mask.bodies = phase, bodies


def _attempt_within_limit(delivery: Delivery, limit: float) -> None:
    """Make an attempt that ends in any case, also if an async hook blocks its event loop."""
    if not delivery.hook.is_async:
        _call_within(delivery, delivery.hook.timeout_seconds or limit)
        return
    seconds = (delivery.hook.timeout_seconds or limit) + BLOCKED_SECONDS
    try:
        _call_within(delivery, seconds, lambda: background_portal.run(delivery.acall()))
    except HookTimeout:
        # Its thread is blocked: the next hooks get another loop.
        background_portal.reset()
        raise


def _call_within(
    delivery: Delivery, seconds: float, call: Callable[[], object] | None = None
) -> None:
    """Call a hook in a thread of its own, where nothing can stop it after its timeout."""
    future = in_thread(call or delivery.call_blocking)
    try:
        outcome = future.result(seconds)
    except TimeoutError:
        raise delivery.timed_out() from None
    unwrap(outcome)


async def _aattempt(delivery: Delivery, delay: float) -> None:
    if delay:
        await asyncio.sleep(delay)
    delivery.begin()
    if delivery.hook.is_async:
        await delivery.acall()
        return
    # A sync hook may block; the loop must not.
    if delivery.hook.timeout_seconds is None:
        result = await to_thread.run_sync(
            delivery.call, abandon_on_cancel=True, limiter=_thread_limiter()
        )
    else:
        # Not a thread of the pool: one that never returns would keep the process alive.
        future = in_thread(delivery.call)
        try:
            async with delivery.limit():
                result = unwrap(await asyncio.wrap_future(future))
        except HookTimeout:
            future.add_done_callback(_close_coroutine)
            raise
    if inspect.iscoroutine(result):
        await delivery.await_result(result)


def _thread_limiter() -> CapacityLimiter:
    """Return what limits the threads of sync hooks on this event loop, and nothing else."""
    limiter = _limiter.get()
    if limiter is None:
        limiter = CapacityLimiter(THREADS)
        _limiter.set(limiter)

    return limiter


def _close_coroutine(future: Future[Outcome[object]]) -> None:
    """Close the coroutine that a plain function returns after its timeout."""
    result, _ = future.result()
    if inspect.iscoroutine(result):
        result.close()
