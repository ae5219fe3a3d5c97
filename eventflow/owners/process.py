"""Describe this process and how it was started, so that another can load its definitions."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from eventflow.journal.rows import OwnerRow
from eventflow.primitives.ids import new_id

__all__ = ["boot_id", "boot_time", "describe", "host_id", "recovery_program"]

ROOT: Final = str(Path(__file__).parents[2])
"""The folder that holds this package."""

# The interpreter's own path first, then the entries that this process has in addition. Never the
# working folder: a file there may have the name of a module of the standard library.
_BOOT: Final = (
    "import os, runpy, sys;"
    "root, *others = sys.argv.pop(1).split(os.pathsep);"
    "sys.path[:0] = [root] * (root not in sys.path);"
    "sys.path += [entry for entry in others if entry not in sys.path];"
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a string is what is wanted
    except OSError:
        return ""  # it was deleted


# As multiprocessing does: relative paths count from where the process was started.
_started_in: Final = _working_folder()


def host_id() -> str:
    """Return a name that only this machine has; EVENTFLOW_HOST_ID overrides it."""
    return os.environ.get("EVENTFLOW_HOST_ID", "").strip() or _host_id()


@lru_cache(maxsize=1)
def _host_id() -> str:
    name = socket.gethostname()
    # Copies of one image may have the same machine id, and other machines the same name.
    machine_id = (
        _first_line("/etc/machine-id")
        or _first_line("/var/lib/dbus/machine-id")
        or _hardware_uuid()
    )

    return f"{name}-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{machine_id} {name}').hex[:8]}"


def _hardware_uuid() -> str:
    """Return what `gethostuuid(2)` of macOS says; empty where the system has no such call."""
    import ctypes  # noqa: PLC0415 - needed on macOS only

    try:
        call = ctypes.CDLL(None).gethostuuid
    except (AttributeError, OSError, TypeError):
        return ""
    found, timeout = (ctypes.c_ubyte * 16)(), (ctypes.c_long * 2)(1, 0)

    return "" if call(found, timeout) else bytes(found).hex()


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return a name for the time since the machine was started, another one after each start."""
    return _first_line("/proc/sys/kernel/random/boot_id") or boot_time()


def boot_time() -> str:
    """Return when the machine was started, for systems without a boot id."""
    # To the minute: the two clocks drift apart.
    minute = round((time.time() - time.monotonic()) / 60) * 60

    return f"{datetime.fromtimestamp(minute, UTC):%Y-%m-%dT%H:%MZ}"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").partition("\n")[0].strip()
    except OSError:
        return ""


def describe() -> OwnerRow:
    """Describe this process as an owner, with a new id.

    Its `__main__` is described as by multiprocessing's spawn, with both answers where there are
    two: `main_module` is the name given to `python -m` (of a package `package.__main__`);
    `main_file` is a file or an archive for `runpy.run_path`. With neither there is nothing to load
    again: `python -c`, an interactive session, a notebook. Relative entries of `sys.path` are made
    absolute. `cwd` is empty if the folder was deleted.
    """
    main = sys.modules.get("__main__")

    return OwnerRow(
        id=new_id().hex,
        host=host_id(),
        boot=boot_id(),
        pid=os.getpid(),
        started=datetime.now(UTC),
        main_file=_main_file(main),
        main_module=_main_module(main),
        argv=tuple(str(argument) for argument in getattr(sys, "argv", ())),
        cwd=_working_folder(),
        sys_path=_sys_path(),
    )


def _main_module(main: Any) -> str | None:
    name = getattr(getattr(main, "__spec__", None), "name", None)

    # The name `__main__` alone is of a folder or an archive: `main_file` has its path.
    return name if isinstance(name, str) and name != "__main__" else None


def _main_file(main: Any) -> str | None:
    file = getattr(main, "__file__", None)
    if not isinstance(file, str) or file.endswith(".ipynb"):
        return None
    path = Path(os.path.normpath(os.path.join(_started_in, file)))  # noqa: PTH118 - `..` too

    # The parent is an archive, if it is a file. Path raises where access is denied.
    return next((str(at) for at in (path, path.parent) if os.path.isfile(at)), None)  # noqa: PTH113


def _sys_path() -> tuple[str, ...]:
    entries: list[Any] = sys.path  # of any type: an import ignores all but strings

    return tuple(_absolute(entry) for entry in entries if isinstance(entry, str))


def _absolute(entry: str) -> str:
    absolute = os.path.join(_started_in, entry) if entry else _started_in  # noqa: PTH118 - strings

    # Path raises where access is denied.
    return absolute if not entry or os.path.exists(absolute) else entry  # noqa: PTH110


def recovery_program(module: str = "eventflow.recovery") -> tuple[str, ...]:
    """Return the command that runs `eventflow.recovery` as this process was run; empty if none can.

    It does what `python -m eventflow.recovery` does, with the same interpreter and options, and
    with this process's `sys.path` behind its own, so that the package is found where it is here.
    The same for another module.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return ()
    path = os.pathsep.join([ROOT, *(entry for entry in _sys_path() if os.pathsep not in entry)])

    return (sys.executable, *_options(), "-P", "-c", _BOOT, path, module)


def _options() -> list[str]:
    try:
        # As multiprocessing does; there is no public way.
        return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # noqa: SLF001
    except (AttributeError, ValueError):
        return []  # the warning options were changed by hand
