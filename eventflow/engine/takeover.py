"""Driving a run on, in another thread, while its cancelled body still goes on."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from time import monotonic
from typing import Final

from eventflow.engine.effects import TakenOver, shielded
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import BodyAbandoned, carry_on, throw
from eventflow.interrupts.scopes import (
    GRACE_SECONDS,
    CancelScope,
    Interrupted,
    live,
    thread_mask,
)
from eventflow.logs import run_logger
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Transition
from eventflow.settings import EVENTFLOW_CANCEL_SECONDS

__all__ = ["Takeover", "settled", "take_over"]

REINTERRUPT_SECONDS: Final = 1.0
"""How often a body is interrupted again that has gone on longer than it may."""

TURN_SECONDS: Final = 0.25
"""How long an event loop has to show that it is turning."""

_STOPPED: Final = (Interrupted, asyncio.CancelledError)


def take_over(invocation: Invocation, below: list[CancelScope]) -> None:
    """Take a run over from the driver that waits for its body, unless the body has ended."""
    takeover = Takeover(invocation, below)
    if invocation.run.cancel_scope.take_over(invocation, takeover):
        takeover.begin()


class Takeover:
    """Drives a run on without its body: Cancelling at once, then Cancelled, or Crashed.

    The life of the run stands where its body was called; whoever drives it may go on from there.
    The body's own driver is told to when the body has ended at last, and takes what this came to.
    """

    def __init__(self, invocation: Invocation, below: list[CancelScope]) -> None:
        self._invocation = invocation
        self._below = [one.takeover for one in below if one.takeover is not None]
        self._body_ended = threading.Event()
        self.overdue = False
        self._outcome: Future[LazyState] = Future()
        self._outcome.set_running_or_notify_cancel()

    def begin(self) -> None:
        """Drive the run on, in a thread of its own, in the context of the body."""
        threading.Thread(
            target=self._invocation.around.run,
            args=[self._drive],
            name="eventflow-takeover",
            daemon=True,
        ).start()

    def _drive(self) -> None:
        invocation = self._invocation
        thread_mask().enter_engine()
        try:
            step = throw(invocation.lifecycle, BodyAbandoned())
            self._outcome.set_result(
                carry_on(invocation, invocation.lifecycle, step, self._publish)
            )
        except BaseException as error:  # noqa: BLE001 - raised by the body's own driver
            self._outcome.set_exception(error)
        live.pop(invocation.run.number, None)
        if invocation.future is not None:
            invocation.future.finish()
        while not self._body_ended.wait(REINTERRUPT_SECONDS):
            invocation.run.cancel_scope.reinterrupt()

    def _publish(self, fact: Transition) -> None:
        """Publish on the run's own event loop, where it has one that is turning."""
        loop = self._invocation.run.cancel_scope.loop
        if loop is None or not _is_turning(loop):
            self._invocation.bus.publish_transition(fact)
        else:
            asyncio.run_coroutine_threadsafe(self._apublish(fact), loop).result()

    async def _apublish(self, fact: Transition) -> None:
        left = self._invocation.bus.begin_transition(fact)
        if left is not None:
            await left

    def linger(self) -> bool:
        """Wait for the body until its time is over; says whether it has ended."""
        cancel_scope = self._invocation.run.cancel_scope
        until = cancel_scope.asked + EVENTFLOW_CANCEL_SECONDS.value()
        ended = self._body_ended.wait(max(0.0, until - monotonic()))
        for takeover in self._below:
            takeover._outcome.exception()  # noqa: SLF001 - its own kind
        if self._below and not ended:
            # It may have waited for those that have been given up just now.
            ended = self._body_ended.wait(GRACE_SECONDS)
        if not ended:
            self.overdue = True
            cancel_scope.reinterrupt()

        return ended

    def end_body(self, error: BaseException | None) -> None:
        """Say that the body has ended after all."""
        self._body_ended.set()
        if isinstance(error, Exception):
            run_logger(self._invocation.run).debug(
                "The body that was given up ended", exc_info=error
            )

    def settle(self, error: BaseException | None) -> LazyState:
        """Give the state that the run ended in, to the driver whose body has ended at last.

        Raises:
            BaseException: what ended the body from outside, or what a hook let through.
        """
        self.end_body(error)
        state = self._outcome.result()
        if error is not None and not isinstance(error, (Exception, *_STOPPED)):
            raise error

        return state

    async def asettle(self, error: BaseException | None) -> LazyState:
        """Do what `settle` does, on an event loop."""
        self.end_body(error)
        cancel_scope = self._invocation.run.cancel_scope
        try:
            await shielded(asyncio.wait([asyncio.wrap_future(self._outcome)]))
        except asyncio.CancelledError as cancelled:  # perhaps by ourselves, and late
            error = error or cancelled
        task = asyncio.current_task()
        others = task is not None and cancel_scope.uncancel(task)
        ours = (Exception, Interrupted) if others else (Exception, *_STOPPED)
        if error is not None and not isinstance(error, ours):
            raise error

        return self._outcome.result()


async def settled(error: BaseException | None) -> None:
    """Wait, on an event loop, for the end of a run that was taken over from its driver."""
    if isinstance(error, TakenOver):
        await error.takeover.asettle(error.error)


def _is_turning(loop: asyncio.AbstractEventLoop) -> bool:
    turned = threading.Event()
    try:
        loop.call_soon_threadsafe(turned.set)
    except RuntimeError:  # it is closed
        return False

    return turned.wait(TURN_SECONDS)
