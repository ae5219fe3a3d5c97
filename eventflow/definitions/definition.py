"""What flows and tasks share: a function, its name and options, and its declared hooks."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, ParamSpec, Self, TypeVar, cast

from eventflow.definitions.hooked import Hooked
from eventflow.definitions.options import read_option, refuse_unknown
from eventflow.definitions.parameters import Parameters
from eventflow.definitions.pickling import rebound, reduced
from eventflow.definitions.run_names import RunName, check_run_name, made_run_name
from eventflow.hooks.declaration import KINDS
from eventflow.primitives.callables import is_async, qualified_name
from eventflow.primitives.texts import printable
from eventflow.retries import RetryPolicy
from eventflow.values.masking import without_secrets

if TYPE_CHECKING:
    from eventflow.runs.task_scope import TaskRunner

__all__ = ["Definition"]

P = ParamSpec("P")
R = TypeVar("R", covariant=True)


class Definition(Hooked, Generic[P, R]):
    """A function with options and hooks; calling it makes a run.

    `with_options` returns a copy with some options changed; two definitions never share hooks, and
    no option of one is ever set. As of a function, `copy.copy` gives the definition itself, and
    pickle only says where another process finds it: in the module that holds it.
    """

    option_names: ClassVar[frozenset[str]]
    """The names of the options that the decorator takes."""

    fn: Callable[P, R]
    isasync: bool
    isgenerator: bool
    name: str
    description: str | None
    declared_version: str | None = None
    tags: frozenset[str] = frozenset()
    run_name: RunName = None
    retry: RetryPolicy = RetryPolicy()
    timeout_seconds: float | None = None
    overdue_seconds: float | None = None
    log_prints: bool | None = None

    # Options of only one of the two kinds, which the engine reads of both.
    should_validate_parameters: bool = False
    retry_condition_fn: Callable[..., object] | None = None
    cache_key_fn: Callable[..., object] | None = None
    cache_expiration: timedelta | None = None
    refresh_cache: bool = False

    # Of flows only.
    task_runner: TaskRunner

    def __init__(self, fn: Callable[P, R], options: Mapping[str, Any]) -> None:
        inner = _undecorated(fn)
        if not callable(inner):
            raise TypeError(
                f"@{self.run_type} takes a function, but got {fn!r}; "
                f"options are given by keyword: @{self.run_type}(name=...)."
            )
        self.fn = fn
        function = printable(_name_of(inner))
        self._own = {
            "name": self._default_name(function),
            "description": inspect.getdoc(inner),
        }
        self._retrying: dict[str, Any] = dict.fromkeys(_RETRY)
        is_async_generator = inspect.isasyncgenfunction(inner)
        self._put("isasync", is_async(inner) or is_async_generator)
        self._put("isgenerator", inspect.isgeneratorfunction(inner) or is_async_generator)
        self.origin: Definition[Any, Any] = self
        self._bound_parameters: Parameters | None = None
        for option, value in self._own.items():
            self._put(option, value)
        self.parameters = Parameters(inner, function)
        self._set(options)
        functools.update_wrapper(cast("Callable[..., Any]", self), inner, updated=())

    @staticmethod
    def _default_name(function: str) -> str:
        """Return the definition's name, if none is given, for the name of its function."""
        return function

    # -- options ----------------------------------------------------------------------------

    def _set(self, options: Mapping[str, Any]) -> None:
        """Set options by their names in the decorators; None sets the default."""
        refuse_unknown(self.run_type, options, self.option_names)
        # In the end the hooks, which may need the others.
        for option, value in sorted(options.items(), key=lambda pair: pair[0] in _HOOKS):
            if option in _HOOKS:
                self._set_hooks(option, value)
            elif option not in _RETRY:
                attribute = _ATTRIBUTES.get(option, option)
                if value is not None:
                    self._put(attribute, read_option(self.run_type, option, value))
                elif option in self._own:
                    self._put(attribute, self._own[option])
                else:
                    self._put_default(attribute)
                if attribute == "run_name" and self.run_name is not None:
                    check_run_name(option, self.run_name, self.parameters.names)
        given = {option: _kept(options[option]) for option in _RETRY & options.keys()}
        if given:
            # Kept as given: a function of the number of retries must be called again.
            self._retrying = {**self._retrying, **given}
            retry = RetryPolicy.of(*(self._retrying[option] for option in _RETRY_ORDER))
            self._put("retry", retry)
        self.parameters = self.parameters.renamed(self.name)

    def _put(self, attribute: str, value: object) -> None:
        object.__setattr__(self, attribute, value)

    def _put_default(self, attribute: str) -> None:
        with contextlib.suppress(AttributeError):  # it is the default: the attribute of the class
            object.__delattr__(self, attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        option = _OPTIONS_OF.get(attribute, attribute)
        if option in self.option_names or attribute in _DERIVED:
            advice = (
                f"make a copy with another value: with_options({option}=...)."
                if option in self.option_names
                else "it follows from the function and options, which with_options(...) changes."
            )
            raise AttributeError(
                f"{attribute!r} of the {self.run_type} {self.name!r} cannot be set; {advice}"
            )
        object.__setattr__(self, attribute, value)

    @property
    def version(self) -> str | None:
        """The version that was declared."""
        return self.declared_version

    @property
    def retries(self) -> int:
        """How often a failed attempt is tried again."""
        return self.retry.retries

    @property
    def retry_delay_seconds(self) -> float | list[float]:
        """Seconds before each retry: one number for all, or one for each."""
        given = self._retrying["retry_delay_seconds"]
        if given is None:
            return 0

        return list(self.retry.delays) if callable(given) or isinstance(given, tuple) else given

    # -- runs -------------------------------------------------------------------------------

    def with_receiver(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values of parameters, and first what a method is bound to."""
        if not self.parameters.is_bound:
            return values
        fn: Any = self.fn

        return {str(self.parameters.receiver): fn.__self__, **values}

    def render_name(self, values: Mapping[str, Any]) -> str | None:
        """Return a run's name made from its parameters; None if none was declared.

        What is secret among the parameters is masked in it.

        Raises:
            TypeError: the function for it returned something else than a string.
            Exception: the template does not fit the values, or the function raised; a note says so.
        """
        if self.run_name is None:
            return None
        secrets = self.parameters.secrets(values)
        is_function = callable(self.run_name)
        given = values if is_function else self.parameters.masked(values)
        try:
            name = made_run_name(self.run_name, given)
        except Exception as error:
            what = "function" if is_function else repr(self.run_name)
            error.add_note(f"It comes from the run name {what} of {self.name}.")
            raise
        if isinstance(name, str):
            return without_secrets(name, secrets)
        gave = without_secrets(repr(name), secrets)
        raise TypeError(f"The run name function of {self.name} gave {gave}, no string.")

    # -- copies -----------------------------------------------------------------------------

    def bound(self, instance: object, owner: type | None) -> Self:
        """Bind like a function, so that methods of all kinds can be decorated."""
        fn: Any = self.fn
        if not hasattr(fn, "__get__") or (
            instance is None and not isinstance(fn, classmethod | staticmethod)
        ):
            return self
        function, origin = fn.__get__(instance, owner), self.origin
        if origin._bound_parameters is None:  # noqa: SLF001 - its own kind
            origin._bound_parameters = self.parameters.bound(function)  # noqa: SLF001

        return self._copied(fn=function, parameters=origin._bound_parameters)  # noqa: SLF001

    def _copied(self, **changes: Any) -> Self:
        copied = object.__new__(type(self))
        copied.__dict__.update(vars(self), **changes)

        return copied

    def _with(self, options: Mapping[str, Any]) -> Self:
        """Return an independent copy with some options changed and some kinds of hooks replaced."""
        copied = self._copied()
        copied._become_independent(options)  # noqa: SLF001 - its own kind

        return copied

    def restored(self, name: str) -> Self:
        """Return a copy with the name that a journal has, which is not checked."""
        copied = self._with({})
        copied._put("name", name)  # noqa: SLF001 - its own kind
        copied.parameters = self.parameters.renamed(name)

        return copied

    def _become_independent(self, options: Mapping[str, Any]) -> None:
        hooks_by_kind = self.origin.hooks_by_kind
        self.origin = self
        self._bound_parameters = None
        self._declare(hooks_by_kind)
        self._set(options)

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


# What an option is kept as, where that is not its name.
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "flow_run_name": "run_name",
    "task_run_name": "run_name",
    "validate_parameters": "should_validate_parameters",
    "version": "declared_version",
}
# What is read that an option sets, where that is not its name.
_OPTIONS_OF: Final[Mapping[str, str]] = {
    "should_validate_parameters": "validate_parameters",
    **{f"{kind}_hooks": kind for kind in KINDS},
}
_DERIVED: Final = frozenset(
    {"isasync", "isgenerator", "retry", "run_name", "declared_version", "file_version"}
)
_HOOKS: Final = frozenset({*KINDS, "hooks"})
_RETRY_ORDER: Final = ("retries", "retry_delay_seconds", "retry_jitter_factor")
_RETRY: Final = frozenset(_RETRY_ORDER)


def _kept(value: Any) -> Any:
    """Return a value that can be read again, which an iterator cannot."""
    is_several = isinstance(value, Iterable) and not isinstance(value, str)

    return tuple(value) if is_several else value


def _undecorated(fn: Any) -> Any:
    return fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn


def _name_of(fn: object) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func

    return getattr(fn, "__name__", None) or type(fn).__name__
