"""What an owner does beside its runs: hear of cancellations, keep its lease, look for the dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID

from eventflow.interrupts.scopes import Reason, live
from eventflow.primitives.loggers import get_logger

__all__ = ["Duties", "Heartbeat"]

TURN_SECONDS: Final = 0.25
"""How often the journal is asked for cancellations while runs execute."""

LOOK_SECONDS: Final = 60.0
"""How often is looked after the dead and the size, where there is no lease."""


class Duties(Protocol):
    """What there is to do, and with what."""

    lease_seconds: float | None
    """For how long a lease is taken; None where a lock of the system says who is alive."""

    def cancels(self) -> list[UUID]:
        """Give the runs whose cancellation is asked for."""
        ...

    def renew(self) -> None:
        """Prolong the lease."""
        ...

    def sweep_and_prune(self) -> None:
        """See to what dead owners left, and to the size of the journal."""
        ...


class Heartbeat:
    """A thread that sees to the duties, until it is told to stop. Errors are said, and no more."""

    def __init__(self, duties: Duties) -> None:
        self._duties = duties
        self._over = threading.Event()
        self._attending: threading.Thread | None = None
        self._looking: threading.Thread | None = None
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin."""
        try:
            self._attending = _begun(self._attend, "eventflow-owner")
        except RuntimeError as error:
            # At the end of the process, or beyond its limit, there are no new threads.
            get_logger("journal").warning(
                f"This process does not hear of cancellations that others ask for: {error}."
            )

    def stop(self) -> None:
        """End; comes back when nothing is being done any more."""
        self._over.set()
        for thread in (self._attending, self._looking):
            if thread not in (None, threading.current_thread()):
                thread.join()

    def _attend(self) -> None:
        lease = self._duties.lease_seconds
        every = LOOK_SECONDS if lease is None else lease / 3
        self._do(self._look)
        last = time.monotonic()
        while not self._over.wait(TURN_SECONDS):
            if live:
                self._do(self._cancel)
            if time.monotonic() - last >= every:
                last = time.monotonic()
                self._do(self._duties.renew)
                self._do(self._look)

    def _look(self) -> None:
        """Look after what may take long in a thread of its own: meanwhile the lease runs on."""
        if self._looking is None or not self._looking.is_alive():
            self._looking = _begun(
                lambda: self._do(self._duties.sweep_and_prune), "eventflow-tending"
            )

    def _cancel(self) -> None:
        for run_id in self._duties.cancels():
            control = live.get(run_id.int)
            if control is not None:
                control.stop(Reason.CANCELLED)

    def _do(self, duty: Callable[[], None]) -> None:
        try:
            duty()
        except Exception as error:  # noqa: BLE001 - a wrong setting, say: the others are duties still
            # Once for each kind of trouble: the writer says when the journal is well again.
            if str(error) not in self._said:
                self._said.add(str(error))
                get_logger("journal").warning(f"{error}")


def _begun(work: Callable[[], None], name: str) -> threading.Thread:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()

    return thread
