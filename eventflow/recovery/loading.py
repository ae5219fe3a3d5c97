"""Loading definitions again in another process, as multiprocessing's spawn does, and no run twice.

A file is loaded to the end, or to where it calls a flow or a task, or to its error: what was
defined above counts. Nothing that happens while a file is loaded stops the process.
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
from eventflow.hooks.references import Place, place, refer, resolve
from eventflow.journal.rows import OwnerRow
from eventflow.primitives.callables import MAIN, MP_MAIN, qualified_name
from eventflow.primitives.loggers import get_logger

__all__ = ["Reloader", "Wanted", "move_in"]

LOADING_SECONDS: Final = 120
"""How long one file may take to be loaded: one that serves for ever must not stop the rest."""

DEPTH: Final = 3
"""How deep classes are searched for methods that are flows or tasks."""

SHOWN: Final = 2_000
"""How many characters are kept of what a file prints while it is loaded."""

_record: Final = get_logger("recovery")
# A module that is no longer `__main__` must not end: its functions are in use.
_earlier: Final[list[ModuleType]] = []


def move_in(owner: OwnerRow) -> None:
    """Take over an owner's working folder, arguments and `sys.path`."""
    try:
        if owner.cwd:
            os.chdir(owner.cwd)
    except OSError as error:
        _record.warning(f"The working folder {owner.cwd} of the owner is gone: {error}")
    # Never empty: those who started this process may look at the first.
    sys.argv[:] = owner.argv or [""]
    ours = [one for one in sys.path if one not in owner.sys_path]
    # What this process itself was found by stays, at the end.
    sys.path[:] = [*owner.sys_path, *ours]
    importlib.invalidate_caches()


class Wanted(NamedTuple):
    """A definition to be found again. `hooks` are the identities of some of its hooks."""

    run_type: str
    reference: str
    name: str
    hooks: Collection[str] = ()


class Reloader:
    """Finds the definitions and hooks of another process; loads what they need, once each."""

    def __init__(self, owner: OwnerRow) -> None:
        self._owner = owner
        self._loaded: dict[str, ModuleType | None] = {}

    # -- what is in the files ---------------------------------------------------------------

    def definition(self, wanted: Wanted) -> Definition[Any, Any] | None:
        """Give the definition, or what is most like it in its module; None if there is none."""
        at = place(wanted.reference)
        if at.module != MAIN:
            self.load_main()
        module = self.module(at.module, at.file)
        if module is None:
            return None
        if at.is_exact:
            found = resolve(module, at.path)
            if isinstance(found, Definition) and found.run_type == wanted.run_type:
                return found

        return _most_like(_definitions_in(module), wanted, at)

    def function(self, hook_id: str) -> Callable[..., Any] | None:
        """Give the function that a hook's identity names; None where it names none."""
        at = place(hook_id)
        if not at.path or not at.is_exact:
            return None
        module = self.module(at.module)
        found = None if module is None else resolve(module, at.path)

        return found if callable(found) and not isinstance(found, type) else None

    # -- modules ----------------------------------------------------------------------------

    def load_main(self) -> None:
        """Load what the owner was started with, for what it declares; not a package's face."""
        if not (self._owner.main_module or "").endswith(f".{MAIN}"):
            self.module(MAIN)

    def module(self, name: str, file: str | None = None) -> ModuleType | None:
        """Give a module, loaded at the first time; None if there is nothing to load."""
        name = MAIN if name == MP_MAIN else name
        if name not in self._loaded:
            self._loaded[name] = None
            with _said(name):
                self._loaded[name] = self._main() if name == MAIN else _module(name, file)

        return self._loaded[name]

    def _main(self) -> ModuleType | None:
        found = self._code_of_main()
        if found is None:
            return None
        code, facts = found
        module = ModuleType(MP_MAIN)
        vars(module).update(facts)
        _earlier.append(sys.modules[MAIN])
        sys.modules[MAIN] = sys.modules[MP_MAIN] = module
        _execute(MAIN, lambda: exec(code, vars(module)))  # noqa: S102 - the user's own program

        return module

    def _code_of_main(self) -> tuple[CodeType, dict[str, Any]] | None:
        """Give the code of the owner's `__main__`, and what it must find itself to be."""
        name, file = self._owner.main_module, self._owner.main_file
        if name and name != MAIN:
            spec = find_spec(name)
            code = getattr(spec.loader, "get_code", _nothing)(name) if spec else None
            if spec is not None and code is not None:
                return code, _facts(spec.origin, spec.parent, spec)
        path = Path(self._owner.cwd, file) if file else None
        # As multiprocessing does: the program `ipython` is not what its cells are in.
        if path is None or path.stem == "ipython" or not path.is_file():
            return None
        archive = pkgutil.get_importer(str(path))
        if archive is not None:
            return _code_in(archive)
        loader = SourceFileLoader(MP_MAIN, str(path))
        # Compiled here, and not by the loader, which would leave a file beside the script.
        code = loader.source_to_code(loader.get_data(str(path)), str(path))

        return code, _facts(str(path), "", None)


def _code_in(archive: Any) -> tuple[CodeType, dict[str, Any]] | None:
    """Give the code of the `__main__` of an archive that Python was started with."""
    spec = archive.find_spec(MAIN)

    return spec and (spec.loader.get_code(MAIN), _facts(spec.origin, "", spec))


def _nothing(_: str) -> None:
    return None


def _facts(file: str | None, package: str | None, spec: ModuleSpec | None) -> dict[str, Any]:
    loader = None if spec is None else spec.loader

    return {"__file__": file, "__package__": package, "__spec__": spec, "__loader__": loader}


def _module(name: str, file: str | None) -> ModuleType | None:
    present = sys.modules.get(name)
    if present is not None and file is None:
        return present
    parent = name.rpartition(".")[0]
    if parent and file is None:
        importlib.import_module(parent)
    spec = find_spec(name) if file is None else _spec_of_file(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"there is no module {name!r}")
    loader, module = spec.loader, module_from_spec(spec)
    sys.modules[name] = module
    _execute(name, lambda: loader.exec_module(module))

    # A module may put something else in its place.
    return sys.modules.get(name, module)


def _spec_of_file(name: str, file: str) -> ModuleSpec | None:
    return spec_from_file_location(name, file, loader=SourceFileLoader(name, file))


# -- executing what is loaded ----------------------------------------------------------------


@contextmanager
def _said(name: str) -> Iterator[None]:
    """Say what keeps a module from being loaded at all."""
    try:
        yield
    except (Exception, SystemExit, LoadingStopped) as error:  # noqa: BLE001 - a file may do anything
        _record.warning(f"{name} cannot be loaded again: {_described(error)}")


def _execute(name: str, body: Callable[[], object]) -> None:
    """Execute a module's body as far as it goes."""
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace")
    try:
        with without_runs(), redirect_stdout(printed), _limit():
            body()
    except LoadingStopped as stop:
        _record.info(f"The loading of {name} ended early: {stop}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a file may do anything
        _record.warning(
            f"The loading of {name} ended early, what it defines above counts: {_described(error)}"
        )
    with suppress(ValueError):  # closed by the module
        printed.seek(0)
        text = printed.read(SHOWN)
        if text:
            _record.debug(f"{name} printed while it was loaded: {text}")


def _described(error: BaseException) -> str:
    text = str(error)

    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def _limit() -> Iterator[None]:
    """Bound the time within the block, where signals can do that."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def over(_number: int, _frame: FrameType | None) -> None:
        raise LoadingStopped(f"it takes more than {LOADING_SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    # Again and again: the file may catch what is raised.
    signal.setitimer(signal.ITIMER_REAL, LOADING_SECONDS, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# -- finding what was defined -----------------------------------------------------------------


def _definitions_in(module: ModuleType) -> list[Definition[Any, Any]]:
    found: dict[int, Definition[Any, Any]] = {}
    _collect(vars(module), found, DEPTH)

    return list(found.values())


def _collect(space: Any, found: dict[int, Definition[Any, Any]], depth: int) -> None:
    for value in list(space.values()):
        if isinstance(value, Definition):
            found.setdefault(id(value), value)
        elif isinstance(value, type) and depth:
            _collect(vars(value), found, depth - 1)


def _most_like(
    every: list[Definition[Any, Any]], wanted: Wanted, at: Place
) -> Definition[Any, Any] | None:
    """Give the definition that has the name, made of the same function, with the same hooks."""

    def likeness(one: Definition[Any, Any]) -> tuple[bool, int, bool]:
        known = {hook.id for hook in one.hooks}
        same = qualified_name(one.fn) == f"{at.module}:{at.path}"

        return same, sum(hook in known for hook in wanted.hooks), place(refer(one).text).is_exact

    named = [one for one in every if one.run_type == wanted.run_type and one.name == wanted.name]

    return max(named, key=likeness, default=None)
