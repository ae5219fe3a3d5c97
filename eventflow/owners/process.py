"""What this process is and how it was started: all that another needs to load its definitions."""

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

__all__ = ["boot_id", "describe", "host_id", "recovery_program"]

ROOT: Final = str(Path(__file__).parents[2])
"""Where this package is found."""

# The interpreter's own path first; then what this process has in addition. Never the working
# folder, in which a file may bear the name of a module of the standard library.
_BOOT: Final = (
    "import os, runpy, sys;"
    "root, *others = sys.argv.pop(1).split(os.pathsep);"
    "sys.path[:0] = [root] * (root not in sys.path);"
    "sys.path += [one for one in others if one not in sys.path];"
    "runpy.run_module('eventflow.recovery', run_name='__main__', alter_sys=True)"
)


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a string is what is wanted
    except OSError:
        return ""  # it was deleted


# As multiprocessing does: a relative path means what it meant when the process began.
_started_in: Final = _working_folder()


def host_id() -> str:
    """Give the name of this machine, another one for each; EVENTFLOW_HOST_ID overrides it."""
    return os.environ.get("EVENTFLOW_HOST_ID", "").strip() or _host_id()


@lru_cache(maxsize=1)
def _host_id() -> str:
    name = socket.gethostname()
    # Copies of one image may have the same machine id, and strangers the same name.
    told = _first_line("/etc/machine-id") or _first_line("/var/lib/dbus/machine-id")

    return f"{name}-{uuid.uuid5(uuid.NAMESPACE_DNS, f'{told} {name}').hex[:8]}"


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Give what tells this run of the machine from the one before its last start."""
    return _first_line("/proc/sys/kernel/random/boot_id") or _booted()


def _booted() -> str:
    # To the minute: the two clocks do not go quite alike.
    minute = round((time.time() - time.monotonic()) / 60) * 60

    return f"{datetime.fromtimestamp(minute, UTC):%Y-%m-%dT%H:%MZ}"


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").partition("\n")[0].strip()
    except OSError:
        return ""


def describe() -> OwnerRow:
    """Describe this process as an owner, with a new id.

    What its `__main__` is, is told as multiprocessing's spawn tells it, with both answers where
    there are two: `main_module` is the name that `python -m` was given (of a package
    `package.__main__`); `main_file` is a file, or an archive, that `runpy.run_path` takes. With
    neither there is nothing to load again: `python -c`, an interactive session, a notebook. A
    relative entry of `sys.path` is made absolute. `cwd` is empty if the folder was deleted.
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
        argv=tuple(str(one) for one in getattr(sys, "argv", ())),
        cwd=_working_folder(),
        sys_path=_sys_path(),
    )


def _main_module(main: Any) -> str | None:
    name = getattr(getattr(main, "__spec__", None), "name", None)

    # `__main__` alone is that of a folder or an archive: its file says more.
    return name if isinstance(name, str) and name != "__main__" else None


def _main_file(main: Any) -> str | None:
    file = getattr(main, "__file__", None)
    if not isinstance(file, str) or file.endswith(".ipynb"):
        return None
    path = Path(os.path.normpath(os.path.join(_started_in, file)))  # noqa: PTH118 - `..` too

    # What is in an archive is told by the archive. Path raises where we are not let in.
    return next((str(one) for one in (path, path.parent) if os.path.isfile(one)), None)  # noqa: PTH113


def _sys_path() -> tuple[str, ...]:
    entries: list[Any] = sys.path  # whatever was put there: an import passes over the rest

    return tuple(_absolute(one) for one in entries if isinstance(one, str))


def _absolute(entry: str) -> str:
    whole = os.path.join(_started_in, entry) if entry else _started_in  # noqa: PTH118 - strings

    # Path raises where this user is not let in.
    return whole if not entry or os.path.exists(whole) else entry  # noqa: PTH110


def recovery_program() -> tuple[str, ...]:
    """Give the command that runs `eventflow.recovery` with what this process has; `()`: none.

    It is `python -m eventflow.recovery`, with the same interpreter and its options, and with the
    folders of `sys.path` behind its own, so that the package is found wherever it was found here.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return ()
    path = os.pathsep.join([ROOT, *(one for one in _sys_path() if os.pathsep not in one)])

    return (sys.executable, *_options(), "-P", "-c", _BOOT, path)


def _options() -> list[str]:
    try:
        # What multiprocessing goes by as well; there is no public way.
        return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # noqa: SLF001
    except (AttributeError, ValueError):
        return []  # the warning options were changed by hand
