"""A worker: claims what is owed to hooks that are left to it, and has each run in a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

from eventflow.errors import JournalError
from eventflow.journal import open_journal
from eventflow.journal.claims import Claim, Claimed
from eventflow.journal.rows import DeliveryRow, OwnerRow, RunRow
from eventflow.owners.leftovers import row_of, take_in
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.owner import unknown_owner
from eventflow.recovery.workers.programs import Answer, HookProcesses
from eventflow.settings import Durability

__all__ = ["Attempted", "Worker"]

RENEWALS: Final = 3
"""How often a lease is renewed before it would be over."""


class Attempted(NamedTuple):
    """What became of one attempt: `status` is `lost` if it was not recorded."""

    delivery: DeliveryRow
    run: RunRow
    status: str
    error: str | None
    seconds: float


class Worker:
    """Runs hooks that match one of some globs, one at a time, until it is closed.

    A claim is over `lease_seconds` after its last renewal, as when this process is killed.
    """

    def __init__(
        self, url: str, durability: Durability, hooks: Sequence[str], lease_seconds: float
    ) -> None:
        if url.startswith("memory:"):
            raise JournalError(
                "A journal in memory is of one process only: its hooks run there. Give a worker "
                "the URL of a journal in SQLite or PostgreSQL."
            )
        self._url = url
        self._durability: Durability = durability
        self._hooks = hooks
        self._lease_seconds = lease_seconds
        self._journal = open_journal(url, durability)
        self._processes = HookProcesses(url)
        self._owners: dict[str, OwnerRow] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def attempt(self) -> Attempted | None:
        """Make the next attempt that is due; return what became of it, None if none is due.

        Raises:
            JournalError: the journal cannot be used, or no process can be started.
            OSError: the system refuses it.
        """
        # What a process that has ended left in its folder is not in the journal yet.
        take_in(self._url, self._durability)
        claimed = self._journal.claim_delivery(self._hooks, self._lease_seconds)
        if claimed is None:
            self._processes.end_idle()
            return None
        is_over = False
        try:
            with self._renewed(claimed.claim):
                attempted = self._attempt(claimed)
            is_over = attempted.status != "lost"
            return attempted
        finally:
            if not is_over:
                # The process has ended, for example: the next attempt need not wait for the lease.
                self._release(claimed.claim)

    def _attempt(self, claimed: Claimed) -> Attempted:
        row = self._journal.run(claimed.claim.run_id)
        if row is None:
            raise JournalError(f"The journal has no run {claimed.claim.run_id} any more.")
        began = time.monotonic()
        answer = self._processes.deliver(self._owner(row.owner), claimed)
        if isinstance(answer, int):
            answer = Answer("lost", f"its process ended with code {answer}")
        seconds = time.monotonic() - began

        return Attempted(claimed.delivery, row, *answer, seconds)

    def _owner(self, owner_id: str) -> OwnerRow:
        if owner_id not in self._owners:
            found = row_of(self._journal, owner_id)
            if found is None:
                return unknown_owner(owner_id)
            self._owners[owner_id] = found

        return self._owners[owner_id]

    def _release(self, claim: Claim) -> None:
        try:
            self._journal.release_claim(claim)
        except JournalError as error:
            get_logger("workers").warning(f"{error} The claim ends with its lease.")

    @contextmanager
    def _renewed(self, claim: Claim) -> Iterator[None]:
        """Renew the lease of a claim until the end of the block."""
        ended = threading.Event()
        thread = threading.Thread(
            target=self._renew, args=(claim, ended), name="eventflow-lease", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _renew(self, claim: Claim, ended: threading.Event) -> None:
        while not ended.wait(self._lease_seconds / RENEWALS):
            try:
                if not self._journal.renew_claim(claim, self._lease_seconds):
                    return
            except JournalError as error:
                get_logger("workers").warning(f"{error} The lease is not renewed.")

    def close(self) -> None:
        """End the processes, and close the journal."""
        self._processes.close()
        self._journal.close()
