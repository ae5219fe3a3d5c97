"""Safe points: in which functions an exception from outside may be raised, and where in them."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import logging
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from eventflow import logs
from eventflow.interrupts.safe_points import is_safe, raise_at_safe_point
from tests.interrupts import soak

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


class Struck(BaseException):
    """What the tests raise in a thread."""


def stopped_at(work: Callable[[], object], *where: str) -> bool:
    """Return whether it is safe where a thread that does this stands, once it stands there.

    The last of `where` names the innermost function, and so on. The thread is a daemon, and is
    left where it stands.
    """
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert thread.ident is not None
    while True:
        frame: FrameType | None = sys._current_frames()[thread.ident]
        names: list[str] = []
        outer = frame
        while outer is not None and len(names) < len(where):
            names.insert(0, outer.f_code.co_name)
            outer = outer.f_back
        if names == list(where):
            # Blocked there, and not on its way.
            time.sleep(0.05)
            if sys._current_frames()[thread.ident] is frame:
                return is_safe(frame)
        time.sleep(0.001)


def called_in(call: Callable[[Callable[..., None]], object], *, moment: int = 0) -> bool:
    """Return whether it is safe in the function that calls what `call` is given."""
    answers: list[bool] = []

    def look(*_: object) -> None:
        answers.append(is_safe(sys._getframe(1)))

    call(look)
    return answers[moment]


def at_entry(work: Callable[[], object], name: str) -> bool:
    """Return whether it is safe where the function of that name begins."""
    answers: list[bool] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_qualname == name:
            answers.append(is_safe(frame))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(before)
    return all(answers) if answers else pytest.fail(f"{name} was not called")


def use_condition() -> None:
    condition = threading.Condition()
    with condition:
        condition.notify()


def use_queue() -> None:
    items: queue.Queue[int] = queue.Queue()
    items.put(1)
    items.get()


def use_logging() -> None:
    logging.StreamHandler(io.StringIO()).handle(logging.makeLogRecord({}))


def use_semaphore() -> None:
    semaphore = threading.Semaphore()
    with semaphore:
        pass


@contextlib.contextmanager
def block() -> Iterator[None]:
    yield


def use_block() -> None:
    with block():
        pass


def use_pool() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()


def use_weak_set() -> None:
    weakref.WeakSet[type]().add(int)


def use_imports() -> None:
    sys.modules.pop("this_is_safe", None)
    with contextlib.suppress(ImportError):
        importlib.import_module("this_is_safe")


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (use_condition, "Condition.__enter__"),
        (use_condition, "Condition.__exit__"),
        (use_condition, "Condition.notify"),
        (use_semaphore, "Semaphore.acquire"),
        (use_semaphore, "Semaphore.__exit__"),
        (use_queue, "Queue._put"),
        (use_queue, "Queue._get"),
        (use_logging, "Handler.handle"),
        (use_block, "_GeneratorContextManager.__enter__"),
        (use_block, "_GeneratorContextManager.__exit__"),
        (use_pool, "Thread.start"),
        (use_pool, "ThreadPoolExecutor.submit"),
        (use_weak_set, "WeakSet.add"),
        (use_imports, "_ModuleLock.acquire"),
        (use_imports, "_ModuleLock.release"),
        (use_imports, "_ModuleLockManager.__exit__"),
    ],
)
def test_not_where_a_lock_is_taken_or_given_back(work: Callable[[], object], name: str) -> None:
    """Nothing is raised where these begin: it would be behind a lock, or before its release."""
    assert not at_entry(work, name)


@pytest.mark.parametrize(
    ("work", "name"),
    [
        (use_condition, "use_condition"),
        (use_block, "block"),
        (use_logging, "makeLogRecord"),
        (use_imports, "_find_and_load_unlocked"),
    ],
)
def test_everywhere_else(work: Callable[[], object], name: str) -> None:
    """Users' functions can be interrupted anywhere, and those of the library that lock nothing."""
    assert at_entry(work, name)


@pytest.mark.parametrize(
    ("wait", "where"),
    [
        (lambda: threading.Event().wait(), ["wait", "wait"]),
        (lambda: queue.Queue[int]().get(), ["get", "wait"]),
        (lambda: Future[int]().result(), ["result", "wait"]),
        (lambda: threading.Semaphore(0).acquire(), ["acquire", "wait"]),
        (lambda: time.sleep(600), ["<lambda>"]),
        (lambda: threading.main_thread().join(), ["join"]),
    ],
    ids=["event", "queue", "future", "semaphore", "sleep", "join"],
)
def test_a_wait_can_be_interrupted(wait: Callable[[], object], where: list[str]) -> None:
    """A body may wait for ever in the standard library, and can still be stopped."""
    if where == ["join"] and sys.version_info < (3, 13):
        where = ["join", "_wait_for_tstate_lock"]
    assert stopped_at(wait, *where)


def test_a_wait_for_a_lock_is_not_interrupted() -> None:
    """It might have been taken just now."""
    handler = logging.StreamHandler(io.StringIO())
    handler.acquire()
    try:
        name = "handle" if sys.version_info >= (3, 13) else "acquire"
        assert not stopped_at(lambda: handler.handle(logging.makeLogRecord({})), name)
    finally:
        handler.release()


def in_wait_of(work: Callable[[], object]) -> list[bool]:
    """Return whether it is safe in each call by which the work waits for an event."""
    answers: list[bool] = []

    def look(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and frame.f_code.co_qualname == "Condition.wait":
            # The first two calls make the lock that is waited for, and take it.
            answers.extend([is_safe(frame)] * (called.__name__ == "acquire"))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(before)
    return answers


def test_a_starting_thread_is_waited_for() -> None:
    """A pool whose thread was started, and not noted, would never end."""
    thread = threading.Thread(target=int)
    started = threading.Event()

    def start() -> None:
        thread._started.wait = partial(started.wait, 0.001)  # type: ignore[attr-defined]
        thread.start()

    assert in_wait_of(lambda: started.wait(0.001)) == [False, True]
    assert in_wait_of(start) == [False, False]


def test_not_in_a_finalizer() -> None:
    """An exception that is raised there is swallowed."""
    answers: list[bool] = []

    def look() -> None:
        answers.append(is_safe(sys._getframe()))

    class Finalized:
        def __del__(self) -> None:
            look()

    Finalized()
    assert answers == [False]
    look()
    assert answers == [False, True]


def test_a_handler_of_the_program_itself_can_be_interrupted() -> None:
    """Its `emit` is called where `logging` gives the lock back."""

    class Looking(logging.Handler):
        def __init__(self, look: Callable[..., None]) -> None:
            super().__init__()
            self.look = look

        def emit(self, record: logging.LogRecord) -> None:
            self.look()

    assert called_in(lambda look: Looking(look).handle(logging.makeLogRecord({})))


def test_an_exception_is_raised_only_at_a_safe_point() -> None:
    """A thread is struck when it has left the lock that it waited for, and not before."""
    handler, ended = logging.StreamHandler(io.StringIO()), list[BaseException]()
    ready, go = threading.Event(), threading.Event()

    def work() -> None:
        try:
            ready.set()
            handler.handle(logging.makeLogRecord({}))
            go.wait(60)
        except Struck as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    with contextlib.ExitStack() as stack:
        handler.acquire()
        stack.callback(handler.release)
        thread.start()
        assert thread.ident is not None
        assert ready.wait(60)
        while sys._current_frames()[thread.ident].f_code.co_name not in {"acquire", "handle"}:
            time.sleep(0.001)
        assert not raise_at_safe_point(thread.ident, Struck, is_urgent=True)
    while not raise_at_safe_point(thread.ident, Struck, is_urgent=True):
        time.sleep(0.001)
    go.set()
    thread.join(60)
    assert len(ended) == 1
    assert handler.lock is not None
    assert handler.lock.acquire(blocking=False)
    handler.lock.release()


def test_a_thread_that_has_ended_is_not_waited_for() -> None:
    """There is nothing to raise any more."""
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.ident is not None
    assert raise_at_safe_point(thread.ident, Struck, is_urgent=False)


# A file that an import has just opened is closed by its finalizer.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("place", soak.PLACES)
@pytest.mark.parametrize("name", soak.WORKLOADS)
def test_another_thread_comes_through_after_each_timeout(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`python -m tests.interrupts.soak` does this a thousand times."""
    (tmp_path / f"{soak.MODULE}.py").write_text("import threading\n")
    monkeypatch.syspath_prepend(tmp_path)
    # `log_prints` replaces it for good.
    monkeypatch.setattr(builtins, "print", print)
    monkeypatch.setattr(logs, "_print", [])
    assert soak.soak(name, place, 5) > 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="garbage is collected between steps there")
def test_garbage_of_thread_locals_does_not_stop_the_process(tmp_path: Path) -> None:
    """CPython 3.11 asks for the lock of all threads for each; the look at their frames holds it."""
    code = """
import gc, threading, time
from eventflow.interrupts.safe_points import raise_at_safe_point

class Stop(BaseException): pass

def leave_garbage():
    for _ in range(50):
        cycle = [threading.local()]
        cycle.append(cycle)

def deep(levels):
    if levels: return deep(levels - 1)
    ready.set()
    end.wait(60)

for _ in range(30):
    ready, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=deep, args=(200,))
    thread.start()
    ready.wait()
    gc.collect()
    gc.set_threshold(1)
    leave_garbage()
    raise_at_safe_point(threading.get_ident() + 1, Stop, is_urgent=False)
    gc.set_threshold(700)
    assert gc.isenabled()
    end.set()
    thread.join()
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60, check=True)
