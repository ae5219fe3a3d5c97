"""Loading what a command names: a file or a module, and a flow in it."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click

from eventflow.definitions.definition import Definition
from eventflow.flows import Flow
from eventflow.primitives.texts import traceback_text

__all__ = ["Target", "TargetError", "find_flow", "load", "split"]


class TargetError(click.ClickException):
    """The target does not exist, does not import, or is not a flow."""

    exit_code = 2


class Target(NamedTuple):
    """A file or a module, and optionally a name in it."""

    text: str
    source: str
    attribute: str | None

    @property
    def is_file(self) -> bool:
        """Whether the source is a file, and not a module's dotted name."""
        return (
            self.source.endswith(".py")
            or os.sep in self.source
            or Path(self.source).is_file()
            or self.source in {".", ".."}
        )


def split(text: str) -> Target:
    """Split `FILE.py:flow`, `module:flow`, `FILE.py` or `module`."""
    source, colon, attribute = text.rpartition(":")
    if not colon or text.endswith(".py"):
        return Target(text, text, None)

    return Target(text, source, attribute or None)


def load(target: Target) -> ModuleType:
    """Import the file or module, with `sys.path` as if Python itself ran it.

    Raises:
        TargetError: there is no such file or module, or it does not import.
    """
    return _load_file(target.source) if target.is_file else _load_module(target.source)


def _load_file(source: str) -> ModuleType:
    path = Path(source).resolve()
    if path.is_dir():
        raise TargetError(f"{source} is a folder; name the file in it that defines the flow.")
    if not path.is_file():
        raise TargetError(f"There is no file {source}.{_meant(path.name, _siblings(path))}")
    sys.path.insert(0, str(path.parent))
    name = _free_name(path)
    loader = SourceFileLoader(name, str(path))
    spec = spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # noqa: S101 - for the type checker: it has a loader
    module = sys.modules[name] = module_from_spec(spec)
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _does_not_import(source, error) from error

    return module


def _free_name(path: Path) -> str:
    """Return the module name for a file: its stem, unless another module has that name."""
    present = sys.modules.get(path.stem)
    if present is None or getattr(present, "__file__", None) == str(path):
        return path.stem

    return f"{path.stem}_{path.parent.name}"


def _siblings(path: Path) -> list[str]:
    return [sibling.name for sibling in path.parent.glob("*.py")] if path.parent.is_dir() else []


def _load_module(source: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{source}.".startswith(f"{error.name}."):
            raise _does_not_import(source, error) from error
        raise TargetError(
            f"There is no module {source!r}. To run a file, name it with its ending: FILE.py:flow."
        ) from error
    except (Exception, SystemExit) as error:
        raise _does_not_import(source, error) from error


def _does_not_import(source: str, error: BaseException) -> TargetError:
    return TargetError(f"{source} does not import.\n\n{traceback_text(error).rstrip()}")


def find_flow(module: ModuleType, target: Target) -> Flow[..., Any]:
    """Return the flow that the target names, or the only one in the module.

    Raises:
        TargetError: there is no such flow, it is not a flow, or none is named among several.
    """
    flows = _flows_of(module)
    if target.attribute is None:
        return _only(flows, target)
    value = _named(module, flows, target.attribute)
    if isinstance(value, Flow):
        return value
    if value is None:
        what = f"{target.source} has no flow {target.attribute!r}."
        raise TargetError(what + _meant(target.attribute, list(flows)) + _listed(flows))
    kind = "a task" if isinstance(value, Definition) else f"of type {type(value).__name__}"
    raise TargetError(f"{target.text} is {kind}, not a flow.{_listed(flows)}")


def _flows_of(module: ModuleType) -> dict[str, Flow[..., Any]]:
    """Return the flows that a module defines, or else those that it imports."""
    every: dict[int, tuple[str, Flow[..., Any]]] = {}
    for name, value in vars(module).items():
        if isinstance(value, Flow):
            every.setdefault(id(value), (name, value))
    own = {name: flow for name, flow in every.values() if flow.__module__ == module.__name__}

    return own or dict(every.values())


def _only(flows: Mapping[str, Flow[..., Any]], target: Target) -> Flow[..., Any]:
    if not flows:
        raise TargetError(f"{target.source} defines no flow; decorate a function with @flow.")
    if len(flows) > 1:
        first = next(iter(flows))
        raise TargetError(
            f"{target.source} defines {len(flows)} flows; name one, as in "
            f"{target.source}:{first}.{_listed(flows)}"
        )

    return next(iter(flows.values()))


def _named(module: ModuleType, flows: Mapping[str, Flow[..., Any]], name: str) -> Any:
    try:
        return reduce(getattr, name.split("."), module)
    except AttributeError:
        names = {name, name.replace("_", "-")}
        return next((flow for flow in flows.values() if flow.name in names), None)


def _meant(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)

    return f" Did you mean {near[0]}?" if near else ""


def _listed(flows: Mapping[str, Flow[..., Any]]) -> str:
    return f"\nFlows there: {', '.join(sorted(flows)) or 'none'}."
