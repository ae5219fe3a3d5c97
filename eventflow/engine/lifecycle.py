"""The life of a run: one generator that decides, and thin drivers that carry it out.

`life` does no I/O. It yields what is to be done: a `Transition` to publish, or a `Effect`; it is
told the outcome, or has the exception thrown in. A driver for sync code and one for async code
do the publishing, calling, waiting and sleeping; a generator body has one more of each kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, cast

from eventflow.engine.dataflow import NOTHING, state_of
from eventflow.engine.effects import (
    CALL,
    Ask,
    AwaitBody,
    AwaitUpstream,
    CancelChildren,
    Effect,
    Sleep,
    TakenOver,
)
from eventflow.engine.invocation import Invocation
from eventflow.engine.result_cache import MISSING, results
from eventflow.interrupts.scopes import (
    CANCELLATION,
    TIMEOUT,
    CancelScope,
    Interrupted,
    thread_mask,
)
from eventflow.logs import run_logger
from eventflow.runners import TaskScope
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.runs.run import Transition
from eventflow.settings import EVENTFLOW_CANCEL_SECONDS
from eventflow.states import (
    CANCELLED,
    PENDING,
    RUNNING,
    AwaitingRetry,
    Cached,
    Cancelled,
    Cancelling,
    Crashed,
    Failed,
    NotReady,
    StateType,
    TimedOut,
)

__all__ = ["BodyAbandoned", "Lifecycle", "carry_on", "lifecycle_of", "throw"]

Lifecycle: TypeAlias = Generator[Transition | Effect, Any, LazyState]
"""What a driver carries out; it returns the state in which the run ended."""


class BodyAbandoned(BaseException):
    """Thrown into a life whose cancelled body goes on: from here on it is lived without it."""


class _Closed(BaseException):
    """Stands for a GeneratorExit, which would close what a life delegates to, without a word."""

    def __init__(self, error: GeneratorExit) -> None:
        super().__init__()
        self.error = error


def throw(lifecycle: Lifecycle, error: BaseException) -> Transition | Effect:
    """Tell a life that its last step raised; gives the next step."""
    if not isinstance(error, Exception):
        thread_mask().dealing = error

    return lifecycle.throw(_Closed(error) if isinstance(error, GeneratorExit) else error)


def carry_on(
    invocation: Invocation,
    lifecycle: Lifecycle,
    step: Any,
    publish: Callable[[Transition], None] | None = None,
) -> LazyState:
    """Do, from sync code, what a life asks for, to its end; gives the state it ends in.

    Raises:
        BaseException: as `life`.
    """
    publish = publish or invocation.bus.publish_transition
    try:
        while True:
            try:
                told = publish(step) if type(step) is Transition else step.run(invocation)
            except TakenOver as taken_over:
                return cast("LazyState", taken_over.takeover.settle(taken_over.error))
            except BaseException as error:  # noqa: BLE001 - the life decides
                step = throw(lifecycle, error)
            else:
                step = lifecycle.send(told)
    except StopIteration as end:
        return cast("LazyState", end.value)


_CANCELLING: Final = frozenset({StateType.CANCELLING, StateType.CANCELLED})
_STOPPED: Final = (Interrupted, asyncio.CancelledError)


def lifecycle_of(invocation: Invocation) -> Lifecycle:
    """Live one run from Pending to its end.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through, once all
            that has to be published is published.
    """
    run = invocation.run
    late: list[BaseException] = []
    try:
        if run.entered is None:
            yield run.enter(LazyState(PENDING, "Pending"))
        final = _early_end(invocation) or (yield from _work(invocation))
    except BodyAbandoned:
        final = yield from _outlive(invocation, late)
    except BaseException as error:  # noqa: BLE001 - raised again at the end
        final = _broken_off(invocation, error, late)
    scope = invocation.scope
    if scope is not None:
        yield from _close(scope, late)
    if run.cancel_scope.close() or final.type in _CANCELLING:
        final = yield from _cancelled(invocation, final, late)
    try:
        yield run.enter(final)
    except BaseException as error:  # noqa: BLE001 - raised when the run has been closed
        late.append(_seen(error))
    if late:
        raise late[0]

    return final


def _close(scope: TaskScope, late: list[BaseException]) -> Generator[Any, Any, None]:
    """Let nothing more be submitted, and nothing outlive its flow."""
    if not scope.close():
        yield from _surely(CancelChildren(scope), late)
        scope.close()


def _cancelled(
    invocation: Invocation, final: LazyState, late: list[BaseException]
) -> Generator[Any, Any, LazyState]:
    """Enter Cancelling, for a run that was cancelled or says so; gives the state to end in."""
    run = invocation.run
    if run.cancel_scope.takeover is not None:  # then it is Cancelling already
        return final
    if final.type not in _CANCELLING:
        final = BuiltState(Cancelled(message="The run was cancelled."))
    name = final.name if final.type is CANCELLED else "Cancelled"
    yield from _surely(run.enter(Cancelling(message=final.message)), late)

    # Made only now: a state begins when it is entered.
    return BuiltState(Cancelled(name=name, message=final.message))


def _outlive(invocation: Invocation, late: list[BaseException]) -> Generator[Any, Any, LazyState]:
    """End a run whose cancelled body goes on, if need be before the body does."""
    yield from _surely(invocation.run.enter(Cancelling(message="The run was cancelled.")), late)
    scope = invocation.scope
    if scope is not None and not scope.empty:
        yield from _surely(CancelChildren(scope), late)
    if (yield AwaitBody()):
        return BuiltState(Cancelled(message="The run was cancelled."))
    seconds = EVENTFLOW_CANCEL_SECONDS.value()

    message = f"The body did not stop within {seconds:g} s of its cancellation."

    return BuiltState(Crashed(message=message))


def _surely(step: Transition | Effect, late: list[BaseException]) -> Generator[Any, Any, None]:
    """Do what has to be done although the run is over; what interrupts it is raised later."""
    try:
        yield step
    except BaseException as error:  # noqa: BLE001 - raised when the run has been closed
        late.append(_seen(error))


def _seen(error: BaseException) -> BaseException:
    return error.error if isinstance(error, _Closed) else error


def _broken_off(
    invocation: Invocation, error: BaseException, late: list[BaseException]
) -> LazyState:
    error = _seen(error)
    cancel_scope = invocation.run.cancel_scope
    others = cancel_scope.take_back()
    if cancel_scope.reason is CANCELLATION:
        if others if isinstance(error, _STOPPED) else not isinstance(error, Exception):
            late.append(error)
        return BuiltState(Cancelled(message="The run was cancelled."))
    if isinstance(error, Exception):
        message = f"The run could not begin: {_described(error)}"
        return BuiltState(Failed(message=message, data=error))
    late.append(error)
    if isinstance(error, _STOPPED) and cancel_scope.stopped_above:
        return BuiltState(Cancelled(message="A run around this one was stopped."))

    return BuiltState(Crashed(message=f"The run was ended by {_described(error)}.", data=error))


def _described(error: BaseException) -> str:
    text = str(error)

    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _early_end(invocation: Invocation) -> LazyState | None:
    """Give the state of a run that ends before anything of it is done."""
    if invocation.refused is not None:
        raise invocation.refused
    cancel_scope = invocation.run.cancel_scope
    if cancel_scope.reason is CANCELLATION:
        return BuiltState(Cancelled(message="The run was cancelled before it began."))
    if cancel_scope.parent is not None and cancel_scope.parent.takeover is not None:
        return BuiltState(Cancelled(message="The run around this one goes on without its body."))

    return None


def _work(invocation: Invocation) -> Lifecycle:
    """Do what lies between Pending and the end; gives the state to end in."""
    if invocation.needs is not NOTHING:
        waited_for = invocation.upstream()
        if waited_for:
            yield AwaitUpstream(waited_for)
        reason = invocation.not_ready()
        if reason is not None:
            return BuiltState(NotReady(message=reason))
    definition = invocation.definition
    invocation.prepare(validate=definition.validate_parameters)
    if definition.cache_key_fn is None:
        return (yield from _attempts(invocation))

    return (yield from _kept_or_made(invocation, definition.cache_key_fn))


def _kept_or_made(invocation: Invocation, key_fn: Callable[..., object]) -> Lifecycle:
    definition = invocation.definition
    kept = invocation.cached(key_fn, refresh=definition.refresh_cache)
    if kept is not MISSING:
        return BuiltState(Cached(data=kept))
    final = yield from _attempts(invocation)
    if final.is_completed and invocation.cache_key is not None:
        results().put(invocation.cache_key, final.data, definition.cache_expiration)

    return final


def _attempts(invocation: Invocation) -> Lifecycle:
    run, cancel_scope = invocation.run, invocation.run.cancel_scope
    name = "Running"
    while True:
        if cancel_scope.reason is CANCELLATION:
            return BuiltState(Cancelled(message="The run was cancelled before its body began."))
        yield run.enter(LazyState(RUNNING, name))
        try:
            final = state_of((yield CALL))
        except BodyAbandoned:
            raise
        except BaseException as error:  # noqa: BLE001 - any Exception fails the run
            final = yield from _broken(invocation, error)
        if cancel_scope.reason is not None:
            final = _stopped(cancel_scope, final)
        if not final.is_failed or not (yield from _wants_retry(invocation, final)):
            return final
        yield from _await_retry(invocation, final)
        name = "Retrying"


def _stopped(cancel_scope: CancelScope, final: LazyState) -> LazyState:
    """Give the state in which an attempt ends that was told to stop."""
    if cancel_scope.reason is CANCELLATION:
        return BuiltState(Cancelled(message="The run was cancelled."))
    # A body that ended in spite of its timeout, or of its interrupt, was in time.
    cancel_scope.take_timeout()
    cancel_scope.take_back()

    return final


def _broken(invocation: Invocation, error: BaseException) -> Lifecycle:
    """Give the state in which an attempt ends whose body was broken off, or raise again.

    Raises:
        BaseException: what ends the run from outside.
    """
    yield from _abandon(invocation)
    cancel_scope = invocation.run.cancel_scope
    if isinstance(error, Exception):
        message = f"The body raised {_described(error)}"
        return _timed_out(invocation) or BuiltState(Failed(message=message, data=error))
    if not isinstance(error, _STOPPED):
        raise error
    # Our own timeout is behind it, unless somebody else stops the task as well.
    others = cancel_scope.reason is TIMEOUT and cancel_scope.take_back()
    state = None if others else _timed_out(invocation)
    if state is None:
        raise error

    return state


def _await_retry(invocation: Invocation, final: LazyState) -> Generator[Any, Any, None]:
    run = invocation.run
    delay = invocation.definition.retry.delay(run.run_count)
    message = f"Attempt {run.run_count} failed; the next begins in {delay:g} s."
    yield run.enter(AwaitingRetry(message=message, error=final.error))
    if delay:
        yield Sleep(delay)


def _abandon(invocation: Invocation) -> Generator[Any, Any, None]:
    """Let no submitted task outlive an attempt that failed."""
    scope = invocation.scope
    if scope is not None and not scope.empty:
        yield CancelChildren(scope)


def _timed_out(invocation: Invocation) -> LazyState | None:
    cancel_scope = invocation.run.cancel_scope
    if not cancel_scope.take_timeout():
        return None
    cancel_scope.take_back()
    seconds = invocation.definition.timeout_seconds
    message = f"The body did not end within its timeout of {seconds:g} s."

    return BuiltState(TimedOut(message=message, data=TimeoutError(message)))


def _wants_retry(invocation: Invocation, final: LazyState) -> Generator[Any, Any, bool]:
    run, definition = invocation.run, invocation.definition
    if run.run_count > definition.retry.retries or invocation.closed_early:
        return False
    condition = definition.retry_condition_fn
    if condition is None:
        return True
    try:
        return bool((yield Ask(condition, (definition, run, final.state))))
    except Exception as error:  # noqa: BLE001 - a condition may do anything
        run_logger(run).error("The retry condition failed; no retry", exc_info=error)
        return False
