"""A flow's parameters as `--name value`: parsing, conversion and help."""

from __future__ import annotations

import difflib
import inspect
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple

import click

from eventflow.definitions.parameters import shown_default
from eventflow.errors import ParameterTypeError
from eventflow.flows import Flow

__all__ = ["Parameter", "call_arguments", "help_text", "parameters_of"]

_REST: Final = inspect.Parameter.VAR_KEYWORD
_SEVERAL: Final = inspect.Parameter.VAR_POSITIONAL
_WRONG_JSON: Final = object()


class Parameter(NamedTuple):
    """One parameter of a flow, as an option of the command line."""

    name: str
    kind: Any
    type: str
    default: Any
    is_flag: bool

    @property
    def option(self) -> str:
        """The name with dashes: `--dry-run`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def has_default(self) -> bool:
        """Whether the flow has a default for it."""
        return self.default is not inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether the flow cannot be called without it."""
        return not self.has_default and self.kind not in {_REST, _SEVERAL}

    @property
    def usage(self) -> str:
        """Its usage: `--limit VALUE`, `--dry-run/--no-dry-run`."""
        if self.kind is _REST:
            return "--NAME VALUE ..."
        if self.is_flag:
            return f"{self.option}/--no-{self.option[2:]}"

        return f"{self.option} VALUE{' ...' if self.kind is _SEVERAL else ''}"

    @property
    def meaning(self) -> str:
        """Its type, and its default if it has one."""
        if self.kind in {_REST, _SEVERAL}:
            return f"{self.type}, any number"

        if self.required:
            return f"{self.type}, required"

        return f"{self.type}, default {shown_default(self.name, self.default)}"


def parameters_of(flow: Flow[..., Any]) -> dict[str, Parameter]:
    """Return the parameters of a flow by name, in their order."""
    hints = _hints(flow)

    return {
        name: Parameter(
            name,
            parameter.kind,
            _type_of(parameter.annotation),
            parameter.default,
            _is_flag(hints.get(name)),
        )
        for name, parameter in flow.parameters.signature.parameters.items()
    }


def _hints(flow: Flow[..., Any]) -> dict[str, Any]:
    function = getattr(flow.fn, "__func__", flow.fn)
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except (NameError, TypeError):  # the flow itself warns of it
        return {}


def _type_of(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "any"

    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _is_flag(hint: Any) -> bool:
    if typing.get_origin(hint) in {UnionType, typing.Union}:
        return set(typing.get_args(hint)) == {bool, NoneType}

    return hint is bool


class Refused(click.ClickException):
    """The arguments are not accepted; the message lists the parameters of the flow."""

    exit_code = 2

    def __init__(self, message: str, flow: Flow[..., Any]) -> None:
        parameters = parameters_of(flow).values()
        width = max((len(parameter.usage) for parameter in parameters), default=0)
        lines = [f"  {parameter.usage:<{width}}  {parameter.meaning}" for parameter in parameters]
        known = "\n".join([f"Parameters of {flow.name}:", *lines]) if lines else ""
        super().__init__(f"{message}\n{known or f'{flow.name} takes no parameters.'}")


def call_arguments(
    flow: Flow[..., Any], tokens: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn what follows the target on the command line into the arguments of a call.

    Raises:
        click.ClickException: a parameter is unknown or missing, or its value is invalid.
    """
    known = parameters_of(flow)
    given = _Reader(flow, known).read(tokens)
    required = [parameter for parameter in known.values() if parameter.required]
    missing = [parameter for parameter in required if parameter.name not in given]
    if missing:
        options = ", ".join(f"{parameter.option} ({parameter.type})" for parameter in missing)
        raise Refused(f"Missing parameter{'s' * (len(missing) > 1)}: {options}.", flow)
    values = {name: parameter.default for name, parameter in known.items() if parameter.has_default}
    values |= {name: _converted(flow, known[name], texts) for name, texts in given.items()}

    return flow.parameters.call_with(values)


class _Reader:
    """Reads `--name value`, `--name=value`, `--flag` and `--no-flag` into texts by name."""

    def __init__(self, flow: Flow[..., Any], known: Mapping[str, Parameter]) -> None:
        self._flow = flow
        parameters = known.values()
        self._options = {
            parameter.option: parameter for parameter in parameters if parameter.kind is not _REST
        }
        self._negations = {
            f"--no-{option[2:]}": parameter
            for option, parameter in self._options.items()
            if parameter.is_flag
        }
        self._rest = next((parameter for parameter in parameters if parameter.kind is _REST), None)

    def read(self, tokens: Sequence[str]) -> dict[str, Any]:
        """Return the texts given for each parameter."""
        texts: dict[str, Any] = {}
        following = iter(tokens)
        for token in following:
            if not token.startswith("--"):
                advice = "parameters are given by name: --name value"
                raise Refused(f"Unexpected argument {token!r}; {advice}.", self._flow)
            self._take(token, following, texts)

        return texts

    def _take(self, token: str, following: Iterator[str], texts: dict[str, Any]) -> None:
        written, equals, value = token.partition("=")
        option = written.replace("_", "-")
        parameter = self._options.get(option)
        if parameter is None:
            if option in self._negations and not equals:
                texts[self._negations[option].name] = ["false"]
                return
            self._take_rest(written, value if equals else None, following, texts)
            return
        if not equals and not parameter.is_flag:
            value = self._next(option, following)
        elif not equals:
            value = "true"
        former = [] if parameter.is_flag else texts.setdefault(parameter.name, [])
        texts[parameter.name] = [*former, value]

    def _take_rest(
        self, option: str, value: str | None, following: Iterator[str], texts: dict[str, Any]
    ) -> None:
        if self._rest is None:
            near = difflib.get_close_matches(option, [*self._options, *self._negations], n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise Refused(f"{self._flow.name} has no parameter {option}.{meant}", self._flow)
        name = option[2:].replace("-", "_")
        value = self._next(option, following) if value is None else value
        texts.setdefault(self._rest.name, {})[name] = value

    def _next(self, option: str, following: Iterator[str]) -> str:
        value = next(following, None)
        if value is None or value.startswith("--"):
            advice = f"a value that begins with dashes is written {option}=--value"
            raise Refused(f"{option} needs a value ({advice}).", self._flow)

        return value


def _converted(flow: Flow[..., Any], parameter: Parameter, given: Any) -> Any:
    """Return the first reading of the texts that is valid for the parameter's type.

    The flow converts the reading itself, as for any call, unless it does not validate parameters.
    """
    problems: list[str] = []
    for reading in [given] if parameter.kind is _REST else _readings(parameter, given):
        try:
            checked = flow.parameters.validate({parameter.name: reading})[parameter.name]
        except ParameterTypeError as error:
            # If JSON was given, the error within it is the one to show.
            index = 0 if isinstance(reading, dict) else len(problems)
            problems.insert(index, error.problems[parameter.name])
        else:
            return reading if flow.should_validate_parameters else checked

    raise Refused(f"{parameter.option} ({parameter.type}): {problems[0]}.", flow)


def _readings(parameter: Parameter, texts: list[str]) -> Iterator[Any]:
    """Yield the possible meanings of the texts: themselves, JSON, or the items of a list."""
    items = [_from_json(text) for text in texts]
    if len(texts) == 1 and parameter.kind is not _SEVERAL:
        yield texts[0]
        if items[0] is not _WRONG_JSON:
            yield items[0]
    yield tuple(texts) if parameter.kind is _SEVERAL else texts
    if _WRONG_JSON not in items:
        yield tuple(items) if parameter.kind is _SEVERAL else items


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _WRONG_JSON


def help_text(flow: Flow[..., Any], target: str) -> str:
    """Return the help of a flow: its usage, description and parameters."""
    parameters = list(parameters_of(flow).values())
    usages = [
        parameter.usage if parameter.required else f"[{parameter.usage}]"
        for parameter in parameters
    ]
    formatter = click.HelpFormatter()
    formatter.write_usage("eventflow run", " ".join([target, *usages]))
    if flow.description:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(flow.description)
    if parameters:
        with formatter.section("Parameters"):
            formatter.write_dl([(parameter.usage, parameter.meaning) for parameter in parameters])

    return formatter.getvalue().rstrip()
