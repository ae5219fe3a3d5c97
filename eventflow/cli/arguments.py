"""A flow's parameters as `--name value`: reading them, converting them, and explaining them."""

from __future__ import annotations

import difflib
import inspect
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Final, NamedTuple

import click

from eventflow.errors import ParameterTypeError
from eventflow.flows import Flow

__all__ = ["Parameter", "call_arguments", "help_text", "parameters_of"]

_REST: Final = inspect.Parameter.VAR_KEYWORD
_SEVERAL: Final = inspect.Parameter.VAR_POSITIONAL
_WRONG_JSON: Final = object()


class Parameter(NamedTuple):
    """One parameter of a flow, as the command line sees it."""

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
        """Whether the flow has a value for it where none is given."""
        return self.default is not inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether the flow cannot be called without it."""
        return not self.has_default and self.kind not in {_REST, _SEVERAL}

    @property
    def usage(self) -> str:
        """How it is written: `--limit VALUE`, `--dry-run/--no-dry-run`."""
        if self.kind is _REST:
            return "--NAME VALUE ..."
        if self.is_flag:
            return f"{self.option}/--no-{self.option[2:]}"

        return f"{self.option} VALUE{' ...' if self.kind is _SEVERAL else ''}"

    @property
    def meaning(self) -> str:
        """Its type, and whether it may be left out."""
        if self.kind in {_REST, _SEVERAL}:
            return f"{self.type}, any number"

        return f"{self.type}, {'required' if self.required else f'default {self.default!r}'}"


def parameters_of(flow: Flow[..., Any]) -> dict[str, Parameter]:
    """Give the parameters of a flow by name, in their order."""
    hints = _hints(flow)

    return {
        name: Parameter(
            name, one.kind, _type_of(one.annotation), one.default, _is_flag(hints.get(name))
        )
        for name, one in flow.parameters.signature.parameters.items()
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
    """The arguments do not fit; tells the parameters that there are."""

    exit_code = 2

    def __init__(self, message: str, flow: Flow[..., Any]) -> None:
        every = parameters_of(flow).values()
        width = max((len(one.usage) for one in every), default=0)
        lines = [f"  {one.usage:<{width}}  {one.meaning}" for one in every]
        known = "\n".join([f"Parameters of {flow.name}:", *lines]) if lines else ""
        super().__init__(f"{message}\n{known or f'{flow.name} takes no parameters.'}")


def call_arguments(
    flow: Flow[..., Any], tokens: Sequence[str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Turn what follows the target on the command line into the arguments of a call.

    Raises:
        click.ClickException: a parameter is unknown, missing, or has a value that does not fit.
    """
    known = parameters_of(flow)
    given = _Reader(flow, known).read(tokens)
    missing = [one for one in known.values() if one.required and one.name not in given]
    if missing:
        named = ", ".join(f"{one.option} ({one.type})" for one in missing)
        raise Refused(f"Missing parameter{'s' * (len(missing) > 1)}: {named}.", flow)
    values = {name: one.default for name, one in known.items() if one.has_default}
    values |= {name: _converted(flow, known[name], texts) for name, texts in given.items()}

    return flow.parameters.call_with(values)


class _Reader:
    """Reads `--name value`, `--name=value`, `--flag` and `--no-flag` into texts by name."""

    def __init__(self, flow: Flow[..., Any], known: Mapping[str, Parameter]) -> None:
        self._flow = flow
        self._named = {one.option: one for one in known.values() if one.kind is not _REST}
        self._denied = {f"--no-{o[2:]}": one for o, one in self._named.items() if one.is_flag}
        self._rest = next((one for one in known.values() if one.kind is _REST), None)

    def read(self, tokens: Sequence[str]) -> dict[str, Any]:
        """Give the texts for every parameter that was named."""
        found: dict[str, Any] = {}
        following = iter(tokens)
        for token in following:
            if not token.startswith("--"):
                advice = "parameters are given by name: --name value"
                raise Refused(f"Unexpected argument {token!r}; {advice}.", self._flow)
            self._take(token, following, found)

        return found

    def _take(self, token: str, following: Iterator[str], found: dict[str, Any]) -> None:
        written, equals, value = token.partition("=")
        option = written.replace("_", "-")
        one = self._named.get(option)
        if one is None:
            if option in self._denied and not equals:
                found[self._denied[option].name] = ["false"]
                return
            self._take_rest(written, value if equals else None, following, found)
            return
        if not equals and not one.is_flag:
            value = self._next(option, following)
        elif not equals:
            value = "true"
        former = [] if one.is_flag else found.setdefault(one.name, [])
        found[one.name] = [*former, value]

    def _take_rest(
        self, option: str, value: str | None, following: Iterator[str], found: dict[str, Any]
    ) -> None:
        if self._rest is None:
            near = difflib.get_close_matches(option, [*self._named, *self._denied], n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise Refused(f"{self._flow.name} has no parameter {option}.{meant}", self._flow)
        name = option[2:].replace("-", "_")
        value = self._next(option, following) if value is None else value
        found.setdefault(self._rest.name, {})[name] = value

    def _next(self, option: str, following: Iterator[str]) -> str:
        value = next(following, None)
        if value is None or value.startswith("--"):
            advice = f"a value that begins with dashes is written {option}=--value"
            raise Refused(f"{option} needs a value ({advice}).", self._flow)

        return value


def _converted(flow: Flow[..., Any], one: Parameter, given: Any) -> Any:
    """Give the first reading of the texts that fits the parameter's type.

    The conversion itself is left to the flow, as for any call, unless it does not validate.
    """
    problems: list[str] = []
    for reading in [given] if one.kind is _REST else _readings(one, given):
        try:
            checked = flow.parameters.validate({one.name: reading})[one.name]
        except ParameterTypeError as error:
            # Whoever wrote JSON wants to know what is wrong within it.
            place = 0 if isinstance(reading, dict) else len(problems)
            problems.insert(place, error.problems[one.name])
        else:
            return reading if flow.validate_parameters else checked

    raise Refused(f"{one.option} ({one.type}): {problems[0]}.", flow)


def _readings(one: Parameter, texts: list[str]) -> Iterator[Any]:
    """Give what the texts may mean: themselves, JSON, or the items of a list."""
    items = [_from_json(text) for text in texts]
    if len(texts) == 1 and one.kind is not _SEVERAL:
        yield texts[0]
        if items[0] is not _WRONG_JSON:
            yield items[0]
    yield tuple(texts) if one.kind is _SEVERAL else texts
    if _WRONG_JSON not in items:
        yield tuple(items) if one.kind is _SEVERAL else items


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return _WRONG_JSON


def help_text(flow: Flow[..., Any], target: str) -> str:
    """Explain a flow and its parameters."""
    every = list(parameters_of(flow).values())
    usages = [one.usage if one.required else f"[{one.usage}]" for one in every]
    formatter = click.HelpFormatter()
    formatter.write_usage("eventflow run", " ".join([target, *usages]))
    if flow.description:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(flow.description)
    if every:
        with formatter.section("Parameters"):
            formatter.write_dl([(one.usage, one.meaning) for one in every])

    return formatter.getvalue().rstrip()
