"""The gate of a thread: where an interrupt, or a signal, may arrive, and what has to wait.

A thread has a gate that lets an interrupt in only while a body (for signals: or a hook) is being
executed there, never while the engine is between a transition and its hooks.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator
from contextvars import Context
from enum import Enum
from time import monotonic
from typing import Any, Final, Protocol

from eventflow.primitives.forks import in_children

__all__ = [
    "WAKE",
    "Bell",
    "Body",
    "InterruptMask",
    "Interrupted",
    "ThreadPhase",
    "on_wake",
    "thread_mask",
    "wait",
]

WAKE: Final = getattr(signal, "SIGURG", None)
"""The signal that wakes the main thread from a blocking call; ignored by default everywhere."""


LOOK_SECONDS: Final = 0.2
"""How often the main thread looks up while it waits."""


class Body(Protocol):
    """The handle of a run whose body is on a thread's stack."""

    @property
    def reason(self) -> object | None:
        """Why it is to stop, if it is."""
        ...

    def is_below(self, other: Any) -> bool:
        """Say whether the other run is around this one."""
        ...


class ThreadPhase(Enum):
    """What a thread is executing, as far as interrupts are concerned."""

    NOTHING = "nothing of a run"
    ENGINE = "the engine, for a sync run"
    BODY = "a sync body"
    HOOK = "a hook of a sync run"
    LOOP = "an event loop with async runs"


# Named once: Python 3.11 looks a member up by calling Python code, where an interrupt could arrive.
NOTHING: Final = ThreadPhase.NOTHING
ENGINE: Final = ThreadPhase.ENGINE
BODY: Final = ThreadPhase.BODY
HOOK: Final = ThreadPhase.HOOK
LOOP: Final = ThreadPhase.LOOP


class Bell:
    """What a thread waits for, and others ring; being heard ends the ringing.

    Not `threading.Event`: its waiting is Python code, in which an interrupt may arrive between
    any two lines and leave a RuntimeError of its lock behind instead of itself.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Ring; also from a signal handler."""
        with contextlib.suppress(RuntimeError):  # it is ringing already
            self._lock.release()

    def clear(self) -> None:
        """Ring no more."""
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it rings or so many seconds have passed; says which."""
        # Python cannot wait longer than that, which is 292 years.
        most = threading.TIMEOUT_MAX

        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, most))


class Interrupted(BaseException):
    """Raised inside the body of a sync run that eventflow stops; not for users to catch."""


class InterruptMask:
    """What one thread is inside of, and what waits to be raised there."""

    __slots__ = (
        "_beneath",
        "_knocked",
        "_lock",
        "_turned",
        "bodies",
        "dealing",
        "deferred",
        "ident",
        "phase",
        "signalled",
        "sleeping",
        "tasks",
    )

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self.phase = NOTHING
        self.bodies: list[Body] = []
        self.deferred: BaseException | None = None
        self.dealing: BaseException | None = None  # what a run is being ended by, from outside
        self.sleeping: Bell | None = None
        self.tasks: dict[asyncio.Task[Any], BaseException | None] = {}
        self._beneath = NOTHING
        self._turned: asyncio.AbstractEventLoop | None = None
        self._knocked = False
        self.signalled = False
        self.forget()

    def forget(self) -> None:
        """Be where nobody knocks: in a forked child, a thread that did is not there any more."""
        # Reentrant: a signal handler of the program's own, in this thread, may cancel a run.
        self._lock = threading.RLock()

    def due(self) -> bool:
        """Say whether a body on this thread's stack has been told to stop."""
        for cancel_scope in self.bodies:  # noqa: SIM110 - asked twice a run, where any() is slow
            if cancel_scope.reason is not None:
                return True

        return False

    def interrupt(self, cancel_scope: Body) -> None:
        """Interrupt the bodies on this thread from that run's on; called from any thread."""
        with self._lock:
            # The reason may have been dealt with while the caller was on its way here.
            if cancel_scope.reason is None or cancel_scope not in self.bodies:
                return
            if self.phase is LOOP:
                self.cancel_tasks(None)
            elif self.phase is BODY:
                self._raise_there()
                if self.sleeping is not None:
                    self.sleeping.set()

    def _raise_there(self) -> None:
        if self.ident == threading.main_thread().ident and WAKE is not None and _wakes(WAKE):
            self.signalled = True
            signal.pthread_kill(self.ident, WAKE)
        else:
            self._knocked = True
            _raise_in(self.ident)

    def remind(self) -> bool:
        """Send the signal again if its handler has not run yet; says whether that was so.

        A signal that arrives just before a blocking call begins does not end that call.
        """
        with self._lock:
            missed = self.signalled and self.phase is BODY
            if missed and WAKE is not None:
                signal.pthread_kill(self.ident, WAKE)

            return missed

    def unmask(self, phase: ThreadPhase) -> None:
        """Let in what may arrive here, and raise what has been waiting."""
        self.phase = phase
        if self.dealing is not None and phase is not HOOK:
            self.dealing = None
        # `stop` gives its reason before it knocks: whoever found the gate shut is seen here.
        if phase is BODY and self.bodies and self.due():
            raise Interrupted
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            raise deferred

    def mask(self) -> None:
        """Let nothing in from here on; an interrupt on its way is called back.

        Two can be: one that was raised before, and one whose sender was at the gate just then.
        """
        self.phase = ENGINE
        try:
            self._call_back()
        except Interrupted:
            try:
                self._call_back()
            except Interrupted:
                self._call_back()

    def _call_back(self) -> None:
        with self._lock:
            if self._knocked:
                self._knocked = False
                # Nobody can say whether it has arrived. It is replaced, and awaited here: to clear
                # it instead leaves CPython looking for it for ever, and a traced thread hanging.
                try:
                    _raise_in(self.ident)
                    while True:
                        pass
                except Interrupted:
                    pass

    @contextlib.contextmanager
    def nested(self, cancel_scope: Body) -> Iterator[None]:
        """Execute another run's work meanwhile; only bodies around that run are stopped in it."""
        before, bodies = self.phase, self.bodies
        self.enter_engine()
        self.bodies = [body for body in bodies if cancel_scope.is_below(body)]
        try:
            yield
        finally:
            self.bodies = bodies
            self.leave_engine(before)

    def enter_engine(self) -> None:
        """Begin to execute the engine for a run, perhaps from within the body of another."""
        if self.phase is BODY:
            self.mask()
        else:
            self.phase = ENGINE

    def leave_engine(self, before: ThreadPhase) -> None:
        """Go back to where the engine was entered from, and raise what has been waiting.

        Raises:
            Interrupted: the body around it is to stop.
            KeyboardInterrupt, TerminationSignal: a signal arrived meanwhile.
        """
        self.unmask(before)

    def defer(self, error: BaseException) -> None:
        """Keep what a signal asks for until the engine is left; an exit outweighs an interrupt."""
        if not isinstance(self.deferred, SystemExit):
            self.deferred = error

    def enter_task(self, task: asyncio.Task[Any]) -> None:
        """Begin to execute async runs in this task: it is cancelled where a body is interrupted."""
        if self.phase is not LOOP:
            beneath = self.phase
            self.enter_engine()
            self._beneath = beneath
        self.tasks[task] = None
        self.phase = LOOP
        loop = task.get_loop()
        if self._turned is not loop and self.ident == threading.main_thread().ident:
            self._turned = loop
            self._turn(loop)
        if self.due():
            task.cancel()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop turn now and then: a signal may come just before it waits.

        It goes on only while runs execute there, and begins at most that often.
        """
        if self._turned is not loop:
            return
        if self.tasks:
            loop.call_later(LOOK_SECONDS, self._turn, loop, context=Context())
        else:
            self._turned = None

    def leave_task(self, task: asyncio.Task[Any]) -> None:
        """End what `take_in` began; raises what `leave_engine` does."""
        self.tasks.pop(task, None)
        if not self.tasks and self.phase is LOOP:
            self.leave_engine(self._beneath)

    def cancel_tasks(self, cause: BaseException | None) -> None:
        """Cancel the tasks that execute async runs here, and remember what for."""
        for task in tuple(self.tasks):
            if cause is not None:
                self.tasks[task] = cause
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the run with it
                task.get_loop().call_soon_threadsafe(task.cancel)


def _raise_in(ident: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Interrupted))


class _Local(threading.local):
    def __init__(self) -> None:
        self.mask = InterruptMask()


_local: Final = _Local()


def thread_mask() -> InterruptMask:
    """Give the gate of this thread."""
    return _local.mask


in_children(lambda: thread_mask().forget())


def _wakes(signum: int) -> bool:
    return signal.getsignal(signum) is on_wake


def on_wake(_signum: int, _frame: object) -> None:
    """Handle the signal that wakes the main thread.

    Raises:
        Interrupted: a body of this thread is to stop.
    """
    here = thread_mask()
    here.signalled = False
    if here.phase is BODY and here.due():
        raise Interrupted


def wait(bell: Bell, timeout: float | None = None) -> bool:
    """Wait for a bell; if a body of this thread is told to stop meanwhile, wake up."""
    here = thread_mask()
    here.sleeping = bell
    try:
        if here.phase is BODY and here.due():
            raise Interrupted
        if here.ident != threading.main_thread().ident:
            return bell.wait(timeout)
        return _look_up(bell, timeout)
    finally:
        here.sleeping = None


def _look_up(bell: Bell, timeout: float | None) -> bool:
    """Wait in the main thread, where a signal may arrive just before a wait begins.

    Python would handle it only when that wait ends.
    """
    until = None if timeout is None else monotonic() + timeout
    while True:
        left = None if until is None else max(0.0, until - monotonic())
        if bell.wait(LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)):
            return True
        if left is not None and left <= LOOK_SECONDS:
            return False
