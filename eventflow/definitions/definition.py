"""What flows and tasks share: a function, its name and options, and its declared hooks."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, ParamSpec, Self, TypeAlias, TypeVar, cast

from eventflow.definitions.parameters import Parameters
from eventflow.definitions.pickling import rebound, reduced
from eventflow.errors import ParameterError, SignatureMismatchError
from eventflow.eventbus.subscriptions import Subscription, hooks_changed
from eventflow.hooks.declaration import KINDS, Hook, HookFunction
from eventflow.hooks.receiver import HookReceiver
from eventflow.primitives.callables import is_async, qualified_name
from eventflow.primitives.records import printable
from eventflow.retries import RetryPolicy, read_timeout
from eventflow.runs.run import RunType
from eventflow.states import StateType
from eventflow.values.masking import without_secrets

__all__ = ["KEEP", "Definition", "HookList", "RunName", "changed"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
H = TypeVar("H", bound=HookFunction)

RunName: TypeAlias = "str | Callable[[], str] | None"
"""A template over the parameters, as for `str.format`, or a function that returns the name."""

HookList: TypeAlias = "Iterable[HookFunction | Hook] | None"
"""Hooks of one kind; any iterable, which is copied."""


KEEP: Final[Any] = object()
"""The default of an option that was not given, where None is a value."""


class Definition(Generic[P, R]):
    """A function with options and hooks; calling it makes a run.

    `with_options` returns a copy with some options changed; two definitions never share hooks.
    As of a function, `copy.copy` gives the definition itself, and pickle only says where another
    process finds it: in the module that holds it.
    """

    run_type: ClassVar[RunType]
    tags: frozenset[str] = frozenset()

    # Options of only one of the two kinds, which the engine reads of both.
    validate_parameters: bool = False
    retry_condition_fn: Callable[..., object] | None = None
    cache_key_fn: Callable[..., object] | None = None
    cache_expiration: timedelta | None = None
    refresh_cache: bool = False

    def __init__(self, fn: Callable[P, R], options: Mapping[str, Any] | None = None) -> None:
        inner = _undecorated(fn)
        if not callable(inner):
            raise TypeError(
                f"@{self.run_type} takes a function, but got {fn!r}; "
                f"options are given by keyword: @{self.run_type}(name=...)."
            )
        self.fn: Callable[P, R] = fn
        self.name = self._default_name(printable(_name_of(inner)))
        self._own = {"name": self.name, "description": inspect.getdoc(inner)}
        self.version: str | None = None
        self.description = inspect.getdoc(inner)
        self.run_name: RunName = None
        self.retry = RetryPolicy()
        self._retrying: dict[str, Any] = dict.fromkeys(_RETRY)
        self.timeout_seconds: float | None = None
        self.log_prints: bool | None = None
        self.is_async = is_async(inner) or inspect.isasyncgenfunction(inner)
        self.is_generator = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
        self.origin: Definition[Any, Any] = self
        self.declared: tuple[Subscription, ...] = ()
        self._hooks: tuple[tuple[str, Hook], ...] = ()
        self._bound_parameters: Parameters | None = None
        self._set(options or {})
        self.parameters = Parameters(inner, self.name)
        functools.update_wrapper(cast("Callable[..., Any]", self), inner, updated=())

    @staticmethod
    def _default_name(function: str) -> str:
        """Return the definition's name, if none is given, for the name of its function."""
        return function

    def _set(self, options: Mapping[str, Any]) -> None:
        """Set options by their names in the decorators; None sets the default."""
        for option, value in options.items():
            if option in KINDS or option == "hooks":
                self._set_hooks(option, value)
            elif option not in _RETRY:
                attribute, read = _OPTIONS.get(option, (option, _unchanged))
                default = self._own.get(option, getattr(type(self), attribute, None))
                setattr(self, attribute, default if value is None else read(value))
        given = {option: options[option] for option in _RETRY & options.keys()}
        if given:
            # Kept as given: a function of the number of retries must be called again.
            self._retrying = {**self._retrying, **given}
            self.retry = RetryPolicy.of(*(self._retrying[option] for option in _RETRY_ORDER))

    # -- hooks ------------------------------------------------------------------------------

    def _set_hooks(self, kind: str, given: Any) -> None:
        if given is None:
            return
        hooks = tuple((kind, self._hook(kind, hook)) for hook in self._checked(kind, given))
        self._hooks = (*(pair for pair in self._hooks if pair[0] != kind), *hooks)
        self._declare()

    def _checked(self, kind: str, given: Any) -> tuple[HookFunction | Hook, ...]:
        advice = (
            f"Please provide a list of hooks to '{kind}':\n\n"
            f"@{self.run_type}({kind}=[hook1, hook2])\ndef my_{self.run_type}():\n\tpass"
        )
        if not isinstance(given, Iterable):
            got = type(given).__name__
            raise TypeError(f"Expected iterable for '{kind}'; got {got} instead. {advice}")
        hooks = tuple(given)
        for hook in hooks:
            if not callable(hook) and not isinstance(hook, Hook):
                got = type(hook).__name__
                raise TypeError(f"Expected callables in '{kind}'; got {got} instead. {advice}")

        return hooks

    def _hook(self, kind: str, given: HookFunction | Hook) -> Hook:
        if kind not in KINDS:
            return given if isinstance(given, Hook) else Hook(given)
        if isinstance(given, Hook):
            return given.on(KINDS[kind])

        return Hook(given, state=KINDS[kind])

    def _declare(self) -> None:
        # A new tuple each time: by its identity the bus knows that it must compile routes again.
        self.origin.declared = tuple(
            Subscription(hook.fn, HookReceiver(hook), hook.filter(), serial=0, hook=hook)
            for _, hook in self.origin._hooks  # noqa: SLF001 - its own kind
        )

    def _add(self, kind: str, hook: Hook) -> None:
        origin = self.origin
        origin._hooks = (*origin._hooks, (kind, hook))  # noqa: SLF001 - its own kind
        self._declare()
        hooks_changed(origin)

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks declared on this definition, in the order of their declaration."""
        return tuple(hook for _, hook in self.origin._hooks)  # noqa: SLF001 - its own kind

    def _add_kind(self, kind: str, fn: H) -> H:
        self._add(kind, self._hook(kind, self._checked(kind, [fn])[0]))

        return fn

    def on_running(self, fn: H) -> H:
        """Run the decorated function before every attempt."""
        return self._add_kind("on_running", fn)

    def on_completion(self, fn: H) -> H:
        """Run the decorated function when a run completes."""
        return self._add_kind("on_completion", fn)

    def on_failure(self, fn: H) -> H:
        """Run the decorated function when a run fails, after its last retry."""
        return self._add_kind("on_failure", fn)

    def on_cancellation(self, fn: H) -> H:
        """Run the decorated function when a run is being cancelled."""
        return self._add_kind("on_cancellation", fn)

    def on_crashed(self, fn: H) -> H:
        """Run the decorated function when a run is ended from outside."""
        return self._add_kind("on_crashed", fn)

    def on(self, *states: str | StateType) -> Callable[[H], H]:
        """Run the decorated function when a run enters any of these states.

        Raises:
            TypeError: no state was given, or something that is no state's name or type.
        """
        if not states or any(not isinstance(state, str) for state in states):
            raise TypeError(
                f'{self.name}.on(...) takes states, such as {self.name}.on("Failed", '
                f"StateType.CRASHED), but got {states!r}."
            )

        def declare(fn: H) -> H:
            checked = self._checked("on", [fn])[0]
            assert not isinstance(checked, Hook)  # noqa: S101 - for the type checker
            self._add("on", Hook(checked, state=states))
            return fn

        return declare

    # -- runs -------------------------------------------------------------------------------

    def render_name(self, values: Mapping[str, Any]) -> str | None:
        """Return a run's name made from its parameters; None if the definition has no template.

        What is secret among the parameters is masked in it.

        Raises:
            SignatureMismatchError: the template names a parameter that does not exist.
            TypeError: the function for it returned something else than a string.
            Exception: the template does not fit the values, or the function raised; a note says so.
        """
        if self.run_name is None:
            return None
        secrets = self.parameters.secrets(values)
        what = "function" if callable(self.run_name) else repr(self.run_name)
        try:
            name = self._formatted_name(self.run_name, values)
        except ParameterError:
            raise
        except Exception as error:
            error.add_note(f"It comes from the run name {what} of {self.name}.")
            raise
        if isinstance(name, str):
            return without_secrets(name, secrets)
        gave = without_secrets(repr(name), secrets)
        raise TypeError(f"The run name function of {self.name} gave {gave}, no string.")

    def _formatted_name(self, name: str | Callable[[], str], values: Mapping[str, Any]) -> object:
        if callable(name):
            return self._called_name(name)
        try:
            return name.format(**self.parameters.masked(values))
        except (KeyError, IndexError) as error:
            template = f"{name!r} of {self.name}"
            raise SignatureMismatchError(template, values, [str(error).strip("'")]) from error

    def _called_name(self, function: Callable[[], str]) -> object:
        required = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty and parameter.kind not in _VARIADIC
        ]
        if required:
            raise SignatureMismatchError(f"The run name function of {self.name}", required, [])

        return function()

    # -- copies -----------------------------------------------------------------------------

    def bound(self, instance: object, owner: type | None) -> Self:
        """Bind like a function, so that methods of all kinds can be decorated."""
        fn: Any = self.fn
        if not hasattr(fn, "__get__") or (
            instance is None and not isinstance(fn, classmethod | staticmethod)
        ):
            return self
        bound = self._copied()
        bound.fn = fn.__get__(instance, owner)
        origin = self.origin
        if origin._bound_parameters is None:  # noqa: SLF001 - its own kind
            origin._bound_parameters = Parameters(bound.fn, self.name)  # noqa: SLF001
        bound.parameters = origin._bound_parameters  # noqa: SLF001

        return bound

    def _copied(self) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(vars(self))

        return copied

    def _with(self, options: Mapping[str, Any]) -> Self:
        """Return an independent copy with some options changed and some kinds of hooks replaced."""
        copied = self._copied()
        copied._become_independent(options)  # noqa: SLF001 - its own kind

        return copied

    def _become_independent(self, options: Mapping[str, Any]) -> None:
        self._hooks = self.origin._hooks  # noqa: SLF001 - its own kind
        self.origin = self
        self._bound_parameters = None
        self._set(options)
        self.parameters = self.parameters.renamed(self.name)
        self._declare()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self.origin is self:
            return self
        bound_to: Any = getattr(self.fn, "__self__", None)

        return rebound(self.origin, copy.deepcopy(bound_to, memo))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return reduced(self, protocol)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, fn={qualified_name(self.fn)})"


def changed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options among a function's arguments that were set."""
    return {
        option: value
        for option, value in given.items()
        if option not in {"self", "fn"} and value is not KEEP
    }


def _unchanged(value: Any) -> Any:
    return value


def _read_tags(tags: Iterable[str]) -> frozenset[str]:
    return frozenset(map(printable, [tags] if isinstance(tags, str) else tags))


_OPTIONS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "name": ("name", printable),
    "flow_run_name": ("run_name", _unchanged),
    "task_run_name": ("run_name", _unchanged),
    "tags": ("tags", _read_tags),
    "timeout_seconds": ("timeout_seconds", read_timeout),
}
_VARIADIC: Final = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_RETRY_ORDER: Final = ("retries", "retry_delay_seconds", "retry_jitter_factor")
_RETRY: Final = frozenset(_RETRY_ORDER)


def _undecorated(fn: Any) -> Any:
    return fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn


def _name_of(fn: object) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func

    return getattr(fn, "__name__", None) or type(fn).__name__
