"""Every journal gives what is owed to hooks of workers to one worker at a time, under a lease."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from eventflow.hooks.ledger import DEAD, DELIVERED, FAILED, OWED, RUNNING, WORKERS
from eventflow.journal import open_journal
from eventflow.journal.claims import Claim, Claimed, ClaimLostError, Outcome
from eventflow.journal.contract import DeliveryQuery, Journal
from eventflow.journal.records import pack
from eventflow.journal.rows import DeliveryRow
from eventflow.journal.stores.memory import MemoryJournal
from eventflow.journal.stores.sqlite import SqliteJournal
from tests.journal.rows import HOOK, NOW, ARun, an_owner, commit

PRESS: tuple[str, int] = ("reports:press", 1)
SEND: tuple[str, int] = ("mails:send", 1)


def for_workers(
    *hooks: tuple[str, int], own: tuple[tuple[str, int], ...] = ()
) -> tuple[str, bytes]:
    """Return the id of a list with hooks that workers run, and its record."""
    key = f"~{len(hooks)}{len(own)}{'-'.join(hook for hook, _ in hooks).replace(':', '')}"

    return key, pack("L", [key, *own, *((*hook, 1) for hook in hooks)])


def owe(journal: Journal, run: ARun, states: str, *hooks: tuple[str, int]) -> None:
    """Commit transitions of a run, the last of which is owed to hooks of workers."""
    key, listed = for_workers(*hooks)
    commit(journal, listed, run.enter(states, listed=key))


def claim(journal: Journal, *hooks: str, lease: float = 60.0) -> tuple[Claim, DeliveryRow]:
    """Claim what must be due."""
    claimed = journal.claim_delivery(hooks, lease)
    assert claimed is not None

    return claimed


def outcome(row: DeliveryRow, status: Any, attempts: int = 1, **more: Any) -> Outcome:
    return Outcome(row.sequence, row.ordinal, status, attempts, **more)


def deliver(journal: Journal, claimed: Claimed) -> None:
    """Record that the hook was called, and has succeeded."""
    made, row = claimed
    journal.settle_claimed(made, outcome(row, RUNNING, row.attempts + 1))
    journal.settle_claimed(made, outcome(row, DELIVERED, row.attempts + 1))


def another(journal: Journal) -> Journal:
    """Open the journal once more, as another process does; the memory of this one has no other."""
    if isinstance(journal, MemoryJournal):
        return journal
    url = f"sqlite:///{journal.path}" if isinstance(journal, SqliteJournal) else journal.url  # type: ignore[attr-defined]

    return open_journal(url)


def test_deliveries_are_made_with_the_transition(journal: Journal) -> None:
    """Beside those that its owner makes; committing it again changes nothing."""
    run = ARun()
    key, listed = for_workers(PRESS, SEND, own=(HOOK,))
    group = (listed, run.enter("PRC", listed=key, owed=1))
    for _ in range(2):
        commit(journal, *group)
        rows = journal.deliveries(DeliveryQuery(run_id=run.id))
        assert [(row.hook, row.ordinal, row.status, row.is_workers) for row in rows] == [
            (HOOK[0], 0, "running", False),
            (PRESS[0], WORKERS, "pending", True),
            (SEND[0], WORKERS + 1, "pending", True),
        ]
    of_workers = journal.deliveries(DeliveryQuery(of_workers=True))
    assert [row.hook for row in of_workers] == [PRESS[0], SEND[0]]
    own = journal.deliveries(DeliveryQuery(of_workers=False, statuses=OWED))
    assert [row.hook for row in own] == [HOOK[0]]


def test_an_earlier_transition_of_the_same_record(journal: Journal) -> None:
    """Each has its own deliveries, in the order in which they were entered."""
    run = ARun()
    owe(journal, run, "PR", PRESS)
    owe(journal, run, "C", SEND)
    rows = journal.deliveries(DeliveryQuery(run_id=run.id))

    assert [(row.sequence, row.hook) for row in rows] == [(1, PRESS[0]), (2, SEND[0])]
    assert journal.verify() == []


def test_the_oldest_is_claimed_first_and_a_run_by_one_only(journal: Journal) -> None:
    """A run whose first delivery is claimed is left alone, until that has ended."""
    first, second = ARun(), ARun()
    for run in (second, first):
        owe(journal, run, "PR", PRESS)
        owe(journal, run, "C", SEND)
    one = claim(journal)
    two = claim(journal)

    assert [(row.run_id, row.hook) for _, row in (one, two)] == [
        (first.id, PRESS[0]),
        (second.id, PRESS[0]),
    ]
    assert journal.claim_delivery((), 60) is None
    deliver(journal, Claimed(*one))
    assert claim(journal)[1].id == first.delivery_id(WORKERS)
    assert journal.claim_delivery((), 60) is None


def test_globs_select_hooks(journal: Journal) -> None:
    """What they do not match is neither claimed nor waited for."""
    run = ARun()
    owe(journal, run, "PR", PRESS)
    owe(journal, run, "C", SEND)

    assert journal.claim_delivery(["other:*"], 60) is None
    made, row = claim(journal, "other:*", "mails:*")
    assert row.hook == SEND[0]
    # Another worker, with other globs, waits for it all the same.
    assert journal.claim_delivery(["reports:*"], 60) is None
    journal.release_claim(made)
    assert claim(journal, "reports:pr?ss")[1].hook == PRESS[0]


def test_whose_lease_is_over_acknowledges_nothing(journal: Journal) -> None:
    """Neither an outcome nor a transaction; another worker has it, which the first cannot end."""
    run = ARun()
    owe(journal, run, "PRC", PRESS)
    before, row = claim(journal, lease=0)
    present, again = claim(journal)
    assert (again.id, present.run_id) == (row.id, before.run_id)

    assert not journal.renew_claim(before, 60)
    for status in (RUNNING, DELIVERED):
        with pytest.raises(ClaimLostError, match="lease"):
            journal.settle_claimed(before, outcome(row, status))
    settled = run.settled(DELIVERED, ordinal=WORKERS)
    with pytest.raises(ClaimLostError), journal.transaction(settled, before):
        """Write nothing."""
    journal.release_claim(before)
    assert journal.claim_delivery((), 60) is None
    assert journal.renew_claim(present, 60)
    deliver(journal, Claimed(present, again))
    assert [(row.status, row.attempts) for row in journal.deliveries(DeliveryQuery())] == [
        (DELIVERED, 1)
    ]


def test_a_lease_that_is_over_by_itself(journal: Journal) -> None:
    """Nobody has to have claimed the run since."""
    run = ARun()
    owe(journal, run, "PRC", PRESS)
    made, row = claim(journal, lease=0)

    with pytest.raises(ClaimLostError):
        journal.settle_claimed(made, outcome(row, DELIVERED))
    assert not journal.renew_claim(made, 60)


def test_a_renewed_lease_holds(journal: Journal) -> None:
    run = ARun()
    owe(journal, run, "PRC", PRESS)
    made, row = claim(journal, lease=60)
    assert journal.renew_claim(made, 120)
    journal.settle_claimed(made, outcome(row, RUNNING))

    assert journal.claim_delivery((), 60) is None


def test_a_failed_attempt_is_due_after_its_delay(journal: Journal) -> None:
    """The later ones of the run wait for it; those of others do not."""
    run, other = ARun(), ARun()
    owe(journal, run, "PR", PRESS)
    owe(journal, run, "C", SEND)
    owe(journal, other, "PRC", SEND)
    made, row = claim(journal)
    journal.settle_claimed(made, outcome(row, RUNNING))
    journal.settle_claimed(made, outcome(row, FAILED, error="no", delay=600.0))

    assert claim(journal)[1].run_id == other.id
    assert journal.claim_delivery((), 60) is None
    (failed,) = journal.deliveries(DeliveryQuery(statuses=[FAILED]))
    assert failed.due is not None
    assert (failed.error, failed.attempts) == ("no", 1)


def test_a_transaction_ends_the_claim(journal: Journal) -> None:
    """Its rows and the acknowledgement are there together, whatever the clock of the worker."""
    run = ARun()
    owe(journal, run, "PRC", PRESS)
    made, row = claim(journal)
    journal.settle_claimed(made, outcome(row, RUNNING))
    settled = run.settled(DELIVERED, ordinal=WORKERS, updated=1)
    with journal.transaction(settled, made) as connection:
        connection.execute("CREATE TABLE sent (id INTEGER)")

    assert [row.status for row in journal.deliveries(DeliveryQuery())] == [DELIVERED]
    assert journal.claim_delivery((), 60) is None
    with pytest.raises(ClaimLostError):
        journal.settle_claimed(made, outcome(row, FAILED))


def test_no_owner_recovers_what_is_left_to_workers(journal: Journal) -> None:
    """Nor is it pruned; a dead one is redriven for workers."""
    fence = journal.register(an_owner("owner"))
    run = ARun()
    key, listed = for_workers(PRESS)
    commit(journal, listed, run.enter("PRC", listed=key), fence=fence)
    journal.end("owner", "vanished")
    other = journal.register(an_owner("other"))

    assert journal.claim(other) == []
    assert journal.prune(older_than=NOW.replace(year=2100)).runs == 0
    assert journal.verify() == []
    made, row = claim(journal)
    journal.settle_claimed(made, outcome(row, DEAD, error="never"))
    assert journal.claim_delivery((), 60) is None
    assert journal.redrive([row.id]) == 1
    assert journal.claim(other) == []
    deliver(journal, Claimed(*claim(journal)))
    assert journal.prune(older_than=NOW.replace(year=2100)).runs == 1


def test_verify_finds_a_delivery_that_is_missing(journal: Journal) -> None:
    """A list that is known too late, for example, of a run that was committed before it."""
    run = ARun()
    key, listed = for_workers(PRESS)
    commit(journal, run.enter("PRC", listed=key))
    commit(journal, listed)

    assert [finding.kind for finding in journal.verify()] == ["lost delivery"]


class Watched:
    """What workers are at, as they tell it: the run and the sequence of each attempt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy: set[UUID] = set()
        self.made: dict[UUID, list[int]] = defaultdict(list)
        self.together: list[DeliveryRow] = []

    def begin(self, row: DeliveryRow) -> None:
        with self._lock:
            if row.run_id in self._busy:
                self.together.append(row)
            self._busy.add(row.run_id)
            self.made[row.run_id].append(row.sequence)

    def end(self, row: DeliveryRow) -> None:
        with self._lock:
            self._busy.discard(row.run_id)

    def count(self) -> int:
        with self._lock:
            return sum(map(len, self.made.values()))

    def work(self, journal: Journal, most: int) -> None:
        """Be a worker until so many attempts have begun."""
        while self.count() < most:
            claimed = journal.claim_delivery((), 60)
            if claimed is not None:
                made, row = claimed
                self.begin(row)
                journal.settle_claimed(made, outcome(row, RUNNING))
                self.end(row)
                journal.settle_claimed(made, outcome(row, DELIVERED))
        journal.close()


def test_many_workers_share_a_journal(journal: Journal) -> None:
    """Each delivery is made once, those of a run in order, never two of them at the same time."""
    runs = [ARun() for _ in range(6)]
    for run in runs:
        for states in ("PR", "F", "R", "C"):
            owe(journal, run, states, PRESS)
    watched = Watched()
    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(watched.work, another(journal), 24) for _ in range(4)]
    for worker in workers:
        worker.result()

    assert watched.together == []
    assert dict(watched.made) == {run.id: [1, 2, 3, 4] for run in runs}
    assert journal.verify() == []
