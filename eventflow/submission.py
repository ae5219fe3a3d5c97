"""Submitting a task run: onto an event loop or a task runner, when what it needs is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any

from eventflow.context import current_run
from eventflow.control import gate
from eventflow.definitions import Definition
from eventflow.drivers import adrive, drive
from eventflow.errors import MissingContextError
from eventflow.futures import Future
from eventflow.jobs import Job
from eventflow.logs import run_logger
from eventflow.runners import Scope, TaskRunner
from eventflow.runners.loop import spawn
from eventflow.runs import TaskRun
from eventflow.states import Pending

__all__ = ["submit"]


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
    scope = _scope(definition.name)
    job = Job(definition, args, kwargs, waits_for)
    run = job.run
    assert isinstance(run, TaskRun)  # noqa: S101 - flows are not submitted
    future: Future[Any] = Future(run)
    scope.add(future)
    job.bus.publish_transition(run.enter(Pending()))
    needed = [one for one in job.upstream() if not one.done()]
    context = copy_context()
    if definition.is_async:
        future.produced_on(spawn(lambda: _awork(job, future), scope.loop, context))
    else:
        if scope.loop is not None and any(one.needs(scope.loop) for one in needed):
            future.produced_on(scope.loop)
        work = _Work(job, future, context, scope.runner)
        future.offer(work.steal)
        _when_ended(needed, lambda: scope.runner.submit(work))

    return future


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


async def _awork(job: Job, future: Future[Any]) -> None:
    try:
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

    __slots__ = ("_claim", "_context", "_future", "_job", "_runner")

    def __init__(
        self, job: Job, future: Future[Any], context: Context, runner: TaskRunner
    ) -> None:
        self._job = job
        self._future = future
        self._context = context
        self._runner = runner
        self._claim = threading.Lock()

    def __call__(self) -> None:
        """Execute the run, unless somebody else has begun to."""
        if self._claim.acquire(blocking=False):
            self._context.run(self._execute)

    def steal(self) -> None:
        """Execute the run now, if a worker of the same runner would stand idle for it.

        Else workers that wait for tasks which wait for workers would all wait for ever.
        """
        if self._runner.is_worker() and not self._claim.locked():
            with gate().aside():
                self()

    def _execute(self) -> None:
        try:
            drive(self._job)
        except BaseException as error:  # noqa: BLE001 - it must not end the worker; the state says it
            _say(self._job, error)
        finally:
            self._future.finish()
