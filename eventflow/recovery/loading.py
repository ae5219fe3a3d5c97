"""Load the definitions of another process again, as multiprocessing's spawn does, without runs.

A file is loaded to its end, to its first call of a flow or a task, or to its first error. What it
defines before that is used. Nothing that a file does while it is loaded stops the process.
"""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Final, NamedTuple

from eventflow.context import LoadingStopped, without_runs
from eventflow.definitions.definition import Definition
from eventflow.hooks.references import ParsedReference, parse_reference, reference_of, resolve
from eventflow.journal.rows import OwnerRow
from eventflow.primitives.callables import MAIN, MP_MAIN, qualified_name
from eventflow.primitives.loggers import get_logger

__all__ = ["Reloader", "Wanted", "adopt_environment"]

LOADING_SECONDS: Final = 120
"""How long loading one file may take: one that never ends must not stop the recovery."""

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
    """A definition to look for. `hooks` are the identities of some of its hooks."""

    run_type: str
    reference: str
    name: str
    hooks: Collection[str] = ()


class Reloader:
    """Finds the definitions and hooks of another process; loads each module they need once."""

    def __init__(self, owner: OwnerRow) -> None:
        self._owner = owner
        self._loaded: dict[str, ModuleType | None] = {}

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

    def function(self, hook_id: str) -> Callable[..., Any] | None:
        """Return the function that a hook's identity names; None if it names none."""
        at = parse_reference(hook_id)
        if not at.path or not at.is_exact:
            return None
        module = self.module(at.module)
        value = None if module is None else resolve(module, at.path)

        return value if callable(value) and not isinstance(value, type) else None

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
            with _errors_logged(name):
                self._loaded[name] = self._main() if name == MAIN else _module(name, file)

        return self._loaded[name]

    def _main(self) -> ModuleType | None:
        program = self._code_of_main()
        if program is None:
            return None
        code, attributes = program
        module = ModuleType(MP_MAIN)
        vars(module).update(attributes)
        _replaced.append(sys.modules[MAIN])
        sys.modules[MAIN] = sys.modules[MP_MAIN] = module
        _execute(MAIN, lambda: exec(code, vars(module)))  # noqa: S102 - the user's own program

        return module

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


def _module(name: str, file: str | None) -> ModuleType | None:
    loaded = sys.modules.get(name)
    if loaded is not None and file is None:
        return loaded
    parent = name.rpartition(".")[0]
    if parent and file is None:
        importlib.import_module(parent)
    spec = find_spec(name) if file is None else _spec_of_file(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"there is no module {name!r}")
    loader, module = spec.loader, module_from_spec(spec)
    sys.modules[name] = module
    _execute(name, lambda: loader.exec_module(module))

    # A module may replace itself there.
    return sys.modules.get(name, module)


def _spec_of_file(name: str, file: str) -> ModuleSpec | None:
    return spec_from_file_location(name, file, loader=SourceFileLoader(name, file))


# -- executing what is loaded ----------------------------------------------------------------


@contextmanager
def _errors_logged(name: str) -> Iterator[None]:
    """Log why a module cannot be loaded at all."""
    try:
        yield
    except (Exception, SystemExit, LoadingStopped) as error:  # noqa: BLE001 - a file may do anything
        _log.warning(f"{name} cannot be loaded again: {_described(error)}")


def _execute(name: str, body: Callable[[], object]) -> None:
    """Execute a module's body, up to its first run or error."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
    try:
        with without_runs(), redirect_stdout(printed), _time_limit():
            body()
    except LoadingStopped as stop:
        _log.info(f"The loading of {name} ended early: {stop}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a file may do anything
        _log.warning(
            f"The loading of {name} ended early, what it defines above counts: {_described(error)}"
        )
    with suppress(ValueError):  # closed by the module
        printed.seek(0)
        text = printed.read(LOGGED_CHARACTERS)
        if text:
            _log.debug(f"{name} printed while it was loaded: {text}")


def _described(error: BaseException) -> str:
    text = str(error)

    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def _time_limit() -> Iterator[None]:
    """Limit the time that the block takes, where signals can do that."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def expire(_number: int, _frame: FrameType | None) -> None:
        raise LoadingStopped(f"it takes more than {LOADING_SECONDS} s")

    previous = signal.signal(signal.SIGALRM, expire)
    # Every second again: the file may catch the exception.
    signal.setitimer(signal.ITIMER_REAL, LOADING_SECONDS, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


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
    """Return the definition with the name; of several that with the same function and hooks."""

    def likeness(candidate: Definition[Any, Any]) -> tuple[bool, int, bool]:
        hook_ids = {hook.id for hook in candidate.hooks}
        same_function = qualified_name(candidate.fn) == f"{at.module}:{at.path}"
        common_hooks = sum(hook in hook_ids for hook in wanted.hooks)

        is_exact = parse_reference(reference_of(candidate).text).is_exact

        return same_function, common_hooks, is_exact

    named = [
        candidate
        for candidate in definitions
        if candidate.run_type == wanted.run_type and candidate.name == wanted.name
    ]

    return max(named, key=likeness, default=None)
