"""Execute files in a thread that is parked for good where the first run in them would begin.

A parked thread never goes on: no handler of the file runs, and no line after the call. An exception
could not do that, as a file may catch it. Files are executed in the main thread, if it serves them,
because they may set signal handlers; what they define is used in another thread.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from types import FrameType, ModuleType
from typing import Final, NoReturn
from weakref import WeakSet

from eventflow.context import current_hook, reloading
from eventflow.interrupts.waiting import Wakeup

__all__ = ["execute", "park", "serve", "threads_of_hooks"]

OTHERS_SECONDS: Final = 1.0
"""How long a file goes on once another thread of it is parked: mostly it waits for that thread."""

PARKING_SECONDS: Final = 2.0
"""How long to try to park the main thread, which does not hear of signals while it is in C code."""

SIGNAL_SECONDS: Final = 0.05
CHILD_SECONDS: Final = 0.2

OWN_PREFIX: Final = "eventflow-"
"""The names of eventflow's own threads, in which listeners and hooks may call flows."""

# It is ignored by default: one that comes too late does no harm.
PARK: Final = getattr(signal, "SIGURG", None)

_KEPT: Final = {
    getattr(signal, name, None)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD", "SIGCONT", "SIGWINCH")
}
"""The signals with a default that is right here: to end the process, or to be ignored."""


def park() -> NoReturn:
    """Stop this thread for good."""
    if threading.current_thread() is threading.main_thread():
        _remove_signal_handlers()
    never = threading.Lock()
    never.acquire()
    while True:
        with suppress(BaseException):  # of a signal handler, say
            never.acquire()


def _remove_signal_handlers() -> None:
    """Remove the handlers and timers that a file has set: the file is not executed any more."""
    if hasattr(signal, "setitimer"):
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
    for number in signal.valid_signals() - {PARK}:
        if callable(signal.getsignal(number)):
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL if number in _KEPT else signal.SIG_IGN)


def _is_own(thread: threading.Thread) -> bool:
    """Return whether a thread is one of eventflow itself, and not of a file that is loaded."""
    return thread.name.startswith(OWN_PREFIX)


# The threads that files have left behind.
_left: Final[WeakSet[threading.Thread]] = WeakSet()


def threads_of_hooks() -> list[threading.Thread]:
    """Return the threads that hooks have started, and that the process has to wait for."""
    return [
        thread
        for thread in threading.enumerate()
        if not (thread.daemon or _is_own(thread) or thread in _left)
        and thread is not threading.main_thread()
    ]


class _Load:
    """The execution of one file, up to its end or to its first run."""

    def __init__(self, body: Callable[[], object]) -> None:
        self._body = body
        self._process = os.getpid()
        self._changed = Wakeup()
        self._ended = threading.Event()
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.reason: str | None = None
        """Why the file was not executed to its end."""
        self.is_parked = False
        self.parks = False
        """Whether the main thread is to be parked at the next signal."""

    def run(self) -> None:
        """Execute the file in this thread."""
        self.thread = threading.current_thread()
        try:
            self._body()
        except BaseException as error:  # noqa: BLE001 - a file may raise anything
            self.error = error
        if os.getpid() != self._process:
            os._exit(0)  # a fork of the file, which is no recovery
        self._ended.set()
        self._changed.set()

    def refuse(self, name: str) -> None:
        """Park the thread of the file that calls a flow or a task."""
        if _is_own(threading.current_thread()):
            return
        if os.getpid() != self._process:
            self._wait_in_child()
        self.reason = self.reason or f"it calls {name}, which is not run a second time"
        self.is_parked = self.is_parked or threading.current_thread() is self.thread
        self._changed.set()
        park()

    def _wait_in_child(self) -> NoReturn:
        """Tell the parent that its file has come to a run, and end with it."""
        with suppress(OSError):
            if PARK is not None:
                os.kill(self._process, PARK)
            while True:
                os.kill(self._process, 0)
                time.sleep(CHILD_SECONDS)
        os._exit(0)

    def on_signal(self, frame: FrameType | None) -> None:
        """Park the main thread, or note that a child has come to a run."""
        if not self.parks:
            self.reason = self.reason or "a process that it forked calls a flow or a task"
            self._changed.set()
        elif not _is_logging(frame):
            self.is_parked = True
            park()

    def wait(self, seconds: float) -> bool:
        """Wait until the file has ended or is parked; return whether its thread is free again."""
        self._changed.wait(seconds)
        if not self._ended.is_set() and not self.is_parked:
            if self.reason is not None:
                self._ended.wait(OTHERS_SECONDS)
            else:
                self.reason = f"it takes more than {seconds:g} s"
        if not self._ended.is_set():
            self._park_main()
            _release_imports()

        return self._ended.is_set()

    def _park_main(self) -> None:
        if self.thread is not threading.main_thread() or PARK is None:
            return
        self.parks = True
        deadline = time.monotonic() + PARKING_SECONDS
        while not self.is_parked and not self._ended.is_set() and time.monotonic() < deadline:
            signal.pthread_kill(threading.main_thread().ident or 0, PARK)
            self._ended.wait(SIGNAL_SECONDS)


def _is_logging(frame: FrameType | None) -> bool:
    """Return whether a thread may hold the locks of logging, which others need."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "logging":
            return True
        frame = frame.f_back

    return False


def _release_imports() -> None:
    """Let other threads import what a parked thread was importing: what it defined so far."""
    for module in list(sys.modules.values()):
        with suppress(Exception):
            _release_import(module)


def _release_import(module: ModuleType) -> None:
    # Not `getattr`, which loads a lazy module.
    spec = object.__getattribute__(module, "__dict__").get("__spec__")
    if getattr(spec, "_initializing", False):
        spec._initializing = False  # noqa: SLF001 - there is no other way


# -- the main thread ------------------------------------------------------------------------------


class _MainThread:
    """Executes files in the main thread, one after the other, until one of them is parked there."""

    def __init__(self) -> None:
        self._loads: queue.SimpleQueue[_Load] = queue.SimpleQueue()
        self.current: _Load | None = None
        self.is_free = True

    def serve(self) -> NoReturn:
        """Execute every file that is given, for ever."""
        while True:
            # Before each: the last one may have set handlers.
            _remove_signal_handlers()
            if PARK is not None:
                signal.signal(PARK, self._on_signal)
            with suppress(BaseException):
                self.current = self._loads.get()
                self.current.run()

    def _on_signal(self, _number: int, frame: FrameType | None) -> None:
        if self.current is not None:
            self.current.on_signal(frame)

    def give(self, load: _Load) -> None:
        """Have a file executed."""
        self._loads.put(load)


_main: Final[list[_MainThread]] = []


def execute(body: Callable[[], object], seconds: float) -> str | BaseException | None:
    """Execute a file, for so many seconds at most, up to the first run that would begin there.

    Returns what it raised, or why it was stopped, or None if it was executed to its end.
    """
    load = _Load(body)
    main = next((main for main in _main if main.is_free), None)
    with _refused_by(load.refuse):
        if main is None:
            # In this context: what is declared is attached to the bus in force.
            context = copy_context()
            # A hook may have asked for what the file defines, and hooks may call flows: files not.
            context.run(current_hook.set, None)
            threading.Thread(
                target=lambda: context.run(load.run), name="loading", daemon=True
            ).start()
        else:
            main.give(load)
        is_free = load.wait(seconds)
    if main is not None:
        main.is_free = is_free
    _left.update(threading.enumerate())

    return load.reason or load.error


@contextmanager
def _refused_by(refuse: Callable[[str], None]) -> Iterator[None]:
    reloading.append(refuse)
    try:
        yield
    finally:
        reloading.remove(refuse)


def _refuse(_name: str) -> None:
    """Park a thread that a file has left behind."""
    if not _is_own(threading.current_thread()):
        park()


def serve(work: Callable[[], int]) -> NoReturn:
    """Work in another thread, and execute files in this one, the main thread.

    The process ends with the code that `work` returns, and with 1 if it raises. What was logged and
    printed is written out; what a file has registered for the end of the process is not called.
    """
    reloading.append(_refuse)
    main = _MainThread()
    _main.append(main)

    def run() -> None:
        code = 1
        try:
            code = work()
        except BaseException as error:  # noqa: BLE001 - the process ends here
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            _write_out()
            os._exit(code)

    threading.Thread(target=run, name=f"{OWN_PREFIX}recovery", daemon=True).start()
    main.serve()


def _write_out() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
