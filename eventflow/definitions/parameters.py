"""The parameters of a function: bind arguments to them, and validate the values."""

from __future__ import annotations

import copy
import functools
import inspect
import reprlib
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from eventflow.definitions.iterables import repeatable
from eventflow.errors import ParameterBindError, ParameterTypeError, ReservedArgumentError

__all__ = ["Parameters"]

RESERVED: Final = frozenset({"return_state", "wait_for"})

_POSITIONAL: Final = {
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
}


class Parameters:
    """The parameters of one function.

    Raises:
        ReservedArgumentError: one of them is named `return_state` or `wait_for`.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self.name = name
        self.signature = inspect.signature(function)
        for reserved in RESERVED & self.signature.parameters.keys():
            raise ReservedArgumentError(name, reserved)
        self.names = tuple(self.signature.parameters)
        self._adapters: dict[str, TypeAdapter[Any]] | None = None
        self._classify()

    def _classify(self) -> None:
        parameters = self.signature.parameters.values()
        positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
        self._defaults = {
            parameter.name: parameter.default
            for parameter in parameters
            if parameter.default is not parameter.empty
        }
        self.positional = tuple(parameter.name for parameter in positional)
        self._required_count = sum(name not in self._defaults for name in self.positional)
        self._only_positional = len(positional) == len(self.names)

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Return quickly whether a call is sure to bind; False means that it may bind."""
        return (
            not kwargs
            and self._only_positional
            and self._required_count <= len(args) <= len(self.positional)
        )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter of a call, defaults included.

        Raises:
            ParameterBindError: the call does not fit the signature.
        """
        if self.fits(args, kwargs):
            values = dict(zip(self.positional, args, strict=False))
            for name in self.positional[len(args) :]:
                values[name] = self._defaults[name]
            return values
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterBindError(
                self.name, str(error), str(self.signature), args, kwargs
            ) from None
        bound.apply_defaults()

        return dict(bound.arguments)

    def renamed(self, name: str) -> Parameters:
        """Return the same parameters, for a definition of another name."""
        copied = copy.copy(self)
        copied.name = name

        return copied

    def call_with(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Turn parameter values back into the arguments of a call."""
        bound = inspect.BoundArguments(self.signature, dict(values))

        return bound.args, bound.kwargs

    def validate(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check values against the annotations and coerce them, as pydantic does.

        Raises:
            ParameterTypeError: values do not fit; it names all of their parameters.
        """
        if self._adapters is None:
            self._adapters = _adapters(self._function, self.signature)
        problems: dict[str, str] = {}
        checked = dict(values)
        for name, adapter in self._adapters.items():
            if name not in checked:
                continue
            try:
                checked[name] = adapter.validate_python(checked[name])
            except ValidationError as error:
                problems[name] = _describe(error)
        if problems:
            raise ParameterTypeError(self.name, problems)

        return checked


_short: Final = reprlib.Repr()
"""Makes the repr of a value that may be huge, or whose own repr may fail."""
_short.maxstring = _short.maxother = 200


def _describe(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        given = _short.repr(problem.get("input"))
        lines.append(f"{where + ': ' if where else ''}{problem['msg']}, got {given}")

    return "; ".join(lines)


def _adapters(
    function: Callable[..., Any], signature: inspect.Signature
) -> dict[str, TypeAdapter[Any]]:
    hints = _hints(function)
    adapters: dict[str, TypeAdapter[Any]] = {}
    for name, parameter in signature.parameters.items():
        annotation: Any = hints.get(name, Any)
        if annotation is Any:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            annotation = types.GenericAlias(tuple, (annotation, ...))
        elif parameter.kind is parameter.VAR_KEYWORD:
            annotation = types.GenericAlias(dict, (str, annotation))
        adapters[name] = _adapter(annotation)

    return adapters


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    annotation = repeatable(annotation)
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # models and dataclasses bring a configuration of their own
        return TypeAdapter(annotation)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of the parameters, without those that cannot be resolved."""
    target = _annotated(function)
    hints: dict[str, Any] = {}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        if name == "return":
            continue
        try:
            hints |= typing.get_type_hints(
                types.SimpleNamespace(__annotations__={name: annotation}),
                globalns=getattr(target, "__globals__", {}),
                include_extras=True,
            )
        except Exception as error:  # noqa: BLE001 - an annotation may be any expression
            warnings.warn(
                f"The annotation {annotation!r} of the parameter {name!r} of "
                f"{getattr(target, '__qualname__', target)} cannot be read ({error}); "
                "the parameter is not validated.",
                UserWarning,
                stacklevel=2,
            )

    return hints


def _annotated(function: Any) -> Any:
    """Return the plain function that holds the annotations of a callable."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__annotations__") and not isinstance(function, type):
        function = type(function).__call__

    return inspect.unwrap(function)
