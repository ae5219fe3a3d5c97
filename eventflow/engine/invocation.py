"""The invocation: one call of a definition, with its arguments and its run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import Context
from functools import partial
from typing import Any

from eventflow.context import ActiveRun, current_run, current_tags, get_run_context
from eventflow.definitions.definition import Definition
from eventflow.engine.containers import kind_of
from eventflow.engine.dataflow import (
    NO_DEPENDENCIES,
    PLAIN,
    Dependencies,
    find_dependencies,
    without_futures,
)
from eventflow.engine.kept_items import (
    Replay,
    from_the_first_item,
    is_plain_iterator,
    with_items_kept,
)
from eventflow.errors import CacheKeyError, HiddenFutureError
from eventflow.eventbus.bus import EventBus, bus_of_runs
from eventflow.interrupts.portals import running_loop
from eventflow.logs import take_prints
from eventflow.reporting import report_end, report_start
from eventflow.runs.futures import Future
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.result_cache import results
from eventflow.runs.run import FlowRun, Run, TaskRun, Transition
from eventflow.runs.task_scope import TaskScope
from eventflow.states.kinds import COMPLETED, PENDING

__all__ = ["Invocation"]


class Invocation:
    """One run to be executed: its definition, its arguments, and what the engine keeps with it."""

    __slots__ = (
        "args",
        "begin_error",
        "body_context",
        "bus",
        "cache_key",
        "checked",
        "context",
        "definition",
        "dependencies",
        "future",
        "generator_closed",
        "items",
        "kwargs",
        "lifecycle",
        "run",
        "scope",
        "shipped",
        "start_error",
    )

    items: list[Any] | None
    """What a generator's body has yielded, or a cached run yields, if its task has a cache."""

    scope: TaskScope | None
    """The scope of the tasks that this run itself submits, if it is a flow run."""

    # Set by the driver: the lifecycle, which is suspended while the body is executed, and the
    # context of the body.
    lifecycle: Any
    body_context: Context

    def __init__(
        self,
        definition: Definition[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wait_for: Iterable[Any] | None = None,
    ) -> None:
        parent = current_run.get()
        self.definition = definition
        self.args = args
        self.kwargs = kwargs
        self.bus: EventBus = bus_of_runs()
        self.begin_error: Exception | None = None
        self.start_error: BaseException | None = None
        self.checked = False
        self.cache_key: tuple[str, bool] | None = None
        self.items: list[Any] | None = None
        self.generator_closed = False
        self.shipped = False  # whether a worker executes the body
        self.future: Future[Any] | None = None
        self.dependencies = self._find_dependencies(wait_for)
        self.run = self._make_run(None if parent is None else parent.run)
        self.context = self._make_context(parent)
        if definition.run_name is not None and self.dependencies is NO_DEPENDENCIES:
            self._name_run()

    def _find_dependencies(self, wait_for: Iterable[Any] | None) -> Dependencies:
        if wait_for is not None:
            return find_dependencies((self.args, self.kwargs, _as_tuple(wait_for)))
        for value in (*self.args, *self.kwargs.values()):
            if type(value) not in PLAIN and kind_of(type(value)) is not None:
                return find_dependencies((self.args, self.kwargs))

        return NO_DEPENDENCIES

    def _make_run(self, parent: Run | None) -> Run:
        definition = self.definition
        kind = FlowRun if definition.run_type == "flow" else TaskRun
        # Not a bound method, which would make a reference cycle of the run and this invocation.
        parameters = partial(_bind_quietly, definition, self.args, self.kwargs)

        current = current_tags.get()
        labels = definition.tags | current if current else definition.tags

        run = kind(definition, definition.name, parameters, labels, parent)
        run.bus = self.bus

        return run

    def _make_context(self, parent: ActiveRun | None) -> ActiveRun:
        run, definition = self.run, self.definition
        flow_run, scope, log_prints = None, None, definition.log_prints
        if isinstance(run, FlowRun):
            loop = running_loop() if definition.isasync else None
            flow_run, scope = run, TaskScope(definition.task_runner, loop)
        self.scope = scope
        if parent is not None:
            flow_run = flow_run or parent.flow_run
            scope = scope or parent.scope
            log_prints = parent.log_prints if log_prints is None else log_prints
        if not log_prints:
            return ActiveRun(run, flow_run, scope)
        # Of nested runs, the outermost one: where the output is redirected, nothing is logged.
        stdout = take_prints()
        if parent is not None and parent.log_prints:
            stdout = parent.stdout

        return ActiveRun(run, flow_run, scope, log_prints=True, stdout=stdout)

    def begin(self) -> Transition:
        """Enter Pending; only flow runs, which have a scope, may have their start reported."""
        if self.scope is not None:
            report_start(self.run, self.bus)

        return self.run.enter(LazyState(PENDING, "Pending"))

    def end(self, final: LazyState) -> Transition:
        """Enter the final state, and report it unless it is that of a task run that completed."""
        transition = self.run.enter(final)
        if final.type is not COMPLETED or self.scope is not None:
            report_end(self.run, self.bus)

        return transition

    def _name_run(self) -> None:
        """Check the parameters and name the run, before its first transition if that is possible.

        The run is in force meanwhile, for a function that asks for its parameters. A problem is
        raised by `prepare`: the run must exist to fail with it.
        """
        token = current_run.set(self.context)
        try:
            self._check()
            self.run.name = self.definition.render_name(self.run.parameters) or self.run.name
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            self.begin_error = error
        finally:
            current_run.reset(token)

    def _check(self) -> None:
        """Bind the arguments, and have them validated if the definition asks for that."""
        parameters = self.definition.parameters
        self.checked = True
        if self.definition.should_validate_parameters:
            checked = parameters.validate(parameters.bind(self.args, self.kwargs))
            self.args, self.kwargs = parameters.call_with(checked)
            self.run.parameters = self.definition.with_receiver(checked)
        elif not parameters.fits(self.args, self.kwargs):
            bound = parameters.bind(self.args, self.kwargs)
            self.run.parameters = self.definition.with_receiver(bound)

    def body(self) -> Any:
        """Call a sync body, and wait for the tasks that it submitted."""
        result = self.definition.fn(*self.args, **self.kwargs)
        scope = self.scope
        if scope is not None and not scope.empty:
            scope.join()

        return result

    def upstream(self) -> list[Future[Any]]:
        """Return the futures that must have ended before the body can begin."""
        return [*self.dependencies.futures, *self.dependencies.tolerated]

    def not_ready(self) -> str | None:
        """Return why the body cannot begin: a dependency that did not complete. Else None."""
        for future in self.dependencies.futures:
            if not future.state.is_completed():
                return f"Upstream task run {future.run.name!r} did not complete: {future.state}."
        for state in self.dependencies.states:
            if not state.is_completed():
                return f"An upstream run did not complete: {state}."

        return None

    def prepare(self) -> None:
        """Bind and check the arguments and name the run.

        Raises:
            ParameterBindError: the arguments do not fit the signature.
            ParameterTypeError: an argument does not fit its annotation.
            HiddenFutureError: an object among the arguments has a future as an attribute.
            SignatureMismatchError: the run name's template asks for another parameter.
            Exception: the run's name cannot be made.
        """
        if self.dependencies is not NO_DEPENDENCIES:
            if self.dependencies.hidden:
                raise HiddenFutureError(self.definition.name, self.dependencies.hidden)
            self.args, self.kwargs = without_futures((self.args, self.kwargs))
            self.run.parameters = partial(_bind_quietly, self.definition, self.args, self.kwargs)
            if self.definition.run_name is not None:
                self._name_run()
        if self.begin_error is not None:
            raise self.begin_error
        if not self.checked:
            self._check()
        if self.definition.retry.retries:
            self.args, self.kwargs = with_items_kept(self.args, self.kwargs)

    @property
    def blocks(self) -> bool:
        """Whether a thread is blocked while the run waits."""
        return not (self.definition.isasync or self.shipped)

    def rewind(self) -> None:
        """Have the next attempt see again the items of the iterators among the arguments."""
        self.args, self.kwargs = from_the_first_item(self.args, self.kwargs)

    def set_cache_key(self, key_fn: Callable[..., object]) -> None:
        """Set the key under which the result is cached; None for no cache.

        Raises:
            CacheKeyError: the key function raised, or returned no string.
        """
        name = self.definition.name
        try:
            key = key_fn(get_run_context(), dict(self.run.parameters))
        except Exception as error:
            raise CacheKeyError(name, f"raised {type(error).__name__}: {error}") from error
        if key is None:
            return
        if not isinstance(key, str):
            raise CacheKeyError(name, f"gave a {type(key).__name__}")
        # What a generator yields is of no use to a task that returns a result, nor the reverse.
        self.cache_key = (key, self.definition.isgenerator)
        self.run.cache_key = key

    def cached_result(self, stored: Any) -> Any:
        """Return the result for this run that another has stored, and set the items it yielded."""
        if self.definition.isgenerator:
            self.items, stored = stored

        return stored.again() if isinstance(stored, Replay) else stored

    @property
    def cached_items(self) -> list[Any]:
        """What a generator's run yields that was found in the cache."""
        return self.items or [] if self.run.state_name == "Cached" else []

    def store_result(self, final: LazyState) -> LazyState:
        """Store the result under the key of the cache; return the final state.

        The items of an iterator are kept, and the state is given one that goes through them. What
        cannot be gone through again is not stored, nor is what a consumer has not taken whole.
        """
        stored = final.data
        if is_plain_iterator(stored) and type(final) is LazyState:
            stored = Replay(stored)
            final = LazyState(COMPLETED, final.name, None, stored.again())
        elif isinstance(stored, Iterator | AsyncIterator) or self.generator_closed:
            return final
        if self.definition.isgenerator:
            stored = ([*(self.items or ())], stored)
        results().put(self.cache_key, stored, self.definition.cache_expiration)

        return final


def _bind_quietly(
    definition: Definition[Any, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        parameters = definition.parameters
        values = parameters.bind(args, kwargs)
        return definition.with_receiver(values) if parameters.is_bound else values
    except Exception:  # noqa: BLE001 - the run fails with it
        return {}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,)
