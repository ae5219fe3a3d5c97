"""How a definition is named so that another process finds it again: `module:path`, or by file."""

from __future__ import annotations

import itertools
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from eventflow.primitives.callables import MAIN, qualified_name

__all__ = ["Place", "Reference", "place", "refer", "refer_to_function", "remember", "resolve"]

AT_FILE: Final = " @ "
"""Stands before the file of a module that cannot be imported by its name alone."""

NUMBER: Final = "#"
"""Stands before the number of a definition that no variable of a module holds."""

# This is asked for each run.
_known: Final[WeakKeyDictionary[Any, Reference]] = WeakKeyDictionary()
_numbers: Final = itertools.count(1)


class Reference(NamedTuple):
    """A definition's name for other processes.

    `is_found` says whether another process that loads the module finds it there; otherwise
    only what its hooks are can be handed over, by value.
    """

    text: str
    is_found: bool


class Place(NamedTuple):
    """A reference in its parts: `file` only where the module's name is not enough."""

    module: str
    path: str
    number: str | None = None
    file: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the path leads to the thing itself, and not into a function or to its like."""
        return self.number is None and "<" not in self.path


def place(reference: str) -> Place:
    """Part a reference."""
    name, _, file = reference.partition(AT_FILE)
    module, _, rest = name.partition(":")
    path, _, number = rest.partition(NUMBER)

    return Place(module, path, number or None, file or None)


def refer(definition: Any) -> Reference:
    """Name a definition: by the variable that holds it, which is mostly its function's name."""
    origin = getattr(definition, "origin", definition)
    found = _known.get(origin)
    if found is None:
        found = _known[origin] = _referred(origin)

    return found


def refer_to_function(fn: object) -> str:
    """Name a function that stands in a module: by its module and path, and where need be its file.

    Raises:
        KeyError: its module is not loaded.
    """
    name = qualified_name(fn)
    module = place(name).module

    return f"{name}{_file_of(module, sys.modules[module])}"


def remember(definition: Any, text: str) -> None:
    """Have a definition bear the name by which another process knew it."""
    _known[getattr(definition, "origin", definition)] = Reference(text, is_found=True)


def _referred(origin: Any) -> Reference:
    module_name, _, path = qualified_name(getattr(origin, "fn", origin)).partition(":")
    for name in dict.fromkeys((module_name, MAIN)):
        module = sys.modules.get(name)
        found = None if module is None else _path_in(module, path, origin)
        if module is not None and found is not None:
            return Reference(f"{name}:{found}{_file_of(name, module)}", _is_loadable(module))

    return Reference(f"{module_name}:{path}{NUMBER}{next(_numbers)}", is_found=False)


def _path_in(module: ModuleType, path: str, origin: object) -> str | None:
    if getattr(resolve(module, path), "origin", None) is origin:
        return path
    # A snapshot: another thread may be defining something.
    for name, value in list(vars(module).items()):
        if value is origin:
            return name

    return None


def resolve(module: ModuleType, path: str) -> Any:
    """Give what a path of attributes leads to in a module; None if it leads nowhere."""
    try:
        return None if "<" in path else reduce(getattr, path.split("."), module)
    except AttributeError:
        return None


def _is_loadable(module: ModuleType) -> bool:
    """Say whether another process can load it: a notebook's cells and `-c` are in no file."""
    file = getattr(module, "__file__", None)

    return isinstance(file, str) and not file.startswith("<")


def _file_of(name: str, module: ModuleType) -> str:
    """Give the file of a module that was loaded from another place than its name says."""
    file = getattr(module, "__file__", None)
    if name == MAIN or not isinstance(file, str) or not file.endswith(".py"):
        return "" if name == MAIN or not isinstance(file, str) else _said(file)
    path = Path(file)
    steps = name.split(".")
    if path.name == "__init__.py":
        path = path.parent
    ends = path.with_suffix("").parts[-len(steps) :] == tuple(steps)
    # A package may have roots of its own; only a file outside of every one is told.
    rooted = "." in name or str(path.parent) in map(_absolute, sys.path)

    return "" if ends and rooted else _said(file)


def _said(file: str) -> str:
    return f"{AT_FILE}{_absolute(file)}" if Path(file).suffix not in {".so", ".pyd"} else ""


def _absolute(folder: str) -> str:
    return str(Path(folder).absolute())
