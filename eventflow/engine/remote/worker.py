"""Executing the body of one attempt on a worker, in the context of its run."""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import signal
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final, NamedTuple

import cloudpickle  # type: ignore[import-untyped]

from eventflow.context import ActiveRun, current_run, current_tags
from eventflow.definitions.definition import Definition
from eventflow.engine.dataflow import PLAIN
from eventflow.engine.remote.attempts import (
    PICKLED,
    PLAIN_VALUE,
    RAISED,
    REFUSED,
    STOPPED,
    TIMED_OUT,
    FlowFacts,
    Outcome,
    Raised,
    RunFacts,
)
from eventflow.engine.remote.packing import Attempt, FoundFunction, function_in
from eventflow.engine.remote.worker_context import (
    RefusingScope,
    WorkerBus,
    attempts_here,
    forward_logs,
)
from eventflow.engine.remote.worker_lines import WorkerLine, line_to
from eventflow.eventbus.bus import use_bus
from eventflow.interrupts.masks import WAKE_SIGNAL, Interrupted, on_wake_signal, this_thread
from eventflow.interrupts.portals import timer_portal
from eventflow.interrupts.scopes import CANCELLATION
from eventflow.logs import take_prints
from eventflow.primitives.ids import id_of
from eventflow.primitives.texts import error_text, traceback_text
from eventflow.runners.failures import UnpicklableError
from eventflow.runners.frames import HomeAddress
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import FlowRun, TaskRun
from eventflow.states.kinds import PENDING, RUNNING
from eventflow.values.unavailable import Unavailable

__all__ = ["execute"]


class _Flow(NamedTuple):
    """Stands on a worker for the flow of the flow run around a task run."""

    name: str
    version: str | None


def execute(attempts: tuple[tuple[Attempt, int], ...]) -> tuple[int, Outcome]:
    """Execute attempts one after the other, unless home refuses them; called by an executor.

    Return which is the last that was begun, and how it ended. Of those before it home has been told
    over the line, which it is only of plain results. None is begun after some time: another worker
    may be free for it.

    Raises:
        OSError: home cannot be reached.
        Exception: a function cannot be found here, or cannot be unpickled.
    """
    home_address = attempts[0][0].home_address
    line = line_to(home_address)
    _prepare_process(home_address)
    until = monotonic() + TOGETHER_SECONDS
    index, outcome = 0, Outcome(REFUSED)
    try:
        for index, (attempt, copy) in enumerate(attempts):
            outcome = _attempted(line, attempt, copy)
            is_last = index == len(attempts) - 1 or monotonic() > until
            if is_last or not (outcome.how == REFUSED or _is_told(outcome)):
                break
            if outcome.how == PLAIN_VALUE:
                line.tell_end(outcome.value)
        return index, outcome
    finally:
        line.flush()


TOGETHER_SECONDS: Final = 0.005
"""How long a worker goes on with the attempts of one call."""

LONGEST_TOLD: Final = 1_000
"""The most characters of a result that is told over the line."""


def _is_told(outcome: Outcome) -> bool:
    """Return whether home can be told of an outcome over the line, in JSON."""
    value = outcome.value
    if outcome.how != PLAIN_VALUE or type(value) is bytes:
        return False

    return type(value) not in (str, int) or len(str(value)) <= LONGEST_TOLD


def _attempted(line: WorkerLine, attempt: Attempt, copy: int) -> Outcome:
    definition = _definition(attempt.function)
    if not line.ask(attempt.ticket, copy):
        return Outcome(REFUSED)
    try:
        return _executed(line, definition, attempt)
    except BaseException as error:  # noqa: BLE001 - home is told of it
        return Outcome(RAISED, _raised(error), line.sent)


def _executed(line: WorkerLine, definition: Definition[Any, Any], attempt: Attempt) -> Outcome:
    (args, kwargs, pickled), facts = attempt.arguments, attempt.facts
    if pickled is not None:
        args, kwargs = pickle.loads(pickled)  # noqa: S301 - home has pickled it
    run = _task_run(definition, args, kwargs, facts)
    flow_run = None if attempt.flow is None else _flow_run(attempt.flow)
    with _in_context(line, run, facts, flow_run):
        body: Callable[[], Any] = functools.partial(definition.fn, *args, **kwargs)
        try:
            value = _called(line, run, body, facts.timeout)
        except BaseException as error:  # noqa: BLE001 - home is told of it
            if run.cancel_scope.take_timeout():
                return Outcome(TIMED_OUT, None, line.sent)
            if isinstance(error, Interrupted) and run.cancel_scope.reason is CANCELLATION:
                return Outcome(STOPPED, None, line.sent)
            return Outcome(RAISED, _raised(error), line.sent)
        finally:
            run.cancel_scope.close()
        if type(value) in PLAIN:
            return Outcome(PLAIN_VALUE, value, line.sent)
        try:
            return Outcome(PICKLED, cloudpickle.dumps(value), line.sent)
        except Exception as error:
            what = f"The result of the task {definition.name}, a {type(value).__qualname__},"
            raise UnpicklableError(what, error) from error


def _called(line: WorkerLine, run: TaskRun, body: Callable[[], Any], timeout: float | None) -> Any:
    """Call the body where it can be stopped: by home, or by its timeout."""
    cancel_scope, mask = run.cancel_scope, this_thread.mask
    before = mask.phase
    mask.enter_engine()
    cancel_timer: Callable[[], object] | None = None
    line.watch(run.cancel)
    try:
        if timeout is not None:
            timer = cancel_scope.start_timer()
            cancel_timer = timer_portal.call_later(timeout, lambda: cancel_scope.expire(timer))
        return cancel_scope.call(body)
    finally:
        line.unwatch()
        if cancel_timer is not None:
            cancel_scope.stop_timer()
            cancel_timer()
        mask.unmask(before)


_scope: Final = RefusingScope()


@contextmanager
def _in_context(
    line: WorkerLine, run: TaskRun, facts: RunFacts, flow_run: FlowRun | None
) -> Iterator[None]:
    """Put the run in force for the block, as it is at home."""
    stdout = take_prints() if facts.prints else None
    active = ActiveRun(run, flow_run, _scope, log_prints=facts.prints, stdout=stdout)
    token = current_run.set(active)
    tags = current_tags.set(facts.tags - run.definition.tags)
    attempts_here[run.number] = line
    try:
        with use_bus(WorkerBus.of(line)):
            yield
    finally:
        attempts_here.pop(run.number, None)
        current_tags.reset(tags)
        current_run.reset(token)


def _task_run(
    definition: Definition[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    facts: RunFacts,
) -> TaskRun:
    parameters = functools.partial(definition.parameters.bind, args, kwargs)
    run = TaskRun(definition, definition.name, parameters, facts.tags, None)
    run.number = facts.number
    run.given_name = facts.name
    run.parent_run_id = _id(facts.parent)
    run.flow_run_id = _id(facts.flow_run)
    run.root_flow_run_id = _id(facts.root_flow_run)
    run.run_count = facts.run_count
    run.created_at = _entered(facts.at)
    run.entered = run.started_at = LazyState(RUNNING, "Running")

    return run


@functools.lru_cache(maxsize=32)
def _flow_run(packed: bytes) -> FlowRun:
    facts: FlowFacts = pickle.loads(packed)  # noqa: S301 - home has pickled it
    missing = {
        name: Unavailable(f"The parameter {name!r} of the flow run is not here: {reason}.")
        for name, reason in facts.missing.items()
    }
    parameters = {**facts.parameters, **missing}
    flow = _Flow(facts.flow_name, facts.flow_version)
    run = FlowRun(flow, facts.flow_name, lambda: parameters, facts.tags, None)
    run.number = facts.number
    run.given_name = facts.name
    run._id = None  # noqa: SLF001 - it was computed from another number
    run.flow_run_id = run.id
    run.parent_flow_run_id = _id(facts.parent)
    run.root_flow_run_id = _id(facts.root)
    run.run_count = facts.run_count
    run.created_at = _entered(facts.at)
    run.entered = run.started_at = LazyState(RUNNING, "Running")

    return run


def _entered(at: int) -> LazyState:
    state = LazyState(PENDING, "Pending")
    state.at = at

    return state


def _id(number: int | None) -> Any:
    return None if number is None else id_of(number)


@functools.lru_cache(maxsize=256)
def _definition(packed: bytes) -> Definition[Any, Any]:
    """Return the definition that home has packed: found by its name, or made of its function.

    Raises:
        ImportError: its module cannot be imported here.
        TypeError: the module has no such function.
    """
    kind, name, found, receiver = pickle.loads(packed)  # noqa: S301 - home has pickled it
    fn = found
    if isinstance(found, FoundFunction):
        fn = function_in(importlib.import_module(found.module), found.path)
    if not callable(fn):
        raise TypeError(f"On the worker, {found.module}:{found.path} is no function.")
    made: Definition[Any, Any] = kind(
        fn if receiver is None else types.MethodType(fn, receiver), name=name
    )

    return made


def _raised(error: BaseException) -> Raised:
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    pickled: bytes | None
    try:
        pickled = cloudpickle.dumps(error)
    except Exception:  # noqa: BLE001 - anything may be in it
        pickled = None

    return Raised(pickled, kind, error_text(error), traceback_text(error))


@functools.lru_cache(maxsize=8)
def _prepare_process(home_address: HomeAddress) -> None:
    """Have the process forward logs, keep no journal of its own, and be interruptible."""
    if os.getpid() == home_address.pid:
        return
    forward_logs(home_address)
    if (
        WAKE_SIGNAL is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(WAKE_SIGNAL) in _DEFAULTS
    ):
        signal.signal(WAKE_SIGNAL, on_wake_signal)


_DEFAULTS: Final = (signal.SIG_DFL, signal.SIG_IGN)
