"""Submitting a task run, to an event loop or, once its upstream has ended, to a task runner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from functools import cache
from typing import TYPE_CHECKING, Any

from eventflow.context import current_hook, current_run, refuse, reloading
from eventflow.definitions.definition import Definition
from eventflow.engine.drivers import adrive, drive
from eventflow.engine.effects import shielded
from eventflow.engine.invocation import Invocation
from eventflow.errors import MissingContextError
from eventflow.interrupts.masks import this_thread
from eventflow.interrupts.portals import running_loop
from eventflow.interrupts.scopes import active_runs
from eventflow.logs import run_logger
from eventflow.primitives.headroom import require_headroom
from eventflow.primitives.loading import load
from eventflow.runners.executors import ExecutorTaskRunner
from eventflow.runners.loop import blocked_loop, may_run_on, spawn
from eventflow.runners.threads import extra_worker
from eventflow.runs.futures import Future, Helper
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import TaskRun
from eventflow.runs.task_scope import TaskRunner, TaskScope
from eventflow.states.kinds import PENDING
from eventflow.states.state import AnyState

if TYPE_CHECKING:
    from eventflow.engine.remote.driver import RemoteRun

__all__ = ["submit", "submit_and_wait"]


def submit(
    definition: Definition[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    wait_for: Iterable[Any] | None,
) -> Future[Any]:
    """Submit a task run to its event loop or task runner; it is Pending on return.

    Raises:
        MissingContextError: no flow or hook is running here.
    """
    if reloading:
        refuse(definition.name)
    scope = _scope(definition.name)
    mask = this_thread.mask
    previous_phase = mask.phase
    # No interrupts between the transition and its hooks, nor before the work is handed over.
    mask.enter_engine()
    try:
        return _submit(Invocation(definition, args, kwargs, wait_for), scope)
    finally:
        mask.unmask(previous_phase)


def submit_and_wait(
    definition: Definition[Any, Any],
    calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
    wait_for: Iterable[Any] | None,
) -> list[AnyState]:
    """Submit a task run for each call, block until all have ended, and return their states.

    An event loop that runs in this thread stands still meanwhile, and is given no task runs.

    Raises:
        DeadlockError: one of them needs what only the event loop of this thread can produce.
        MissingContextError: no flow or hook is running here.
    """
    with blocked_loop():
        futures = [submit(definition, args, kwargs, wait_for) for args, kwargs in calls]
        for future in futures:
            future.wait()

    return [future.state for future in futures]


def _submit(invocation: Invocation, scope: TaskScope) -> Future[Any]:
    run = invocation.run
    assert isinstance(run, TaskRun)  # noqa: S101 - flows are not submitted
    future: Future[Any] = Future(run)
    invocation.future = future
    run.may_wait = True
    scope.add(future)
    active_runs[run.number] = run
    token = current_run.set(invocation.context)
    try:
        pending_hooks = _enter_pending(invocation, scope)
        context = copy_context()
    finally:
        current_run.reset(token)
    if invocation.start_error is not None:
        try:
            drive(invocation)
        finally:
            future.finish()
    elif invocation.definition.isasync:
        loop = spawn(lambda: _awork(invocation, future, pending_hooks), scope.loop, context)
        future.produced_on(loop or _loop_of(invocation.upstream(), scope))
    else:
        _schedule(invocation, future, scope, context, pending_hooks)

    return future


def _enter_pending(invocation: Invocation, scope: TaskScope) -> Awaitable[None] | None:
    """Publish that the run is Pending; return the hooks that its event loop is to await first."""
    transition = invocation.run.enter(LazyState(PENDING, "Pending"))
    try:
        if scope.loop is not None and may_run_on(scope.loop) and running_loop() is scope.loop:
            return invocation.bus.begin_transition(transition)
        invocation.bus.publish_transition(transition)
    except BaseException as error:  # noqa: BLE001 - the run ends with it
        invocation.start_error = error

    return None


def _schedule(
    invocation: Invocation,
    future: Future[Any],
    scope: TaskScope,
    context: Context,
    pending_hooks: Awaitable[None] | None,
) -> None:
    """Submit a sync task run to the task runner as soon as its upstream has ended."""
    unfinished = [upstream for upstream in invocation.upstream() if not upstream.done()]
    future.produced_on(_loop_of(unfinished, scope) if pending_hooks is None else scope.loop)
    begin, helper = _prepare(invocation, future, scope.runner, context)
    if pending_hooks is None:
        future.offer(helper)
        _when_ended(unfinished, begin)
    else:
        # A copy of the context: a worker may enter it while this task is still in its own.
        spawn(
            lambda: _submit_after_hooks(invocation, pending_hooks, unfinished, begin),
            scope.loop,
            context.copy(),
        )


@cache
def _remote_run() -> type[RemoteRun]:
    # Loaded by the first use: programs without such a runner do not need it.
    kind: type[RemoteRun] = load("eventflow.engine.remote.driver").RemoteRun

    return kind


def _prepare(
    invocation: Invocation, future: Future[Any], runner: TaskRunner, context: Context
) -> tuple[Callable[[], None], Helper]:
    """Return what has a task run executed, and what helps a thread that waits for it."""
    if isinstance(runner, ExecutorTaskRunner):
        remote: type[RemoteRun] = _remote_run()
        begun = remote(invocation, future, context, runner)
        return begun.begin, begun.helper()
    work = _Work(invocation, future, context, runner)

    return lambda: runner.submit(work), work


def _loop_of(upstream: list[Future[Any]], scope: TaskScope) -> asyncio.AbstractEventLoop | None:
    """Return the event loop, ours or the scope's, that must go on running for them to end."""
    if not upstream:
        return None
    loops = (running_loop(), scope.loop)

    return next((loop for loop in loops if any(future.needs(loop) for future in upstream)), None)


async def _submit_after_hooks(
    invocation: Invocation,
    pending_hooks: Awaitable[None],
    unfinished: list[Future[Any]],
    begin: Callable[[], None],
) -> None:
    await _await_hooks(invocation, pending_hooks)
    _when_ended(unfinished, begin)


async def _await_hooks(invocation: Invocation, pending_hooks: Awaitable[None]) -> None:
    """Await the hooks of Pending to their end."""
    try:
        await shielded(pending_hooks)
    except BaseException as error:  # noqa: BLE001 - the run ends with it
        invocation.start_error = error


def _scope(name: str) -> TaskScope:
    context, hook = current_run.get(), current_hook.get()
    scope = None if hook is None else hook.scope_within(context)
    if scope is not None:
        return scope
    if context is None or context.scope is None:
        raise MissingContextError(
            f"{name}.submit()", "Call the task itself, or submit it inside a flow or a hook."
        )

    return context.scope


def _when_ended(futures: list[Future[Any]], function: Callable[[], object]) -> None:
    """Call a function once every future has ended, so that no worker blocks on them."""
    remaining = len(futures)
    lock = threading.Lock()
    if not remaining:
        function()
        return

    def count_down(_: object) -> None:
        nonlocal remaining
        with lock:
            remaining -= 1
            is_last = remaining == 0
        if is_last:
            function()

    for future in futures:
        future.add_done_callback(count_down)


async def _awork(
    invocation: Invocation, future: Future[Any], pending_hooks: Awaitable[None] | None
) -> None:
    try:
        if pending_hooks is not None:
            await _await_hooks(invocation, pending_hooks)
        await adrive(invocation)
    except BaseException as error:  # noqa: BLE001 - it must not end the loop; it is in the state
        _log_error(invocation, error)
    finally:
        future.finish()


def _log_error(invocation: Invocation, error: BaseException) -> None:
    """Log what ended a submitted run, unless the run's own state holds it already."""
    state = invocation.run.state
    if state is None or state.data is not error:
        run_logger(invocation.run).debug("The submitted run was ended", exc_info=error)


class _Work:
    """Executes one submitted sync task run, in whichever thread calls it first."""

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
        """Execute the run, unless another thread has begun it."""
        if self._claim.acquire(blocking=False):
            self._context.run(self._execute)

    def is_possible(self) -> bool:
        """Return whether the calling thread is a worker of the same runner, which would wait idly.

        Without this, workers that wait for tasks which wait for workers would deadlock.
        """
        return self.runner.is_worker()

    def upstream(self) -> list[Future[Any]]:
        """Return the futures that the task run waits for."""
        return self._invocation.upstream()

    def help(self) -> None:
        """Execute the task run now, unless another thread has begun to."""
        if self.is_possible() and not self._claim.locked():
            require_headroom(self._invocation.definition.name)
            with this_thread.mask.nested(self._invocation.run.cancel_scope):
                self()

    def extra_worker(self) -> AbstractContextManager[None]:
        """Return the block in which the calling worker waits, and one thread more works."""
        return extra_worker() if self.is_possible() else nullcontext()

    def _execute(self) -> None:
        try:
            drive(self._invocation)
        except BaseException as error:  # noqa: BLE001 - it must not end the worker; it is in the state
            _log_error(self._invocation, error)
        finally:
            self._future.finish()
