"""What an owner does beside its runs: cancel on request, keep guardian and lease, maintain."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Final
from uuid import UUID

from eventflow.interrupts.scopes import Reason, active_runs
from eventflow.primitives.loggers import get_logger

__all__ = ["Heartbeat"]

POLL_SECONDS: Final = 0.25
"""How often the journal is queried for requested cancellations while runs execute."""

RETRY_SECONDS: Final = 1.0
"""After how long a lease is renewed again that could not be, unless it is due before."""


class Heartbeat:
    """A thread that calls back until it is stopped. It logs errors and goes on.

    `record` notes the runs that execute, which may be held back by a commit that waits for others;
    `cancels` returns those to cancel. Both are called every `poll_seconds` while runs execute.
    `guard` replaces a guardian that was killed; it is called as often, with runs or without.
    `renew` and `maintain` are called every `interval` seconds; `maintain` also at the start. It may
    take long, and has a thread of its own: the lease is renewed meanwhile.
    """

    def __init__(
        self,
        *,
        record: Callable[[], None],
        cancels: Callable[[], Iterable[UUID]],
        guard: Callable[[], None],
        renew: Callable[[], None],
        maintain: Callable[[], None],
        interval: float,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._record = record
        self._cancels = cancels
        self._guard = guard
        self._renew = renew
        self._maintain = maintain
        self._interval = interval
        self._poll_seconds = poll_seconds
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._maintenance: threading.Thread | None = None
        self._logged: set[str] = set()

    def start(self) -> None:
        """Start the thread, if the system has one."""
        try:
            self._thread = _started(self._run, "eventflow-owner")
        except RuntimeError as error:
            # At the end of the process, or beyond its limit, there are no new threads.
            get_logger("journal").warning(
                f"This process does not hear of cancellations that others ask for: {error}."
            )

    def stop(self) -> None:
        """Stop, and return when no callback runs any more. May be repeated."""
        self._stopped.set()
        _join(self._thread)
        # Not before: that thread may just have started it.
        _join(self._maintenance)

    def is_stopped(self, within: float) -> bool:
        """Wait so many seconds; return True as soon as this is stopped."""
        return self._stopped.wait(within)

    def _run(self) -> None:
        self._call(self._start_maintenance)
        maintained = renewed = time.monotonic()
        wait = self._interval
        while not self._stopped.wait(self._poll_seconds):
            if active_runs:
                self._call(self._record)
                self._call(self._cancel)
            self._call(self._guard)
            if time.monotonic() - renewed >= wait:
                renewed = time.monotonic()
                # Soon again after a failure: others may take this owner for dead.
                wait = self._interval
                if not self._call(self._renew):
                    wait = min(RETRY_SECONDS, wait)
            if time.monotonic() - maintained >= self._interval:
                maintained = time.monotonic()
                self._call(self._start_maintenance)

    def _start_maintenance(self) -> None:
        if self._maintenance is None or not self._maintenance.is_alive():
            self._maintenance = _started(lambda: self._call(self._maintain), "eventflow-tending")

    def _cancel(self) -> None:
        for run_id in self._cancels():
            run = active_runs.get(run_id.int)
            if run is not None:
                run.cancel_scope.stop(Reason.CANCELLED)

    def _call(self, callback: Callable[[], None]) -> bool:
        """Call back; return False if that failed."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - a wrong setting, say: the other callbacks go on
            # Once for each message: the writer logs when the journal works again.
            if str(error) not in self._logged:
                self._logged.add(str(error))
                get_logger("journal").warning(f"{error}")
            return False

        return True


def _started(target: Callable[[], object], name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()

    return thread


def _join(thread: threading.Thread | None) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join()
