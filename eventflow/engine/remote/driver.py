"""Driving a task run whose body a worker executes, without a thread that waits for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError
from contextvars import Context
from functools import partial
from typing import Any, Final

from eventflow.engine.drivers import Activation, perform
from eventflow.engine.effects import AWAIT_LEAVE, CALL, AwaitComputation, Sleep
from eventflow.engine.invocation import Invocation
from eventflow.engine.lifecycle import lifecycle_of, throw
from eventflow.engine.remote.attempts import (
    PLAIN_VALUE,
    REFUSED,
    STOPPED,
    TIMED_OUT,
    Outcome,
)
from eventflow.engine.remote.inbox import Inbox, Waiting
from eventflow.engine.remote.messages import handle_message
from eventflow.engine.remote.packing import (
    Attempt,
    pack_arguments,
    pack_flow,
    pack_function,
    run_facts,
)
from eventflow.engine.remote.unpacking import result_of
from eventflow.engine.remote.worker import execute
from eventflow.interrupts.masks import Interrupted
from eventflow.interrupts.portals import timer_portal
from eventflow.interrupts.scopes import CANCELLATION
from eventflow.logs import run_logger
from eventflow.runners.executors import ExecutorTaskRunner
from eventflow.runners.failures import WorkerLostError
from eventflow.runners.frames import CANCEL, GO, NO
from eventflow.runners.lines import Line
from eventflow.runners.pools import Shipment
from eventflow.runners.threads import default
from eventflow.runs.futures import Future
from eventflow.runs.lazy_states import RunningElsewhere
from eventflow.runs.run import Transition

__all__ = ["RemoteRun"]

VERDICT_SECONDS: Final = 1.0
"""How long an executor has to say how a call ended, once the worker is gone."""


class RemoteRun:
    """Drives one submitted task run. Its lifecycle is suspended while a worker has the body.

    What concerns it comes from many threads, as messages. They are handled one after the other, in
    a thread of the pool at home: a hook may take its time.
    """

    __slots__ = (
        *("_context", "_future", "_received", "_inbox", "_invocation", "_line"),
        *("_outcome", "_request", "_runner", "_shipment", "_ticket"),
    )

    def __init__(
        self,
        invocation: Invocation,
        future: Future[Any],
        context: Context,
        runner: ExecutorTaskRunner,
    ) -> None:
        self._invocation = invocation
        self._future = future
        self._context = context
        self._runner = runner
        self._inbox = Inbox(context)
        # What the lifecycle is suspended at, if it is.
        self._request: Any = None
        self._ticket = 0
        self._shipment: Shipment | None = None
        self._line: Line | None = None
        self._received = 0
        self._outcome: Outcome | None = None
        invocation.shipped = True
        invocation.run.cancel_scope.on_stop = partial(self._inbox.post, self._stop)

    def begin(self) -> None:
        """Ship the first attempt; what else there is to do is done in a thread of the pool."""
        self._inbox.open(self._context.run(self._begin))

    def helper(self) -> Waiting:
        """Return what lets a thread of the pool at home wait for the run."""
        return Waiting(self._invocation, self._future)

    def receive(self, line: Line, values: list[Any]) -> None:
        """Take what a worker says of the attempt."""
        kind, ticket = values[0], values[1]
        if kind == "leave":
            asked = partial(self._leave_asked, line, ticket, values[2])
            self._inbox.post(asked, here=self._calls_nobody())
        elif kind == "ended":
            ended = partial(self._ended, ticket, values[2], values[3])
            self._inbox.post(ended, here=self._calls_nobody())
        else:
            self._inbox.post(partial(self._told, ticket, kind, values[2:]))

    def _calls_nobody(self) -> bool:
        """Return whether no hook and no listener is called for what the run enters."""
        invocation = self._invocation

        return not (invocation.definition.origin.declared or invocation.bus.subscriptions)

    def line_ended(self, line: Line) -> None:
        """Take notice that the worker that executes the attempt is gone."""
        self._inbox.post(partial(self._line_ended, line))

    # -- the lifecycle ----------------------------------------------------------------------

    def _begin(self) -> Callable[[], None] | None:
        """Begin the lifecycle, and return what is to be done next, which may call hooks."""
        lifecycle = self._invocation.lifecycle = lifecycle_of(self._invocation)
        with Activation(self._invocation):
            request = next(lifecycle)
            if request is not AWAIT_LEAVE:
                return partial(self._resume_with, request)
            try:
                self._suspend(request)
            except Exception as error:  # noqa: BLE001 - the run fails with it
                return partial(self._resume, None, error)

        return None

    def _resume_with(self, request: Any) -> None:
        with Activation(self._invocation):
            ended = self._carry_out(request)
        if ended:
            self._finish()

    def _resume(self, result: Any = None, error: BaseException | None = None) -> None:
        """Send the lifecycle the result of what it was suspended at, or the error."""
        self._request = None
        lifecycle, ended = self._invocation.lifecycle, False
        try:
            with Activation(self._invocation):
                request = lifecycle.send(result) if error is None else throw(lifecycle, error)
                ended = self._carry_out(request)
        except StopIteration:
            ended = True
        except BaseException as raised:  # noqa: BLE001 - it is in the state
            self._log(raised)
            ended = True
        if ended:
            self._finish()

    def _carry_out(self, request: Any) -> bool:
        """Carry requests out until one has to be waited for; return whether the run has ended."""
        invocation, lifecycle = self._invocation, self._invocation.lifecycle
        try:
            while True:
                try:
                    if type(request) is not Transition and self._suspend(request):
                        return False
                    result = perform(invocation, request)
                except BaseException as error:  # noqa: BLE001 - the lifecycle decides
                    request = throw(lifecycle, error)
                else:
                    request = lifecycle.send(result)
        except StopIteration:
            return True
        except BaseException as error:  # noqa: BLE001 - it is in the state
            self._log(error)
            return True

    def _suspend(self, request: Any) -> bool:
        """Begin to wait for what was requested; return False if it is to be performed here."""
        if request is AWAIT_LEAVE:
            self._ship()
        elif request is CALL:
            self._grant()
        elif isinstance(request, Sleep):
            timer_portal.call_later(
                request.seconds, partial(self._inbox.post, partial(self._wake, request))
            )
        elif isinstance(request, AwaitComputation):
            request.future.add_done_callback(
                lambda _: self._inbox.post(partial(self._wake, request)),
            )
        else:
            return False
        self._request = request
        if self._invocation.run.cancel_scope.reason is not None:
            # It was stopped when it was not suspended yet.
            self._inbox.post(self._stop)

        return True

    def _wake(self, request: Any) -> None:
        if self._request is request:
            self._resume()

    def _finish(self) -> None:
        self._forget()
        self._invocation.run.cancel_scope.on_stop = None
        if self._future.calls_users:
            default.submit(self._future.finish)
        else:
            self._future.finish()

    def _log(self, error: BaseException) -> None:
        run = self._invocation.run
        if run.state is None or run.state.data is not error:
            run_logger(run).debug("The submitted run was ended", exc_info=error)

    # -- an attempt -------------------------------------------------------------------------

    def _ship(self) -> None:
        """Ship the attempt.

        Raises:
            UnpicklableError: what it needs cannot be sent.
        """
        invocation = self._invocation
        function, arguments = pack_function(invocation.definition), pack_arguments(invocation)
        flow = pack_flow(invocation.context.flow_run)
        self._forget()
        ticket = self._ticket = self._runner.expect(self)
        self._line, self._outcome, self._received = None, None, 0
        facts = run_facts(invocation)
        attempt = Attempt(self._runner.home_address, ticket, function, arguments, facts, flow)
        self._shipment = Shipment(attempt, partial(self._returned, ticket))
        self._runner.ship(execute, self._shipment)

    def _leave_asked(self, line: Line, ticket: int, copy: int) -> None:
        """Give leave to begin, once."""
        if line.closed:
            return
        if ticket != self._ticket or self._request is not AWAIT_LEAVE:
            line.answer(NO, ticket)
            return
        shipment = self._shipment
        assert shipment is not None  # noqa: S101 - it asks because it was shipped
        shipment.begun = True
        shipment.granted = copy
        self._line = line
        name = "Retrying" if self._invocation.run.run_count else "Running"
        self._resume(RunningElsewhere(name, line.host, line.pid))
        if not self._is_executed(ticket):
            line.answer(NO, ticket)

    def _is_executed(self, ticket: int) -> bool:
        return self._request is CALL and self._ticket == ticket

    def _grant(self) -> None:
        invocation, line = self._invocation, self._line
        assert line is not None  # noqa: S101 - leave was asked on it
        invocation.body_context = self._context.copy()
        invocation.run.cancel_scope.executing = invocation
        line.granted = self
        if line.closed:
            self._inbox.post(partial(self._line_ended, line))
        line.answer(GO, self._ticket)

    def _told(self, ticket: int, kind: str, values: list[Any]) -> None:
        """Log, or publish, what the body did."""
        if ticket != self._ticket:
            return
        self._received += 1
        try:
            handle_message(kind, values)
        except Exception as error:  # noqa: BLE001 - a listener or a handler may raise anything
            run_logger(self._invocation.run).error(
                "What a worker has sent could not be taken", exc_info=error
            )
        if self._outcome is not None:
            self._end_attempt()

    def _ended(self, ticket: int, value: Any, said: int) -> None:
        """Take a plain result, after which the worker goes on with other attempts."""
        if self._is_executed(ticket):
            self._outcome = Outcome(PLAIN_VALUE, value, said)
            self._end_attempt()

    def _returned(self, ticket: int, copy: int, returned: Any, error: BaseException | None) -> None:
        """Note how a call ended; in whichever thread the executor says so."""
        is_plain = error is None and returned.how == PLAIN_VALUE
        self._inbox.post(
            partial(self._call_ended, ticket, copy, returned, error),
            here=is_plain and self._calls_nobody(),
        )

    def _call_ended(
        self, ticket: int, copy: int, returned: Any, error: BaseException | None
    ) -> None:
        shipment = self._shipment
        if ticket != self._ticket or shipment is None:
            return
        if self._request is AWAIT_LEAVE:
            self._not_begun(shipment, error)
        elif copy == shipment.granted and self._outcome is None:
            if error is not None:
                self._lost()
            else:
                self._outcome = returned
                self._end_attempt()

    def _not_begun(self, shipment: Shipment, error: BaseException | None) -> None:
        """Ship an attempt again whose call has ended although it was given no leave."""
        if not (error is None or isinstance(error, BrokenExecutor | CancelledError)):
            self._forget()
            self._resume(error=error)
        elif not shipment.open and not shipment.withdrawn:
            self._runner.ship(execute, shipment)

    def _end_attempt(self) -> None:
        """Resume with the outcome, once all is heard that the worker has said before."""
        line, outcome = self._line, self._outcome
        assert line is not None  # noqa: S101 - it was given leave
        assert outcome is not None  # noqa: S101 - the call has ended
        if outcome.sent > self._received and not line.closed:
            return
        if outcome.how == REFUSED:
            # The engine has called it again, and given up the call that was given leave.
            line.answer(CANCEL, self._ticket)
            self._lost()
            return
        if not self._leave_body(None):
            return
        if outcome.how == PLAIN_VALUE:
            self._resume(outcome.value)
            return
        value, error = result_of(outcome)
        if outcome.how == TIMED_OUT:
            cancel_scope = self._invocation.run.cancel_scope
            cancel_scope.expire(cancel_scope.start_timer())
        self._resume(value, Interrupted() if outcome.how in (TIMED_OUT, STOPPED) else error)

    def _leave_body(self, error: BaseException | None) -> bool:
        """Note that the body has ended; return False if another thread has taken the run over."""
        self._forget()
        if self._line is not None:
            self._line.granted = None
        cancel_scope = self._invocation.run.cancel_scope
        if cancel_scope.leave_body(self._invocation):
            return True
        self._request = None
        if cancel_scope.takeover is not None:
            cancel_scope.takeover.note_body_end(error)

        return False

    def _forget(self) -> None:
        self._runner.forget(self._ticket)
        self._shipment = None

    def _line_ended(self, line: Line) -> None:
        """Wait a moment for the executor's verdict: the body may have ended before its worker."""
        if self._line is not line or self._request is not CALL:
            return
        if self._outcome is not None:
            self._end_attempt()
            return
        timer_portal.call_later(
            VERDICT_SECONDS, partial(self._inbox.post, partial(self._no_verdict, self._ticket))
        )

    def _no_verdict(self, ticket: int) -> None:
        if self._is_executed(ticket) and self._outcome is None:
            self._lost()

    def _lost(self) -> None:
        line = self._line
        assert line is not None  # noqa: S101 - it was given leave
        error = WorkerLostError(line.host, line.pid)
        if not self._leave_body(error):
            return
        is_cancelled = self._invocation.run.cancel_scope.reason is CANCELLATION
        self._resume(error=Interrupted() if is_cancelled else error)

    def _stop(self) -> None:
        """Have the body stopped, or stop waiting for what is not a body."""
        request, shipment = self._request, self._shipment
        if request is None or self._invocation.run.cancel_scope.reason is None:
            return
        if request is CALL:
            if self._line is not None:
                self._line.answer(CANCEL, self._ticket)
            return
        if shipment is not None:
            self._runner.withdraw(shipment)
            self._forget()
        self._resume(error=Interrupted())
