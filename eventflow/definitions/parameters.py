"""The parameters of a function: bind arguments to them, and validate the values."""

from __future__ import annotations

import copy
import functools
import inspect
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import pydantic

from eventflow.definitions.iterables import repeatable
from eventflow.errors import ParameterBindError, ParameterTypeError, ReservedArgumentError
from eventflow.primitives.callables import plain_function
from eventflow.settings import MASK
from eventflow.values.masking import (
    attributes_of,
    described,
    holds_secrets,
    is_secret_name,
    is_secret_value,
    masked_text,
    secrets_in,
    without_secrets,
)

__all__ = ["Parameters", "shown_default"]

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
        self._adapters: dict[str, pydantic.TypeAdapter[Any]] | None = None
        self._classify()
        self.is_bound = False
        self.receiver = self.positional[0] if self._begin_with_receiver() else None
        """The name of the parameter for what a method is called on: `self` or `cls`."""

    def _begin_with_receiver(self) -> bool:
        owner = getattr(self._function, "__qualname__", "").rpartition(".")[0]
        is_in_class = bool(owner) and not owner.endswith("<locals>")

        return is_in_class and self.positional[:1] in {("self",), ("cls",)}

    def bound(self, method: Callable[..., Any]) -> Parameters:
        """Return the parameters of the function as a method, which takes all but the first."""
        parameters = Parameters(method, self.name)
        if self.positional and hasattr(method, "__self__"):
            parameters.receiver, parameters.is_bound = self.positional[0], True
            parameters.names = (self.positional[0], *parameters.names)

        return parameters

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
        self._most = len(positional)
        self._only_positional = len(positional) == len(self.names)

    def fits(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Return quickly whether a call is sure to bind; False means that it may bind."""
        return (
            not kwargs and self._only_positional and self._required_count <= len(args) <= self._most
        )

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of every parameter of a call, defaults included.

        Raises:
            ParameterBindError: the call does not fit the signature.
        """
        given = len(args)
        if not kwargs and self._only_positional and self._required_count <= given <= self._most:
            values = dict(zip(self.positional, args, strict=False))
            if given < self._most:
                for name in self.positional[given:]:
                    values[name] = self._defaults[name]
            return values
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterBindError(
                self.name, str(error), self._shown_signature(), args, kwargs
            ) from None
        bound.apply_defaults()

        return dict(bound.arguments)

    def _shown_signature(self) -> str:
        """Return the signature as text, with each default that is secret masked."""
        parameters = [
            parameter.replace(default=_Shown(shown_default(parameter.name, parameter.default)))
            if parameter.default is not parameter.empty
            else parameter
            for parameter in self.signature.parameters.values()
        ]

        return str(self.signature.replace(parameters=parameters))

    @functools.cached_property
    def hints(self) -> Mapping[str, Any]:
        """The annotations of the parameters, without those that cannot be resolved."""
        return _hints(self._function, warn=False)

    @functools.cached_property
    def secret_names(self) -> frozenset[str]:
        """The names of the parameters whose annotation asks for a secret, anywhere within it."""
        return frozenset(name for name, hint in self.hints.items() if holds_secrets(hint))

    def masked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with each that is a secret in clear masked."""
        return {
            name: MASK
            if type(value) in {str, bytes, int}
            and (name in self.secret_names or is_secret_name(name))
            else value
            for name, value in values.items()
        }

    def secrets(self, values: Mapping[str, Any]) -> set[str]:
        """Return the texts among the values that are secret."""
        found: set[str] = set()
        for name, value in values.items():
            raw = name in self.secret_names and not isinstance(value, pydantic.BaseModel)
            secret = raw or (is_secret_name(name) and is_secret_value(value))
            if name == self.receiver:
                value = attributes_of(value)  # noqa: PLW2901 - more than is looked into elsewhere
            found |= secrets_in(value, raw=secret)

        return found

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
            except pydantic.ValidationError as error:
                secret = name in self.secret_names or is_secret_name(name)
                problems[name] = _describe(error, values[name], secret=secret)
        if problems:
            raise ParameterTypeError(self.name, problems)

        return checked


def _describe(error: pydantic.ValidationError, given: object, *, secret: bool) -> str:
    """Describe what does not fit; without any text of what was given for a secret."""
    secrets = secrets_in(given, raw=secret)
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"])
        names = [part for part in problem["loc"] if isinstance(part, str)]
        value = problem.get("input")
        hidden = secret or any(is_secret_name(name) for name in names)
        shown = f"a {type(value).__name__}" if hidden else described(value)
        text = f"{where + ': ' if where else ''}{problem['msg']}, got {shown}"
        lines.append(masked_text(without_secrets(text, secrets)))

    return "; ".join(lines)


def _adapters(
    function: Callable[..., Any], signature: inspect.Signature
) -> dict[str, pydantic.TypeAdapter[Any]]:
    hints = _hints(function)
    adapters: dict[str, pydantic.TypeAdapter[Any]] = {}
    for name, parameter in signature.parameters.items():
        annotation: Any = hints.get(name, Any)
        if annotation is Any:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            annotation = types.GenericAlias(tuple, (annotation, ...))
        elif parameter.kind is parameter.VAR_KEYWORD:
            annotation = types.GenericAlias(dict, (str, annotation))
        try:
            adapters[name] = _adapter(annotation)
        except Exception as error:  # noqa: BLE001 - an annotation may be anything
            _warn(function, name, hints[name], error)

    return adapters


def _warn(function: Any, name: str, annotation: object, error: Exception) -> None:
    reason = str(error).partition("\n")[0]
    warnings.warn(
        f"The annotation {annotation!r} of the parameter {name!r} of "
        f"{getattr(plain_function(function), '__qualname__', function)} cannot be read ({reason}); "
        "the parameter is not validated.",
        UserWarning,
        stacklevel=2,
    )


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    annotation = repeatable(annotation)
    config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    try:
        return pydantic.TypeAdapter(annotation, config=config)
    except pydantic.PydanticUserError:  # models and dataclasses bring a configuration of their own
        return pydantic.TypeAdapter(annotation)


def shown_default(name: str, default: object) -> str:
    """Return a default for people, masked if it is secret."""
    if is_secret_name(name) and is_secret_value(default):
        return MASK

    return described(default)


class _Shown:
    """Has a text as its repr."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _hints(function: Callable[..., Any], *, warn: bool = True) -> dict[str, Any]:
    """Return the annotations of the parameters, without those that cannot be resolved."""
    target = plain_function(function)
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
            if warn:
                _warn(function, name, annotation, error)

    return hints
