"""Submitting a task run: onto an event loop or a task runner, when what it needs is there."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context, copy_context
from typing import Any

from eventflow.context import current_run, refuse, reloading
from eventflow.definitions.definition import Definition
from eventflow.engine.drivers import adrive, drive
from eventflow.engine.effects import shielded
from eventflow.engine.invocation import Invocation
from eventflow.errors import MissingContextError
from eventflow.interrupts.portals import running_loop
from eventflow.interrupts.scopes import live, thread_mask
from eventflow.logs import run_logger
from eventflow.runners import TaskRunner, TaskScope
from eventflow.runners.loop import spawn
from eventflow.runs.futures import Future
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import TaskRun
from eventflow.states import PENDING

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
    if reloading:
        refuse(definition.name)
    scope = _scope(definition.name)
    here = thread_mask()
    before = here.phase
    # Nothing interrupts between the transition and its hooks, nor before somebody has the work.
    here.enter_engine()
    try:
        return _submit(Invocation(definition, args, kwargs, waits_for), scope)
    finally:
        here.leave_engine(before)


def _submit(invocation: Invocation, scope: TaskScope) -> Future[Any]:
    run = invocation.run
    assert isinstance(run, TaskRun)  # noqa: S101 - flows are not submitted
    future: Future[Any] = Future(run)
    invocation.future = future
    scope.add(future)
    live[run.number] = run.cancel_scope
    token = current_run.set(invocation.context)
    try:
        left = _announce(invocation, scope)
        context = copy_context()
    finally:
        current_run.reset(token)
    if invocation.refused is not None:
        try:
            drive(invocation)
        finally:
            future.finish()
    elif invocation.definition.is_async:
        future.produced_on(spawn(lambda: _awork(invocation, future, left), scope.loop, context))
    else:
        _offer(invocation, future, scope, context, left)

    return future


def _announce(invocation: Invocation, scope: TaskScope) -> Awaitable[None] | None:
    """Publish that the run is Pending; gives what its own loop is to wait for first."""
    fact = invocation.run.enter(LazyState(PENDING, "Pending"))
    try:
        if scope.loop is not None and running_loop() is scope.loop:
            return invocation.bus.begin_transition(fact)
        invocation.bus.publish_transition(fact)
    except BaseException as error:  # noqa: BLE001 - the run ends with it
        invocation.refused = error

    return None


def _offer(
    invocation: Invocation,
    future: Future[Any],
    scope: TaskScope,
    context: Context,
    left: Awaitable[None] | None,
) -> None:
    """Give a sync task run to the task runner as soon as what it needs is there."""
    needed = [one for one in invocation.upstream() if not one.done()]
    if left is not None or (
        scope.loop is not None and any(one.needs(scope.loop) for one in needed)
    ):
        future.produced_on(scope.loop)
    work = _Work(invocation, future, context, scope.runner)
    if left is None:
        future.offer(work)
        _when_ended(needed, lambda: scope.runner.submit(work))
    else:
        # In a context of its own: a worker may begin while this task is still in it.
        spawn(lambda: _afterwards(invocation, left, needed, work), scope.loop, context.copy())


async def _afterwards(
    invocation: Invocation, left: Awaitable[None], needed: list[Future[Any]], work: _Work
) -> None:
    await _settled(invocation, left)
    _when_ended(needed, lambda: work.runner.submit(work))


async def _settled(invocation: Invocation, left: Awaitable[None]) -> None:
    """Wait for the hooks of Pending to their end."""
    try:
        await shielded(left)
    except BaseException as error:  # noqa: BLE001 - the run ends with it
        invocation.refused = error


def _scope(name: str) -> TaskScope:
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


async def _awork(invocation: Invocation, future: Future[Any], left: Awaitable[None] | None) -> None:
    try:
        if left is not None:
            await _settled(invocation, left)
        await adrive(invocation)
    except BaseException as error:  # noqa: BLE001 - it must not end the loop; the state says it
        _say(invocation, error)
    finally:
        future.finish()


def _say(invocation: Invocation, error: BaseException) -> None:
    """Log what ended a submitted run, where the run's own state does not tell it already."""
    state = invocation.run.state
    if state is None or state.data is not error:
        run_logger(invocation.run).debug("The submitted run was ended", exc_info=error)


class _Work:
    """The executing of one submitted sync task run, by whoever comes first."""

    __slots__ = ("_claim", "_context", "_future", "_invocation", "runner")

    def __init__(
        self, invocation: Invocation, future: Future[Any], context: Context, runner: TaskRunner
    ) -> None:
        self._invocation = invocation
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
        return self._invocation.upstream()

    def help(self) -> None:
        """Execute the task run now, unless somebody else has begun to."""
        if self.is_possible() and not self._claim.locked():
            with thread_mask().nested(self._invocation.run.cancel_scope):
                self()

    def _execute(self) -> None:
        try:
            drive(self._invocation)
        except BaseException as error:  # noqa: BLE001 - it must not end the worker; the state says it
            _say(self._invocation, error)
        finally:
            self._future.finish()
