"""The lifecycle of a run: one generator that decides, carried out by thin drivers.

The generator does no I/O. It yields requests: a `Transition` to publish, or an `Effect` to carry
out. The driver sends it the result, or throws the exception into it. There is a driver for sync
code and one for async code, and one more of each kind for bodies that are generators.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias, cast

from eventflow.engine.dataflow import (
    NO_DEPENDENCIES,
    cancelled,
    end_of,
    end_of_last,
    futures_in,
    plain_end,
)
from eventflow.engine.effects import (
    AWAIT_LEAVE,
    CALL,
    AwaitBody,
    AwaitComputation,
    AwaitUpstream,
    CallFunction,
    CancelChildren,
    Effect,
    Sleep,
    TakenOver,
)
from eventflow.engine.invocation import Invocation
from eventflow.interrupts.masks import Interrupted, this_thread
from eventflow.interrupts.scopes import CANCELLATION, TIMEOUT, CancelScope
from eventflow.logs import run_logger
from eventflow.primitives.texts import error_text, is_a, notes_text
from eventflow.runs.lazy_states import BuiltState, LazyState
from eventflow.runs.result_cache import MISSING, Computation, results
from eventflow.runs.run import TaskRun, Transition
from eventflow.settings import EVENTFLOW_CANCEL_SECONDS
from eventflow.states import StateType
from eventflow.states.constructors import (
    AwaitingRetry,
    Cached,
    Cancelled,
    Cancelling,
    Crashed,
    Failed,
    NotReady,
    TimedOut,
)
from eventflow.states.kinds import CANCELLED, COMPLETED, FAILED, RUNNING

__all__ = ["BodyAbandoned", "Lifecycle", "lifecycle_of", "run_to_end", "throw"]

Lifecycle: TypeAlias = Generator[Transition | Effect, Any, LazyState]
"""What a driver carries out; it returns the state in which the run ended."""


class BodyAbandoned(BaseException):
    """Thrown into the lifecycle of a run that is taken over from its cancelled body."""


class _Closed(BaseException):
    """Carries a GeneratorExit into a lifecycle; thrown bare, it would close inner generators."""

    def __init__(self, error: GeneratorExit) -> None:
        super().__init__()
        self.error = error


def throw(lifecycle: Lifecycle, error: BaseException) -> Transition | Effect:
    """Throw what the last request raised into a lifecycle; return the next request."""
    if not is_a(error, Exception):
        this_thread.mask.in_flight = error

    return lifecycle.throw(_Closed(error) if is_a(error, GeneratorExit) else error)


def run_to_end(
    invocation: Invocation,
    lifecycle: Lifecycle,
    request: Any,
    publish: Callable[[Transition], None] | None = None,
) -> LazyState:
    """Carry a lifecycle out from sync code, from a request on; return the final state.

    Raises:
        BaseException: as `lifecycle_of`.
    """
    publish = publish or invocation.bus.publish_transition
    try:
        while True:
            try:
                result = (
                    publish(request) if type(request) is Transition else request.run(invocation)
                )
            except TakenOver as taken_over:
                return cast("LazyState", taken_over.takeover.join(taken_over.error))
            except BaseException as error:  # noqa: BLE001 - the lifecycle decides
                request = throw(lifecycle, error)
            else:
                request = lifecycle.send(result)
    except StopIteration as end:
        return cast("LazyState", end.value)


_CANCELLING: Final = frozenset({StateType.CANCELLING, StateType.CANCELLED})
_STOPPED: Final = (Interrupted, asyncio.CancelledError)


def lifecycle_of(invocation: Invocation) -> Lifecycle:
    """Make the lifecycle of one run, from Pending to its end.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through, once all
            that has to be published is published.
    """
    run = invocation.run
    deferred: list[BaseException] = []
    try:
        if run.entered is None:
            yield invocation.begin()
        work = _work if invocation.dependencies is NO_DEPENDENCIES else _work_after_upstream
        final = _early_end(invocation) or (yield from work(invocation))
    except BodyAbandoned:
        final = yield from _end_without_body(invocation, deferred)
    except BaseException as error:  # noqa: BLE001 - raised again when the run has ended
        final = _state_after_error(invocation, error, deferred)
    scope = invocation.scope
    if scope is not None and not scope.close():
        yield from _defer_errors(CancelChildren(scope), deferred)
        scope.close()
    if run.cancel_scope.close() or final.type in _CANCELLING:
        final = yield from _enter_cancelling(invocation, final, deferred)
    try:
        yield invocation.end(final)
    except BaseException as error:  # noqa: BLE001 - raised when the run has ended
        deferred.append(_unwrapped(error))
    if deferred:
        raise deferred[0]

    return final


def _enter_cancelling(
    invocation: Invocation, final: LazyState, deferred: list[BaseException]
) -> Generator[Any, Any, LazyState]:
    """Enter Cancelling, unless the run is in it already; return the state to end in."""
    run = invocation.run
    if run.cancel_scope.takeover is not None:  # the run is Cancelling already
        return final
    if final.type not in _CANCELLING:
        final = BuiltState(Cancelled(message="The run was cancelled."))
    name = final.name if final.type is CANCELLED else "Cancelled"
    yield from _defer_errors(run.enter(Cancelling(message=final.message)), deferred)

    # Made only now: a state begins when it is entered.
    return BuiltState(Cancelled(name=name, message=final.message, data=final.data))


def _end_without_body(
    invocation: Invocation, deferred: list[BaseException]
) -> Generator[Any, Any, LazyState]:
    """Cancel a run without its body; return the state to end in, Crashed if the body goes on."""
    yield from _defer_errors(
        invocation.run.enter(Cancelling(message="The run was cancelled.")), deferred
    )
    scope = invocation.scope
    if scope is not None and not scope.empty:
        yield from _defer_errors(CancelChildren(scope), deferred)
    if (yield AwaitBody()):
        return BuiltState(Cancelled(message="The run was cancelled."))
    seconds = EVENTFLOW_CANCEL_SECONDS.value()

    message = f"The body did not stop within {seconds:g} s of its cancellation."

    return BuiltState(Crashed(message=message))


def _defer_errors(
    request: Transition | Effect, deferred: list[BaseException]
) -> Generator[Any, Any, None]:
    """Make a request and defer what it raises, so that the run still reaches its end."""
    try:
        yield request
    except BaseException as error:  # noqa: BLE001 - raised when the run has ended
        deferred.append(_unwrapped(error))


def _unwrapped(error: BaseException) -> BaseException:
    return error.error if is_a(error, _Closed) else error


def _state_after_error(
    invocation: Invocation, error: BaseException, deferred: list[BaseException]
) -> LazyState:
    """Return the state in which a run ends when something else than its body raised."""
    error = _unwrapped(error)
    cancel_scope = invocation.run.cancel_scope
    cancelled_by_others = cancel_scope.uncancel_task()
    if cancel_scope.reason is CANCELLATION:
        if cancelled_by_others if is_a(error, _STOPPED) else not is_a(error, Exception):
            deferred.append(error)
        return cancelled(invocation.run)
    if is_a(error, Exception):
        # A note says which template it comes from.
        message = f"The run could not begin: {_describe(error)}{notes_text(error)}"
        return BuiltState(Failed(message=message, data=error))
    deferred.append(error)
    if is_a(error, _STOPPED) and cancel_scope.stopped_above:
        return BuiltState(Cancelled(message="A run around this one was stopped."))

    return BuiltState(Crashed(message=f"The run was ended by {_describe(error)}.", data=error))


def _describe(error: BaseException) -> str:
    text = error_text(error)

    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _early_end(invocation: Invocation) -> LazyState | None:
    """Return the state of a run that was stopped before it began, else None."""
    if invocation.start_error is not None:
        raise invocation.start_error
    cancel_scope = invocation.run.cancel_scope
    if cancel_scope.reason is CANCELLATION:
        return cancelled(invocation.run)
    if cancel_scope.parent is not None and cancel_scope.parent.takeover is not None:
        return BuiltState(Cancelled(message="The run around this one goes on without its body."))

    return None


def _work_after_upstream(invocation: Invocation) -> Lifecycle:
    """Wait for what the run depends on, and then do its work unless that did not complete."""
    futures = invocation.upstream()
    if futures:
        yield AwaitUpstream(futures)
    reason = invocation.not_ready()
    if reason is not None:
        return BuiltState(NotReady(message=reason))

    return (yield from _work(invocation))


def _work(invocation: Invocation) -> Lifecycle:
    """Prepare the call; return what leads to the end of its last attempt, and to that state.

    No generator itself, whose frame would be entered again for each request.
    """
    invocation.prepare()
    key_fn = invocation.definition.cache_key_fn

    return _attempts(invocation) if key_fn is None else _cached_or_attempted(invocation, key_fn)


def _cached_or_attempted(invocation: Invocation, key_fn: Callable[..., object]) -> Lifecycle:
    """Return the cached result, or compute it; of several runs at once only one computes it."""
    run, definition, cache = invocation.run, invocation.definition, results()
    blocks = invocation.blocks
    invocation.set_cache_key(key_fn)
    key = invocation.cache_key
    if key is None:
        return (yield from _attempts(invocation))
    assert isinstance(run, TaskRun)  # noqa: S101 - flows have no cache
    try:
        found = MISSING
        if definition.isgenerator and not definition.refresh_cache:
            # Its consumer decides when it goes on: nobody must wait for that.
            found = cache.get(key)
        elif not definition.refresh_cache:
            found = cache.begin(key, run, blocking=blocks)
        while isinstance(found, Computation):
            yield AwaitComputation(found.future)
            found = cache.begin(key, run, blocking=blocks)
        if found is not MISSING:
            return BuiltState(Cached(data=invocation.cached_result(found)))
        invocation.items = [] if definition.isgenerator else None
        final = yield from _attempts(invocation)
        return invocation.store_result(final) if final.type is COMPLETED else final
    finally:
        cache.finish(key, run)


def _attempts(invocation: Invocation) -> Lifecycle:
    run, cancel_scope = invocation.run, invocation.run.cancel_scope
    scope, name = invocation.scope, "Running"
    while True:
        if cancel_scope.reason is CANCELLATION:
            return cancelled(run)
        begun = LazyState(RUNNING, name) if not invocation.shipped else (yield AWAIT_LEAVE)
        yield run.enter(begun)
        try:
            returned = yield CALL
            # Only what a flow returns that has submitted tasks is looked into at any depth.
            final = plain_end(returned) if scope is None or not scope.used else None
            if final is None:
                final = yield from _end_of(invocation, returned)
        except BodyAbandoned:
            raise
        except BaseException as error:  # noqa: BLE001 - any Exception fails the run
            final = yield from _state_after_body_error(invocation, error)
        if cancel_scope.reason is not None:
            final = _state_after_stop(cancel_scope, final)
        if final.type is not FAILED or not (yield from _should_retry(invocation, final)):
            return end_of_last(final)
        yield from _await_retry(invocation, final)
        name = "Retrying"


def _end_of(invocation: Invocation, returned: Any) -> Lifecycle:
    """Return the state that what a body returned stands for, once the futures in it have ended."""
    futures = futures_in(returned)
    unended = [one for one in futures if not one.done() and one is not invocation.future]
    if unended:
        yield AwaitUpstream(unended)

    return end_of(returned, futures)


def _state_after_stop(cancel_scope: CancelScope, final: LazyState) -> LazyState:
    """Return the state in which an attempt ends if the run was stopped during it."""
    if cancel_scope.reason is CANCELLATION:
        return BuiltState(Cancelled(message="The run was cancelled."))
    # The attempt has its state: a timeout that came at the last moment is discarded.
    cancel_scope.take_timeout()
    cancel_scope.uncancel_task()

    return final


def _state_after_body_error(invocation: Invocation, error: BaseException) -> Lifecycle:
    """Return the state in which an attempt ends whose body raised, or raise again.

    Raises:
        BaseException: what ends the run from outside.
    """
    yield from _cancel_children(invocation)
    cancel_scope = invocation.run.cancel_scope
    if is_a(error, Exception):
        message = f"The body raised {_describe(error)}"
        return _timed_out(invocation) or BuiltState(Failed(message=message, data=error))
    if not is_a(error, _STOPPED):
        raise error
    # The cause is the timeout, unless the task was cancelled from elsewhere as well.
    cancelled_by_others = cancel_scope.reason is TIMEOUT and cancel_scope.uncancel_task()
    state = None if cancelled_by_others else _timed_out(invocation)
    if state is None:
        raise error

    return state


def _await_retry(invocation: Invocation, final: LazyState) -> Generator[Any, Any, None]:
    run = invocation.run
    delay = invocation.definition.retry.delay(run.run_count)
    message = f"Attempt {run.run_count} failed; the next begins in {delay:g} s."
    due = datetime.now(UTC) + timedelta(seconds=delay)
    yield run.enter(AwaitingRetry(message=message, error=final.error, scheduled_time=due))
    if delay:
        yield Sleep(delay)
    invocation.rewind()


def _cancel_children(invocation: Invocation) -> Generator[Any, Any, None]:
    """Cancel the submitted task runs of an attempt that failed."""
    scope = invocation.scope
    if scope is not None and not scope.empty:
        yield CancelChildren(scope)


def _timed_out(invocation: Invocation) -> LazyState | None:
    cancel_scope = invocation.run.cancel_scope
    if not cancel_scope.take_timeout():
        return None
    cancel_scope.uncancel_task()
    seconds = invocation.definition.timeout_seconds
    message = f"The body did not end within its timeout of {seconds:g} s."

    return BuiltState(TimedOut(message=message, data=TimeoutError(message)))


def _should_retry(invocation: Invocation, final: LazyState) -> Generator[Any, Any, bool]:
    run, definition = invocation.run, invocation.definition
    if run.run_count > definition.retry.retries or invocation.generator_closed:
        return False
    condition = definition.retry_condition_fn
    if condition is None:
        return True
    try:
        return bool((yield CallFunction(condition, (definition, run, final.state_of(run)))))
    except Exception as error:  # noqa: BLE001 - a condition may do anything
        run_logger(run).error("The retry condition failed; no retry", exc_info=error)
        return False
