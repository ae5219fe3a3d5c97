"""References: how a definition is named for other processes, as `module:path`, or by its file."""

from __future__ import annotations

import itertools
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from eventflow.primitives.callables import MAIN, qualified_name

__all__ = [
    "NUMBER_SEPARATOR",
    "ParsedReference",
    "Reference",
    "function_reference",
    "parse_reference",
    "place_of",
    "reference_of",
    "resolve",
    "set_reference",
]

FILE_SEPARATOR: Final = " @ "
"""Precedes the file of a module that cannot be imported by its name alone."""

NUMBER_SEPARATOR: Final = "#"
"""Precedes the number of a definition that no variable of a module holds."""

# Cached, as each run asks for the reference of its definition.
_references: Final[WeakKeyDictionary[Any, Reference]] = WeakKeyDictionary()
_numbers: Final = itertools.count(1)


class Reference(NamedTuple):
    """A definition's name for other processes.

    `is_loadable` tells whether another process that loads the module finds the definition there;
    otherwise only its hooks can be handed over, by value.
    """

    text: str
    is_loadable: bool


class ParsedReference(NamedTuple):
    """The parts of a reference: `file` only where the module's name is not enough."""

    module: str
    path: str
    number: str | None = None
    file: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the path leads to the definition itself, not into a function or to another."""
        return self.number is None and "<" not in self.path


def parse_reference(reference: str) -> ParsedReference:
    """Split a reference into its parts."""
    name, _, file = reference.partition(FILE_SEPARATOR)
    module, _, rest = name.partition(":")
    path, _, number = rest.partition(NUMBER_SEPARATOR)

    return ParsedReference(module, path, number or None, file or None)


def reference_of(definition: Any) -> Reference:
    """Return a definition's reference: the variable that holds it, mostly its function's name."""
    origin = definition.origin
    reference = _references.get(origin)
    if reference is None:
        reference = _references[origin] = _make_reference(origin)

    return reference


def function_reference(fn: object) -> str:
    """Return the reference of a function in a module, with the file where that is needed.

    Raises:
        KeyError: its module is not loaded.
    """
    name = qualified_name(fn)
    at = parse_reference(name)
    module = sys.modules[at.module]
    value = resolve(module, at.path)
    # Its name may stand for the definition that a decorator made of it.
    attribute = ".fn" if value is not fn and getattr(value, "fn", None) is fn else ""

    return f"{name}{attribute}{_file_suffix(at.module, module)}"


def set_reference(definition: Any, text: str) -> None:
    """Set the reference that a definition had in another process."""
    _references[definition.origin] = Reference(text, is_loadable=True)


def _make_reference(origin: Any) -> Reference:
    place = place_of(origin)
    if place is None:
        number = f"{NUMBER_SEPARATOR}{next(_numbers)}"
        return Reference(f"{qualified_name(origin.fn)}{number}", is_loadable=False)
    name, path = place
    module = sys.modules[name]

    return Reference(f"{name}:{path}{_file_suffix(name, module)}", _is_loadable(module))


def place_of(origin: Any) -> tuple[str, str] | None:
    """Return the module and the path in it that lead to a definition now; None if nothing does."""
    module_name, _, fn_path = qualified_name(origin.fn).partition(":")
    for name in dict.fromkeys((module_name, MAIN)):
        module = sys.modules.get(name)
        path = None if module is None else _path_in(module, fn_path, origin)
        if path is not None:
            return name, path

    return None


def _path_in(module: ModuleType, path: str, origin: object) -> str | None:
    if getattr(resolve(module, path), "origin", None) is origin:
        return path
    # A snapshot: another thread may be defining something.
    for name, value in list(vars(module).items()):
        if value is origin:
            return name

    return None


def resolve(module: ModuleType, path: str) -> Any:
    """Return what a path of attributes leads to in a module; None if there is nothing."""
    try:
        return None if "<" in path else reduce(getattr, path.split("."), module)
    except AttributeError:
        return None


def _is_loadable(module: ModuleType) -> bool:
    """Return whether another process can load it: a notebook's cells and `-c` are in no file."""
    file = getattr(module, "__file__", None)

    return isinstance(file, str) and not file.startswith("<")


def _file_suffix(name: str, module: ModuleType) -> str:
    """Return the file of a module, with its separator, if importing the name would not find it."""
    file = getattr(module, "__file__", None)
    if name == MAIN or not isinstance(file, str) or not file.endswith(".py"):
        return "" if name == MAIN or not isinstance(file, str) else _suffix(file)
    path = Path(file)
    parts = name.split(".")
    if path.name == "__init__.py":
        path = path.parent
    is_named_so = path.with_suffix("").parts[-len(parts) :] == tuple(parts)
    # A package may have a search path of its own; only a top-level module must be on `sys.path`.
    is_on_path = "." in name or str(path.parent) in map(_absolute, sys.path)

    return "" if is_named_so and is_on_path else _suffix(file)


def _suffix(file: str) -> str:
    return f"{FILE_SEPARATOR}{_absolute(file)}" if Path(file).suffix not in {".so", ".pyd"} else ""


def _absolute(folder: str) -> str:
    return str(Path(folder).absolute())
