"""The life of a run: one generator that decides, and thin drivers that carry it out.

`life` does no I/O. It yields what is to be done: a `Transition` to publish, or a `Step`; it is
told the outcome, or has the exception thrown in. A driver for sync code and one for async code
do the publishing, calling, waiting and sleeping; a generator body has one more of each kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Final, TypeAlias, cast

from eventflow.engine.dataflow import NOTHING, state_of
from eventflow.engine.effects import CALL, Abandon, Ask, Linger, Relieved, Settle, Sleep, Step
from eventflow.engine.invocation import Job
from eventflow.engine.result_cache import MISSING, results
from eventflow.interrupts.scopes import Control, Interrupted, Reason, gate
from eventflow.logs import run_logger
from eventflow.runners import Scope
from eventflow.runs.lazy_states import Draft, Entered
from eventflow.runs.run import Transition
from eventflow.settings import EVENTFLOW_CANCEL_SECONDS
from eventflow.states import (
    AnyState,
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

__all__ = ["Life", "Overstayed", "carry_on", "life", "throw"]

Life: TypeAlias = Generator[Transition | Step, Any, Entered]
"""What a driver carries out; it returns the state in which the run ended."""


class Overstayed(BaseException):
    """Thrown into a life whose cancelled body goes on: from here on it is lived without it."""


class _Closed(BaseException):
    """Stands for a GeneratorExit, which would close what a life delegates to, without a word."""

    def __init__(self, error: GeneratorExit) -> None:
        super().__init__()
        self.error = error


def throw(course: Life, error: BaseException) -> Transition | Step:
    """Tell a life that its last step raised; gives the next step."""
    if not isinstance(error, Exception):
        gate().dealing = error

    return course.throw(_Closed(error) if isinstance(error, GeneratorExit) else error)


def carry_on(
    job: Job, course: Life, step: Any, publish: Callable[[Transition], None] | None = None
) -> Entered:
    """Do, from sync code, what a life asks for, to its end; gives the state it ends in.

    Raises:
        BaseException: as `life`.
    """
    publish = publish or job.bus.publish_transition
    try:
        while True:
            try:
                told = publish(step) if type(step) is Transition else step.run(job)
            except Relieved as relieved:
                return cast("Entered", relieved.relief.settle(relieved.error))
            except BaseException as error:  # noqa: BLE001 - the life decides
                step = throw(course, error)
            else:
                step = course.send(told)
    except StopIteration as end:
        return cast("Entered", end.value)


# Python 3.11 looks a member up by calling Python code, which is too slow for every run.
_CANCELLED: Final = Reason.CANCELLED
_TIMED_OUT: Final = Reason.TIMED_OUT
_PENDING: Final = StateType.PENDING
_RUNNING: Final = StateType.RUNNING
_CANCELLED_STATE: Final = StateType.CANCELLED
_CANCELLING: Final = frozenset({StateType.CANCELLING, StateType.CANCELLED})
_STOPPED: Final = (Interrupted, asyncio.CancelledError)


def life(job: Job) -> Life:
    """Live one run from Pending to its end.

    Raises:
        BaseException: what ended the run from outside, or what a hook let through, once all
            that has to be published is published.
    """
    run = job.run
    late: list[BaseException] = []
    try:
        if run.entered is None:
            yield run.enter(Draft(_PENDING, "Pending"))
        final = _early_end(job) or (yield from _work(job))
    except Overstayed:
        final = yield from _outlive(job, late)
    except BaseException as error:  # noqa: BLE001 - raised again at the end
        final = _broken_off(job, error, late)
    scope = job.scope
    if scope is not None:
        yield from _close(scope, late)
    if run.control.close() or final.type in _CANCELLING:
        final = yield from _cancelled(job, final, late)
    try:
        yield run.enter(final)
    except BaseException as error:  # noqa: BLE001 - raised when the run has been closed
        late.append(_seen(error))
    if late:
        raise late[0]

    return final


def _close(scope: Scope, late: list[BaseException]) -> Generator[Any, Any, None]:
    """Let nothing more be submitted, and nothing outlive its flow."""
    if not scope.close():
        yield from _surely(Abandon(scope), late)
        scope.close()


def _cancelled(job: Job, final: Entered, late: list[BaseException]) -> Generator[Any, Any, Entered]:
    """Enter Cancelling, for a run that was cancelled or says so; gives the state to end in."""
    run = job.run
    if run.control.relief is not None:  # then it is Cancelling already
        return final
    if final.type not in _CANCELLING:
        final = Cancelled(message="The run was cancelled.")
    name = final.name if final.type is _CANCELLED_STATE else "Cancelled"
    yield from _surely(run.enter(Cancelling(message=final.message)), late)

    # Made only now: a state begins when it is entered.
    return Cancelled(name=name, message=final.message)


def _outlive(job: Job, late: list[BaseException]) -> Generator[Any, Any, Entered]:
    """End a run whose cancelled body goes on, if need be before the body does."""
    yield from _surely(job.run.enter(Cancelling(message="The run was cancelled.")), late)
    scope = job.scope
    if scope is not None and not scope.empty:
        yield from _surely(Abandon(scope), late)
    if (yield Linger()):
        return Cancelled(message="The run was cancelled.")
    seconds = EVENTFLOW_CANCEL_SECONDS.value()

    return Crashed(message=f"The body did not stop within {seconds:g} s of its cancellation.")


def _surely(step: Transition | Step, late: list[BaseException]) -> Generator[Any, Any, None]:
    """Do what has to be done although the run is over; what interrupts it is raised later."""
    try:
        yield step
    except BaseException as error:  # noqa: BLE001 - raised when the run has been closed
        late.append(_seen(error))


def _seen(error: BaseException) -> BaseException:
    return error.error if isinstance(error, _Closed) else error


def _broken_off(job: Job, error: BaseException, late: list[BaseException]) -> Entered:
    error = _seen(error)
    control = job.run.control
    others = control.take_back()
    if control.reason is _CANCELLED:
        if others if isinstance(error, _STOPPED) else not isinstance(error, Exception):
            late.append(error)
        return Cancelled(message="The run was cancelled.")
    if isinstance(error, Exception):
        return Failed(message=f"The run could not begin: {_described(error)}", data=error)
    late.append(error)
    if isinstance(error, _STOPPED) and control.stopped_above:
        return Cancelled(message="A run around this one was stopped.")

    return Crashed(message=f"The run was ended by {_described(error)}.", data=error)


def _described(error: BaseException) -> str:
    text = str(error)

    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _early_end(job: Job) -> Entered | None:
    """Give the state of a run that ends before anything of it is done."""
    if job.refused is not None:
        raise job.refused
    control = job.run.control
    if control.reason is _CANCELLED:
        return Cancelled(message="The run was cancelled before it began.")
    if control.parent is not None and control.parent.relief is not None:
        return Cancelled(message="The run around this one goes on without its body.")

    return None


def _work(job: Job) -> Life:
    """Do what lies between Pending and the end; gives the state to end in."""
    if job.needs is not NOTHING:
        waited_for = job.upstream()
        if waited_for:
            yield Settle(waited_for)
        reason = job.not_ready()
        if reason is not None:
            return NotReady(message=reason)
    definition = job.definition
    job.prepare(validate=definition.validate_parameters)
    if definition.cache_key_fn is None:
        return (yield from _attempts(job))

    return (yield from _kept_or_made(job, definition.cache_key_fn))


def _kept_or_made(job: Job, key_fn: Callable[..., object]) -> Life:
    definition = job.definition
    kept = job.cached(key_fn, refresh=definition.refresh_cache)
    if kept is not MISSING:
        return Cached(data=kept)
    final = yield from _attempts(job)
    if final.is_completed and job.cache_key is not None:
        results().put(job.cache_key, final.data, definition.cache_expiration)

    return final


def _attempts(job: Job) -> Life:
    run, control = job.run, job.run.control
    name = "Running"
    while True:
        if control.reason is _CANCELLED:
            return Cancelled(message="The run was cancelled before its body began.")
        yield run.enter(Draft(_RUNNING, name))
        try:
            final = state_of((yield CALL))
        except Overstayed:
            raise
        except BaseException as error:  # noqa: BLE001 - any Exception fails the run
            final = yield from _broken(job, error)
        if control.reason is not None:
            final = _stopped(control, final)
        if not final.is_failed or not (yield from _wants_retry(job, final)):
            return final
        yield from _await_retry(job, final)
        name = "Retrying"


def _stopped(control: Control, final: Entered) -> Entered:
    """Give the state in which an attempt ends that was told to stop."""
    if control.reason is _CANCELLED:
        return Cancelled(message="The run was cancelled.")
    # A body that ended in spite of its timeout, or of its interrupt, was in time.
    control.take_timeout()
    control.take_back()

    return final


def _broken(job: Job, error: BaseException) -> Life:
    """Give the state in which an attempt ends whose body was broken off, or raise again.

    Raises:
        BaseException: what ends the run from outside.
    """
    yield from _abandon(job)
    control = job.run.control
    if isinstance(error, Exception):
        message = f"The body raised {_described(error)}"
        return _timed_out(job) or Failed(message=message, data=error)
    if not isinstance(error, _STOPPED):
        raise error
    # Our own timeout is behind it, unless somebody else stops the task as well.
    others = control.reason is _TIMED_OUT and control.take_back()
    state = None if others else _timed_out(job)
    if state is None:
        raise error

    return state


def _await_retry(job: Job, final: Entered) -> Generator[Any, Any, None]:
    run = job.run
    delay = job.definition.retry.delay(run.run_count)
    message = f"Attempt {run.run_count} failed; the next begins in {delay:g} s."
    yield run.enter(AwaitingRetry(message=message, error=final.error))
    if delay:
        yield Sleep(delay)


def _abandon(job: Job) -> Generator[Any, Any, None]:
    """Let no submitted task outlive an attempt that failed."""
    scope = job.scope
    if scope is not None and not scope.empty:
        yield Abandon(scope)


def _timed_out(job: Job) -> AnyState | None:
    control = job.run.control
    if not control.take_timeout():
        return None
    control.take_back()
    seconds = job.definition.timeout_seconds
    message = f"The body did not end within its timeout of {seconds:g} s."

    return TimedOut(message=message, data=TimeoutError(message))


def _wants_retry(job: Job, final: Entered) -> Generator[Any, Any, bool]:
    run, definition = job.run, job.definition
    if run.run_count > definition.retry.retries or job.closed_early:
        return False
    condition = definition.retry_condition_fn
    if condition is None:
        return True
    try:
        return bool((yield Ask(condition, (definition, run, final))))
    except Exception as error:  # noqa: BLE001 - a condition may do anything
        run_logger(run).error("The retry condition failed; no retry", exc_info=error)
        return False
