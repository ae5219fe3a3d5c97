"""All that the engine needs to execute one run, and the preparation of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from eventflow import caches
from eventflow.context import RunContext, current_run, current_tags
from eventflow.definitions import Definition
from eventflow.errors import CacheKeyError
from eventflow.eventbus import EventBus
from eventflow.futures import Future, allow_failure
from eventflow.outcomes import tolerated, upstream, without_futures
from eventflow.runners import Scope
from eventflow.runs import FlowRun, Run, TaskRun
from eventflow.states import State
from eventflow.wiring import wired_bus

__all__ = ["Job"]

_MARKED = (Future, State, allow_failure, list, tuple, set, frozenset, dict)


class Job:
    """One run to be executed: its definition, its arguments, and where it stands."""

    __slots__ = ("args", "bus", "cache_key", "closed_early", "context", "definition", "kwargs")
    __slots__ += ("problem", "run", "waits_for")

    def __init__(
        self,
        definition: Definition[Any, Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        waits_for: Iterable[Any] | None = None,
        scope: Scope | None = None,
    ) -> None:
        above = current_run.get()
        self.definition = definition
        self.args = args
        self.kwargs = kwargs
        self.bus: EventBus = wired_bus()
        self.problem: Exception | None = None
        self.cache_key: str | None = None
        self.closed_early = False
        self.waits_for = () if waits_for is None else _listed(waits_for)
        self.run = self._make_run(None if above is None else above.run)
        flow_run = self.run if isinstance(self.run, FlowRun) else above and above.flow_run
        self.context = RunContext(self.run, flow_run, scope or (above and above.scope))
        if definition.run_name is not None and not self._marked():
            self._name_run()

    def _make_run(self, above: Run | None) -> Run:
        kind = FlowRun if self.definition.run_type == "flow" else TaskRun
        labels = self.definition.tags | current_tags.get()

        return kind(self.definition, self.definition.name, self._bind_quietly, labels, above)

    def _bind_quietly(self) -> dict[str, Any]:
        try:
            return self.definition.parameters.bind(self.args, self.kwargs)
        except Exception:  # noqa: BLE001 - the run fails with it, whoever looks at parameters
            return {}

    def _name_run(self) -> None:
        try:
            values = self.definition.parameters.bind(self.args, self.kwargs)
            name = self.definition.render_name(values)
        except Exception as error:  # noqa: BLE001 - kept: the run must exist to fail with it
            self.problem = error
        else:
            self.run.name = name or self.run.name

    def _marked(self) -> bool:
        """Whether something among the arguments may be a future, a state or a mark."""
        return any(isinstance(value, _MARKED) for value in (*self.args, *self.kwargs.values()))

    @property
    def scope(self) -> Scope | None:
        """The scope of the tasks that this run itself submits, if it is a flow run."""
        return self.context.scope if isinstance(self.run, FlowRun) else None

    def body(self) -> Any:
        """Call a sync body, and wait for the tasks that it submitted."""
        result = self.definition.fn(*self.args, **self.kwargs)
        scope = self.scope
        if scope is not None and not scope.empty:
            scope.join()

        return result

    def upstream(self) -> list[Future[Any]]:
        """Give the futures that must have ended before the body can begin."""
        if not self.waits_for and not self._marked():
            return []
        given = (self.args, self.kwargs, self.waits_for)

        return upstream(given)[0] + tolerated(given)

    def not_ready(self) -> str | None:
        """Say what this run waits for and did not complete."""
        if not self.waits_for and not self._marked():
            return None
        futures, states = upstream((self.args, self.kwargs, self.waits_for))
        for future in futures:
            if not future.state.is_completed:
                return f"Upstream task run {future.run.name!r} did not complete: {future.state}."
        for state in states:
            if not state.is_completed:
                return f"An upstream run did not complete: {state}."

        return None

    def prepare(self, *, validate: bool) -> None:
        """Bind and check the arguments and name the run.

        Raises:
            ParameterBindError: the arguments do not fit the signature.
            ParameterTypeError: an argument does not fit its annotation.
            SignatureMismatchError: the run name's template asks for another parameter.
        """
        if self.problem is not None:
            raise self.problem
        marked = self._marked()
        if marked:
            self.args = tuple(without_futures(list(self.args)))
            self.kwargs = without_futures(self.kwargs)
        parameters = self.definition.parameters
        if validate:
            checked = parameters.validate(parameters.bind(self.args, self.kwargs))
            self.args, self.kwargs = parameters.call_with(checked)
            self.run.parameters = checked
        elif not parameters.fits(self.args, self.kwargs):
            self.run.parameters = parameters.bind(self.args, self.kwargs)
        if marked and self.definition.run_name is not None:
            self._name_run()
            if self.problem is not None:
                raise self.problem

    def cached(self, key_fn: Callable[..., object], *, refresh: bool) -> Any:
        """Give the cached result of this run, or `caches.MISSING`.

        Raises:
            CacheKeyError: the key function raised, or gave no string.
        """
        name = self.definition.name
        try:
            key = key_fn(self.context, dict(self.run.parameters))
        except Exception as error:
            raise CacheKeyError(name, f"raised {type(error).__name__}: {error}") from error
        if key is None:
            return caches.MISSING
        if not isinstance(key, str):
            raise CacheKeyError(name, f"gave {key!r}, a {type(key).__name__}")
        self.cache_key = key

        return caches.MISSING if refresh else caches.results().get(key)


def _listed(given: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, Iterable) else (given,)
