"""Load the definitions of another process again, as multiprocessing's spawn does, without runs.

A file is loaded to its end, to its first call of a flow or a task, or to its first error. What it
defines before that is used. What ends the process while it is loaded is not loaded a fourth time.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pkgutil
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, NamedTuple

from eventflow.definitions.definition import Definition
from eventflow.hooks.references import ParsedReference, parse_reference, reference_of, resolve
from eventflow.journal.rows import OwnerRow
from eventflow.primitives.callables import MAIN, MP_MAIN, qualified_name
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.reloading.parking import execute

__all__ = [
    "LOADING_SECONDS",
    "LoadingNote",
    "Reloader",
    "Wanted",
    "adopt_environment",
    "execute_module",
]

LOADING_SECONDS: Final = 120.0
"""How long loading one file may take: one that never ends must not stop the recovery."""

LOADING_ATTEMPTS: Final = 3
"""How often a file is loaded that ends the process: it may have been killed by another."""

CLASS_DEPTH: Final = 3
"""How deep nested classes are searched for methods that are flows or tasks."""

LOGGED_CHARACTERS: Final = 2_000
"""How much is logged of what a file prints while it is loaded."""

_log: Final = get_logger("recovery")
# Keeps a module that was `__main__` alive: its functions are in use.
_replaced: Final[list[ModuleType]] = []


def adopt_environment(owner: OwnerRow) -> None:
    """Set working folder, arguments and `sys.path` as the owner had them."""
    try:
        if owner.cwd:
            os.chdir(owner.cwd)
    except OSError as error:
        _log.warning(f"The working folder {owner.cwd} of the owner is gone: {error}")
    # Never empty: libraries read the first argument.
    sys.argv[:] = owner.argv or [""]
    # This process's own entries stay, at the end: this package is found by them.
    own_entries = [entry for entry in sys.path if entry not in owner.sys_path]
    sys.path[:] = [*owner.sys_path, *own_entries]
    importlib.invalidate_caches()


class Wanted(NamedTuple):
    """A definition to look for."""

    run_type: str
    reference: str
    name: str


class Reloader:
    """Finds the definitions and modules of another process; loads each module once."""

    def __init__(self, owner: OwnerRow, note: LoadingNote | None = None) -> None:
        self._owner = owner
        self._note = LoadingNote(None) if note is None else note
        self._loaded: dict[str, ModuleType | None] = {}
        self._problems: dict[str, str] = {}

    # -- definitions and functions ----------------------------------------------------------

    def definition(self, wanted: Wanted) -> Definition[Any, Any] | None:
        """Return the definition, or the one most like it in its module; None if there is none."""
        at = parse_reference(wanted.reference)
        if at.module != MAIN:
            self.load_main()
        module = self.module(at.module, at.file)
        if module is None:
            return None
        if at.is_exact:
            value = resolve(module, at.path)
            if isinstance(value, Definition) and value.run_type == wanted.run_type:
                return value

        return _most_like(_definitions_in(module), wanted, at)

    def value(self, name: str) -> object:
        """Return what `module:qualname` names, such as a type; None if it names nothing."""
        at = parse_reference(name)
        module = self.module(at.module)

        return None if module is None else resolve(module, at.path)

    # -- modules ----------------------------------------------------------------------------

    def load_main(self) -> None:
        """Load the owner's `__main__` for the hooks it declares, unless it is that of a package."""
        if not (self._owner.main_module or "").endswith(f".{MAIN}"):
            self.module(MAIN)

    def module(self, name: str, file: str | None = None) -> ModuleType | None:
        """Return a module, loaded on first use; None if it cannot be loaded."""
        name = MAIN if name == MP_MAIN else name
        if name not in self._loaded:
            self._loaded[name] = None
            if self._note.attempts(name) >= LOADING_ATTEMPTS:
                self._problems[name] = f"loading it ended the process {LOADING_ATTEMPTS} times"
                _log.warning(f"{name} is not loaded again: {self._problems[name]}.")
            else:
                self._note.begin(name)
                self._loaded[name] = self._load(name, file)
                self._note.end(name)

        return self._loaded[name]

    def problem(self, name: str) -> str | None:
        """Return why a module was not loaded to its end; None if it was."""
        return self._problems.get(MAIN if name == MP_MAIN else name)

    def _load(self, name: str, file: str | None) -> ModuleType | None:
        """Execute a module's body, up to its first run or error; return what there is of it."""
        made: list[ModuleType] = []
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")

        def body() -> None:
            self._execute_main(made) if name == MAIN else execute_module(name, file, made)

        with redirect_stdout(printed):
            stopped = execute(body, LOADING_SECONDS)
        if stopped is not None:
            self._problems[name] = _described(stopped)
            _log_stop(name, stopped, is_made=bool(made))
        elif not made:
            self._problems[name] = "it is in no file"
        with suppress(ValueError):  # closed by the module
            printed.seek(0)
            text = printed.read(LOGGED_CHARACTERS)
            if text:
                _log.debug(f"{name} printed while it was loaded: {text}")

        # A module may replace itself there.
        return sys.modules.get(name, made[0]) if made and name != MAIN else next(iter(made), None)

    def _execute_main(self, made: list[ModuleType]) -> None:
        program = self._code_of_main()
        if program is None:
            return
        code, attributes = program
        module = ModuleType(MP_MAIN)
        vars(module).update(attributes)
        _replaced.append(sys.modules[MAIN])
        sys.modules[MAIN] = sys.modules[MP_MAIN] = module
        made.append(module)
        exec(code, vars(module))  # noqa: S102 - the user's own program

    def _code_of_main(self) -> tuple[CodeType, dict[str, Any]] | None:
        """Return the code of the owner's `__main__`, and the attributes of its module."""
        name, file = self._owner.main_module, self._owner.main_file
        if name and name != MAIN:
            spec = find_spec(name)
            code = getattr(spec.loader, "get_code", _no_code)(name) if spec else None
            if spec is not None and code is not None:
                return code, _attributes(spec.origin, spec.parent, spec)
        path = Path(self._owner.cwd, file) if file else None
        # As multiprocessing does: the cells of `ipython` are not in its program.
        if path is None or path.stem == "ipython" or not path.is_file():
            return None
        archive = pkgutil.get_importer(str(path))
        if archive is not None:
            return _code_in(archive)
        loader = SourceFileLoader(MP_MAIN, str(path))
        # Compiled here: the loader would write a file beside the script.
        code = loader.source_to_code(loader.get_data(str(path)), str(path))

        return code, _attributes(str(path), "", None)


def _code_in(archive: Any) -> tuple[CodeType, dict[str, Any]] | None:
    """Return the code of the `__main__` of an archive that Python was started with."""
    spec = archive.find_spec(MAIN)

    return spec and (spec.loader.get_code(MAIN), _attributes(spec.origin, "", spec))


def _no_code(_: str) -> None:
    return None


def _attributes(file: str | None, package: str | None, spec: ModuleSpec | None) -> dict[str, Any]:
    loader = None if spec is None else spec.loader

    return {"__file__": file, "__package__": package, "__spec__": spec, "__loader__": loader}


def execute_module(name: str, file: str | None, made: list[ModuleType]) -> None:
    """Execute a module without its import lock, which a parked thread would keep.

    The module is added to `made` before its body begins.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    loaded = sys.modules.get(name)
    if loaded is not None and file is None:
        made.append(loaded)
        return
    parent = name.rpartition(".")[0]
    if parent and file is None:
        importlib.import_module(parent)
    spec = find_spec(name) if file is None else _spec_of_file(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"there is no module {name!r}")
    module = module_from_spec(spec)
    sys.modules[name] = module
    made.append(module)
    spec.loader.exec_module(module)


def _spec_of_file(name: str, file: str) -> ModuleSpec | None:
    return spec_from_file_location(name, file, loader=SourceFileLoader(name, file))


def _log_stop(name: str, stopped: str | BaseException, *, is_made: bool) -> None:
    text = _described(stopped)
    if isinstance(stopped, str):
        _log.debug(f"The loading of {name} ended early: {text}")
    elif is_made:
        _log.warning(f"The loading of {name} ended early, what it defines above counts: {text}")
    else:
        _log.warning(f"{name} cannot be loaded again: {text}")


def _described(stopped: str | BaseException) -> str:
    if isinstance(stopped, str):
        return stopped
    text = str(stopped)

    return f"{type(stopped).__name__}: {text}" if text else type(stopped).__name__


# -- files that end the process ---------------------------------------------------------------


class LoadingNote:
    """Notes on disk how often the loading of a module of a dead owner has begun, and not ended.

    A later recovery reads there what has ended the process. Without a path nothing is noted.
    `on_noted` is called when the next recovery will know of a beginning.
    """

    def __init__(self, path: Path | None, on_noted: Callable[[], object] = lambda: None) -> None:
        self._path = path
        self._on_noted = on_noted
        self._attempts = _read_attempts(path)

    def attempts(self, name: str) -> int:
        """Return how often the process has ended while a module was loaded."""
        return self._attempts.get(name, 0)

    def begin(self, name: str) -> None:
        """Note that the loading of a module begins."""
        self._attempts[name] = self.attempts(name) + 1
        self._write()

    def end(self, name: str) -> None:
        """Note that the process has outlived the loading of a module."""
        self._attempts.pop(name, None)
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        # A disk that is full must not stop the recovery.
        with suppress(OSError):
            complete = self._path.with_name(f"{self._path.name}.new")
            complete.write_text(json.dumps(self._attempts))
            complete.replace(self._path)
            self._on_noted()

    def remove(self) -> None:
        """Delete the note, as its owner is recovered."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _read_attempts(path: Path | None) -> dict[str, int]:
    try:
        attempts = {} if path is None else json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    named = attempts.items() if isinstance(attempts, dict) else ()

    return {name: count for name, count in named if isinstance(count, int)}


# -- searching a module -----------------------------------------------------------------------


def _definitions_in(module: ModuleType) -> list[Definition[Any, Any]]:
    definitions: dict[int, Definition[Any, Any]] = {}
    _collect(vars(module), definitions, CLASS_DEPTH)

    return list(definitions.values())


def _collect(namespace: Any, definitions: dict[int, Definition[Any, Any]], depth: int) -> None:
    for value in list(namespace.values()):
        if isinstance(value, Definition):
            definitions.setdefault(id(value), value)
        elif isinstance(value, type) and depth:
            _collect(vars(value), definitions, depth - 1)


def _most_like(
    definitions: list[Definition[Any, Any]], wanted: Wanted, at: ParsedReference
) -> Definition[Any, Any] | None:
    """Return the definition with the name; of several that with the same function.

    It is only an argument of hooks: which hooks a run has does not depend on it.
    """

    def likeness(candidate: Definition[Any, Any]) -> tuple[bool, bool, bool]:
        same_function = qualified_name(candidate.fn) == f"{at.module}:{at.path}"
        is_exact = parse_reference(reference_of(candidate).text).is_exact

        return same_function, candidate.name == wanted.name, is_exact

    # An earlier version recorded the name of a flow's function as it is.
    names = {wanted.name, wanted.name.replace("_", "-")}
    named = [
        candidate
        for candidate in definitions
        if candidate.run_type == wanted.run_type and candidate.name in names
    ]

    return max(named, key=likeness, default=None)
