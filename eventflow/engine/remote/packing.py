"""Pickling what an attempt needs: function, arguments, and what is known of its flow run."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import cloudpickle  # type: ignore[import-untyped]

from eventflow.definitions.definition import Definition
from eventflow.engine.dataflow import PLAIN
from eventflow.engine.invocation import Invocation
from eventflow.engine.remote.attempts import FlowFacts, RunFacts
from eventflow.hooks.references import function_reference, resolve
from eventflow.primitives.callables import MAIN, qualified_name
from eventflow.primitives.forks import renewed
from eventflow.primitives.loggers import get_logger
from eventflow.runners.failures import UnpicklableError
from eventflow.runners.frames import HomeAddress
from eventflow.runs.run import FlowRun, Run

__all__ = [
    "Attempt",
    "FoundFunction",
    "Packed",
    "function_in",
    "pack_arguments",
    "pack_flow",
    "pack_function",
    "run_facts",
]

_logger: Final = get_logger("runners")

LARGE: Final = 10_000_000
"""From how many bytes on arguments are said to be large."""

FLOW_PARAMETER: Final = 65_536
"""The most bytes of a flow run's parameter that is sent with its task runs."""

_lock = threading.Lock()
renewed(globals(), "_lock", threading.Lock)

_functions: Final[WeakKeyDictionary[Any, bytes]] = WeakKeyDictionary()
_flows: Final[WeakKeyDictionary[FlowRun, bytes]] = WeakKeyDictionary()
_warned: Final[WeakKeyDictionary[Any, bool]] = WeakKeyDictionary()


class FoundFunction(NamedTuple):
    """Where a worker finds a function."""

    module: str
    path: str


class Packed(NamedTuple):
    """Arguments: pickled, or as they are if they are plain."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    pickled: bytes | None = None


class Attempt(NamedTuple):
    """What is sent to a worker for an attempt."""

    home_address: HomeAddress
    ticket: int
    function: bytes
    arguments: Packed
    facts: RunFacts
    flow: bytes | None


def pack_function(definition: Definition[Any, Any]) -> bytes:
    """Return a definition's function, pickled: by reference where a worker can import it.

    Raises:
        UnpicklableError: it can be neither imported there nor pickled.
    """
    packed = _functions.get(definition)
    if packed is None:
        packed = _pickled_function(definition)
        with _lock:
            _functions[definition] = packed

    return packed


def _pickled_function(definition: Definition[Any, Any]) -> bytes:
    fn: Any = definition.fn
    inner = getattr(fn, "__func__", fn)
    place = _place_of(inner)
    found = FoundFunction(*place) if place is not None else inner
    source = (type(definition), definition.name, found, getattr(fn, "__self__", None))
    try:
        packed: bytes = cloudpickle.dumps(source)
    except Exception as error:
        raise UnpicklableError(f"The function of the task {definition.name}", error) from error

    return packed


def _place_of(function: Any) -> tuple[str, str] | None:
    """Return the module and path by which a worker can import a function; None if it cannot."""
    name, _, path = qualified_name(function).partition(":")
    module = sys.modules.get(name)
    # One that was put there by hand, and the main one, are not found by their names.
    if name == MAIN or module is None or getattr(module, "__spec__", None) is None:
        return None
    if function_in(module, path) is not function or "@" in function_reference(function):
        return None

    return name, path


def function_in(module: ModuleType, path: str) -> Any:
    """Return the function to which a path in a module leads, perhaps as that of a definition."""
    value = resolve(module, path)
    held = getattr(value, "fn", value)

    return getattr(held, "__func__", held)


def pack_arguments(invocation: Invocation) -> Packed:
    """Return the arguments of a call, pickled.

    Raises:
        UnpicklableError: one of them cannot be pickled.
    """
    args, kwargs = invocation.args, invocation.kwargs
    for value in (*args, *kwargs.values()):
        if type(value) not in PLAIN:
            break
    else:
        _warn_if_large(invocation, sum(map(sys.getsizeof, (*args, *kwargs.values()))))
        return Packed(args, kwargs)
    try:
        pickled = cloudpickle.dumps((args, kwargs))
    except Exception as error:
        raise _culprit(invocation, error) from error
    _warn_if_large(invocation, len(pickled))

    return Packed((), {}, pickled)


def _culprit(invocation: Invocation, error: Exception) -> UnpicklableError:
    """Return an error that names the first argument that cannot be pickled."""
    task = f"of the task {invocation.definition.name}"
    for name, value in invocation.run.parameters.items():
        try:
            cloudpickle.dumps(value)
        except Exception as own:  # noqa: BLE001 - a value may raise anything when it is pickled
            return UnpicklableError(f"The argument {name!r} {task}", own)

    return UnpicklableError(f"An argument {task}", error)


def _warn_if_large(invocation: Invocation, size: int) -> None:
    if size < LARGE:
        return
    origin = invocation.definition.origin
    with _lock:
        if origin in _warned:
            return
        _warned[origin] = True
    name = invocation.definition.name
    _logger.warning(
        "The arguments of the task %s take %s MB, which are sent to a worker for each attempt. "
        "Pass the place where a worker can read them instead.",
        name,
        f"{size / 1e6:,.0f}",
    )


def run_facts(invocation: Invocation) -> RunFacts:
    """Return what a worker has to know of a task run that is about to begin an attempt."""
    run = invocation.run
    entered = run.created_at

    return RunFacts(
        run.number,
        run.given_name,
        run.tag_set,
        run.run_count + 1,
        _number(run.parent_run_id),
        _number(run.flow_run_id),
        _number(run.root_flow_run_id),
        getattr(entered, "at", 0),
        invocation.context.log_prints,
        invocation.definition.timeout_seconds,
    )


def _number(id: Any) -> int | None:
    return None if id is None else id.int


def pack_flow(flow_run: FlowRun | None) -> bytes | None:
    """Return what a worker has to know of the flow run around a task run, pickled."""
    if flow_run is None:
        return None
    packed = _flows.get(flow_run)
    if packed is None:
        facts = FlowFacts(
            flow_run.number,
            flow_run.name,
            flow_run.flow_name,
            getattr(flow_run.definition, "declared_version", None),
            flow_run.tag_set,
            flow_run.run_count,
            _number(flow_run.parent_flow_run_id),
            _number(flow_run.root_flow_run_id),
            getattr(flow_run.created_at, "at", 0),
            *_parameters(flow_run),
        )
        packed = _flows[flow_run] = cloudpickle.dumps(facts)

    return packed


def _parameters(run: Run) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the parameters of a run that are sent, and why the others are not, by their names."""
    sent: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, value in run.parameters.items():
        try:
            size = len(cloudpickle.dumps(value))
        except Exception as error:  # noqa: BLE001 - a value may raise anything when it is pickled
            missing[name] = f"it cannot be pickled: {type(error).__name__}: {error}"
        else:
            if size <= FLOW_PARAMETER:
                sent[name] = value
            else:
                missing[name] = f"it takes {size:,} bytes, more than is sent with each task run"

    return sent, missing
