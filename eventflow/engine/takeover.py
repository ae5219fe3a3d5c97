"""Taking a run over in another thread when its cancelled body does not stop."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from time import monotonic
from typing import Final

from eventflow.engine.effects import TakenOver, shielded
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import BodyAbandoned, run_to_end, throw
from eventflow.interrupts.masks import Interrupted, this_thread
from eventflow.interrupts.scopes import GRACE_SECONDS, CancelScope, active_runs
from eventflow.logs import run_logger
from eventflow.primitives.texts import is_a
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Transition
from eventflow.settings import EVENTFLOW_CANCEL_SECONDS

__all__ = ["Takeover", "join_takeover", "take_over"]

REINTERRUPT_SECONDS: Final = 1.0
"""How often an overdue body is interrupted again."""

RESPONSE_SECONDS: Final = 0.25
"""How long an event loop may take to call back before it counts as blocked."""

_STOPPED: Final = (Interrupted, asyncio.CancelledError)


def take_over(invocation: Invocation, descendants: list[CancelScope]) -> None:
    """Take a run over from the driver of its body, unless the body has ended."""
    takeover = Takeover(invocation, descendants)
    if invocation.run.cancel_scope.take_over(invocation, takeover):
        takeover.begin()


class Takeover:
    """Drives a run to its end without its body: Cancelling at once, then Cancelled or Crashed.

    The lifecycle is suspended where the body was called, and this resumes it from there. When
    the body ends at last, its own driver joins the takeover and returns the same final state.
    """

    def __init__(self, invocation: Invocation, descendants: list[CancelScope]) -> None:
        self._invocation = invocation
        self._descendants = [scope.takeover for scope in descendants if scope.takeover is not None]
        self._body_ended = threading.Event()
        self.given_up = False
        self._outcome: Future[LazyState] = Future()
        self._outcome.set_running_or_notify_cancel()

    def begin(self) -> None:
        """Drive the run in a thread of its own, in the context of the body."""
        threading.Thread(
            target=self._invocation.body_context.run,
            args=[self._drive],
            name="eventflow-takeover",
            daemon=True,
        ).start()

    def _drive(self) -> None:
        invocation = self._invocation
        this_thread.mask.enter_engine()
        try:
            request = throw(invocation.lifecycle, BodyAbandoned())
            self._outcome.set_result(
                run_to_end(invocation, invocation.lifecycle, request, self._publish)
            )
        except BaseException as error:  # noqa: BLE001 - raised by the body's own driver
            self._outcome.set_exception(error)
        active_runs.pop(invocation.run.number, None)
        if invocation.future is not None:
            invocation.future.finish()
        while not self._body_ended.wait(REINTERRUPT_SECONDS):
            invocation.run.cancel_scope.reinterrupt()

    def _publish(self, transition: Transition) -> None:
        """Publish on the run's own event loop, if it has one that responds."""
        loop = self._invocation.run.cancel_scope.loop
        if loop is None or not _is_responsive(loop):
            self._invocation.bus.publish_transition(transition)
        else:
            asyncio.run_coroutine_threadsafe(self._apublish(transition), loop).result()

    async def _apublish(self, transition: Transition) -> None:
        awaitable = self._invocation.bus.begin_transition(transition)
        if awaitable is not None:
            await awaitable

    def wait_for_body(self) -> bool:
        """Wait for the body, for EVENTFLOW_CANCEL_SECONDS at most; return whether it has ended."""
        cancel_scope = self._invocation.run.cancel_scope
        until = cancel_scope.cancelled_at + EVENTFLOW_CANCEL_SECONDS.value()
        ended = self._body_ended.wait(max(0.0, until - monotonic()))
        for takeover in self._descendants:
            takeover.wait()
        if self._descendants and not ended:
            # It may have waited for the descendants, which have been abandoned just now.
            ended = self._body_ended.wait(GRACE_SECONDS)
        if not ended:
            self.given_up = True
            cancel_scope.reinterrupt()

        return ended

    def wait(self) -> None:
        """Wait until the run has ended."""
        self._outcome.exception()

    def note_body_end(self, error: BaseException | None) -> None:
        """Note that the body has ended after all, with the error that it raised."""
        self._body_ended.set()
        if is_a(error, Exception):
            run_logger(self._invocation.run).debug(
                "The body that was given up ended", exc_info=error
            )

    def join(self, error: BaseException | None) -> LazyState:
        """Return the final state of the run to the driver whose body has ended.

        Raises:
            BaseException: what ended the body from outside, or what a hook let through.
        """
        self.note_body_end(error)
        state = self._outcome.result()
        if error is not None and not is_a(error, (Exception, *_STOPPED)):
            raise error

        return state

    async def ajoin(self, error: BaseException | None) -> LazyState:
        """Do what `join` does from async code."""
        self.note_body_end(error)
        cancel_scope = self._invocation.run.cancel_scope
        try:
            await shielded(asyncio.wait([asyncio.wrap_future(self._outcome)]))
        except asyncio.CancelledError as cancelled:  # perhaps a late one of our own
            error = error or cancelled
        task = asyncio.current_task()
        cancelled_by_others = task is not None and cancel_scope.uncancel(task)
        expected = (Exception, Interrupted) if cancelled_by_others else (Exception, *_STOPPED)
        if error is not None and not is_a(error, expected):
            raise error

        return self._outcome.result()


async def join_takeover(error: BaseException | None) -> None:
    """Await the end of the run if the error is a `TakenOver`."""
    if is_a(error, TakenOver):
        await error.takeover.ajoin(error.error)


def _is_responsive(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether an event loop is running and not blocked."""
    responded = threading.Event()
    try:
        loop.call_soon_threadsafe(responded.set)
    except RuntimeError:  # it is closed
        return False

    return responded.wait(RESPONSE_SECONDS)
