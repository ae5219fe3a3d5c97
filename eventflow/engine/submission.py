"""Submitting a task run: onto an event loop or a task runner, when what it needs is there."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context, copy_context
from typing import Any, Final

from eventflow.context import current_run
from eventflow.definitions.definition import Definition
from eventflow.engine.drivers import adrive, drive
from eventflow.engine.effects import shielded
from eventflow.engine.invocation import Job
from eventflow.errors import MissingContextError
from eventflow.interrupts.portals import running_loop
from eventflow.interrupts.scopes import gate, live
from eventflow.logs import run_logger
from eventflow.recovery.loading import refuse, reloading
from eventflow.runners import Scope, TaskRunner
from eventflow.runners.loop import spawn
from eventflow.runs.futures import Future
from eventflow.runs.lazy_states import Draft
from eventflow.runs.run import TaskRun
from eventflow.states import StateType

__all__ = ["submit"]

# Python 3.11 looks a member up by calling Python code, which is too slow for every run.
_PENDING: Final = StateType.PENDING


def submit(
    definition: Definition[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    waits_for: Iterable[Any] | None,
) -> Future[Any]:
    """Submit a task run to where it belongs; it is Pending from here on.

    Raises:
        MissingContextError: no flow is running here.
    """
    if reloading:
        refuse(definition.name)
    scope = _scope(definition.name)
    here = gate()
    before = here.inside
    # Nothing interrupts between the transition and its hooks, nor before somebody has the work.
    here.enter_engine()
    try:
        return _submit(Job(definition, args, kwargs, waits_for), scope)
    finally:
        here.leave_engine(before)


def _submit(job: Job, scope: Scope) -> Future[Any]:
    run = job.run
    assert isinstance(run, TaskRun)  # noqa: S101 - flows are not submitted
    future: Future[Any] = Future(run)
    job.future = future
    scope.add(future)
    live[run.number] = run.control
    token = current_run.set(job.context)
    try:
        left = _announce(job, scope)
        context = copy_context()
    finally:
        current_run.reset(token)
    if job.refused is not None:
        try:
            drive(job)
        finally:
            future.finish()
    elif job.definition.is_async:
        future.produced_on(spawn(lambda: _awork(job, future, left), scope.loop, context))
    else:
        _offer(job, future, scope, context, left)

    return future


def _announce(job: Job, scope: Scope) -> Awaitable[None] | None:
    """Publish that the run is Pending; gives what its own loop is to wait for first."""
    fact = job.run.enter(Draft(_PENDING, "Pending"))
    try:
        if scope.loop is not None and running_loop() is scope.loop:
            return job.bus.begin_transition(fact)
        job.bus.publish_transition(fact)
    except BaseException as error:  # noqa: BLE001 - the run ends with it
        job.refused = error

    return None


def _offer(
    job: Job, future: Future[Any], scope: Scope, context: Context, left: Awaitable[None] | None
) -> None:
    """Give a sync task run to the task runner as soon as what it needs is there."""
    needed = [one for one in job.upstream() if not one.done()]
    if left is not None or (
        scope.loop is not None and any(one.needs(scope.loop) for one in needed)
    ):
        future.produced_on(scope.loop)
    work = _Work(job, future, context, scope.runner)
    if left is None:
        future.offer(work)
        _when_ended(needed, lambda: scope.runner.submit(work))
    else:
        # In a context of its own: a worker may begin while this task is still in it.
        spawn(lambda: _afterwards(job, left, needed, work), scope.loop, context.copy())


async def _afterwards(
    job: Job, left: Awaitable[None], needed: list[Future[Any]], work: _Work
) -> None:
    await _settled(job, left)
    _when_ended(needed, lambda: work.runner.submit(work))


async def _settled(job: Job, left: Awaitable[None]) -> None:
    """Wait for the hooks of Pending to their end."""
    try:
        await shielded(left)
    except BaseException as error:  # noqa: BLE001 - the run ends with it
        job.refused = error


def _scope(name: str) -> Scope:
    here = current_run.get()
    if here is None or here.scope is None:
        raise MissingContextError(
            f"{name}.submit()", "Call the task itself, or submit it inside a flow."
        )

    return here.scope


def _when_ended(futures: list[Future[Any]], go: Callable[[], object]) -> None:
    """Call a function once every future has ended, so that no worker stands waiting for them."""
    left = len(futures)
    lock = threading.Lock()
    if not left:
        go()
        return

    def one_less(_: object) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            go()

    for future in futures:
        future.add_done_callback(one_less)


async def _awork(job: Job, future: Future[Any], left: Awaitable[None] | None) -> None:
    try:
        if left is not None:
            await _settled(job, left)
        await adrive(job)
    except BaseException as error:  # noqa: BLE001 - it must not end the loop; the state says it
        _say(job, error)
    finally:
        future.finish()


def _say(job: Job, error: BaseException) -> None:
    """Log what ended a submitted run, where the run's own state does not tell it already."""
    state = job.run.state
    if state is None or state.data is not error:
        run_logger(job.run).debug("The submitted run was ended", exc_info=error)


class _Work:
    """The executing of one submitted sync task run, by whoever comes first."""

    __slots__ = ("_claim", "_context", "_future", "_job", "runner")

    def __init__(self, job: Job, future: Future[Any], context: Context, runner: TaskRunner) -> None:
        self._job = job
        self._future = future
        self._context = context
        self.runner = runner
        self._claim = threading.Lock()

    def __call__(self) -> None:
        """Execute the run, unless somebody else has begun to."""
        if self._claim.acquire(blocking=False):
            self._context.run(self._execute)

    def is_possible(self) -> bool:
        """Whether a worker of the same runner waits here, and would stand idle.

        Workers that wait for tasks which wait for workers would else all wait for ever.
        """
        return self.runner.is_worker()

    def upstream(self) -> list[Future[Any]]:
        """Give what the task run waits for."""
        return self._job.upstream()

    def help(self) -> None:
        """Execute the task run now, unless somebody else has begun to."""
        if self.is_possible() and not self._claim.locked():
            with gate().aside(self._job.run.control):
                self()

    def _execute(self) -> None:
        try:
            drive(self._job)
        except BaseException as error:  # noqa: BLE001 - it must not end the worker; the state says it
            _say(self._job, error)
        finally:
            self._future.finish()
