"""Timeouts without end, in bodies that take and give back the locks of the standard library.

`python -m tests.interrupts.soak` interrupts each workload a thousand times, in the main thread and
in a worker. After each time another thread does the same, and has to come through. The exit code
is 1 if one does not; what it waits for is printed. `--timeouts N` and names of workloads choose.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import io
import itertools
import logging
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from eventflow import State, flow, get_run_logger, task
from eventflow.settings import EVENTFLOW_DURABILITY, EVENTFLOW_HOME, temporary_settings

STANDSTILL_SECONDS: Final = 30
"""How long another thread has for one step before it is said to stand still."""

TIMEOUT_SECONDS: Final = 0.002

MODULE: Final = "interrupted_module"

_logger: Final = logging.getLogger("soak")
_items: Final[queue.Queue[int]] = queue.Queue(4)
_pool: Final = ThreadPoolExecutor(2)
_semaphore: Final = threading.Semaphore()
_event: Final = threading.Event()
_lock: Final = threading.Lock()
_condition: Final = threading.Condition()


def log() -> None:
    """Log a line to three handlers."""
    _logger.info("a row")


def log_in_run() -> None:
    """Log a line by the logger of the run."""
    get_run_logger().info("a row")


def show() -> None:
    """Print a line, which is logged."""
    print("a row")


def pass_item() -> None:
    """Put an item into a queue and take one."""
    with contextlib.suppress(queue.Full):
        _items.put(1, timeout=0.5)
    with contextlib.suppress(queue.Empty):
        _items.get(timeout=0.5)


def load_module() -> None:
    """Import a module that has not been imported."""
    sys.modules.pop(MODULE, None)
    importlib.import_module(MODULE)


def compute() -> None:
    """Have a thread of a pool compute something."""
    assert _pool.submit(int).result() == 0


def start_pool() -> None:
    """Start a pool with its threads, and end it."""
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(abs, (-1, -2))) == [1, 2]


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    with _lock:
        yield


def enter_blocks() -> None:
    """Take and give back locks by `with`, of several kinds."""
    with _locked(), _semaphore, _condition:
        _condition.notify_all()
    _event.set()
    _event.clear()
    _event.wait(0.0001)


WORKLOADS: Final[dict[str, Callable[[], None]]] = {
    "logging": log,
    "run logger": log_in_run,
    "print": show,
    "queue": pass_item,
    "import": load_module,
    "pool": compute,
    "starting pool": start_pool,
    "with": enter_blocks,
}


class StandsStillError(Exception):
    """Another thread did not come through: a lock was left behind."""


def _repeat(step: Callable[[], None]) -> Callable[[], None]:
    def repeat() -> None:
        while True:
            step()

    return repeat


def in_main_thread(step: Callable[[], None]) -> Iterator[State[Any]]:
    """Yield the final state of one interrupted flow after the other, run in this thread."""
    repeated = flow(name="repeated", timeout_seconds=TIMEOUT_SECONDS, log_prints=True)(
        _repeat(step)
    )
    while True:
        yield repeated(return_state=True)


def in_worker(step: Callable[[], None]) -> Iterator[State[Any]]:
    """Yield the final state of one interrupted task after the other, run in a worker."""
    repeated = task(name="repeated", timeout_seconds=TIMEOUT_SECONDS, log_prints=True)(
        _repeat(step)
    )

    @flow
    def submitting() -> Iterator[State[Any]]:
        while True:
            future = repeated.submit()
            future.wait()
            yield future.state

    return submitting()


PLACES: Final = {"main thread": in_main_thread, "worker": in_worker}


def soak(name: str, place: str, timeouts: int) -> float:
    """Interrupt a workload so often; return how many seconds a run took until it had ended.

    Raises:
        StandsStillError: another thread did not come through afterwards.
    """
    step = WORKLOADS[name]
    once = flow(name="once", log_prints=True)(step)
    begin = time.monotonic()
    in_runs = 0.0
    for state in itertools.islice(PLACES[place](step), timeouts):
        in_runs += time.monotonic() - begin
        if state.name != "TimedOut":
            raise StandsStillError(f"{name} in the {place} ended as {state!r}")
        other = threading.Thread(target=once, daemon=True)
        other.start()
        other.join(STANDSTILL_SECONDS)
        if other.is_alive():
            faulthandler.dump_traceback()
            raise StandsStillError(f"{name} in the {place}: another thread stands still")
        begin = time.monotonic()

    return in_runs / timeouts


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--timeouts", type=int, default=1000)
    parser.add_argument("--places", nargs="*", default=list(PLACES))
    chosen = parser.parse_args(arguments)
    _logger.setLevel("INFO")
    handlers = [logging.StreamHandler(io.StringIO()) for _ in range(3)]
    logging.basicConfig(level="INFO", handlers=handlers)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{MODULE}.py").write_text("import threading\nVALUE = list(range(100))\n")
        sys.path.insert(0, folder)
        with temporary_settings({EVENTFLOW_HOME: folder, EVENTFLOW_DURABILITY: "off"}):
            for name, place in itertools.product(chosen.names or WORKLOADS, chosen.places):
                for handler in handlers:
                    handler.setStream(io.StringIO())
                try:
                    seconds = soak(name, place, chosen.timeouts)
                except StandsStillError as error:
                    failed = True
                    sys.stdout.write(f"WRONG  {error}\n")
                    break
                sys.stdout.write(f"right  {name} in the {place}: {1000 * seconds:.1f} ms a run\n")
                sys.stdout.flush()
    sys.stdout.flush()

    return int(failed)


if __name__ == "__main__":
    # Not by a usual exit, which would wait for a thread that stands still.
    os._exit(main())
