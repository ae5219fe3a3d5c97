"""Every journal knows its owners, and hands the runs of dead ones to exactly one other."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Fence, Journal, RunQuery, StaleOwnerError
from eventflow.journal.rows import RunRow
from tests.journal.rows import HOOK, ARun, a_completed_run, an_owner, commit, ids

D = DeliveryStatus


def stored(journal: Journal, *runs: ARun) -> list[RunRow | None]:
    return [journal.run(run.id) for run in runs]


def test_an_owner_is_registered_and_ends(journal: Journal) -> None:
    """What it registered with is read back; its end has a time and a reason."""
    owner = an_owner(argv=("a", "ünï", "\udcff"), main_file=None, main_module="etl.__main__")

    fence = journal.register(owner)

    assert journal.owners() == [owner._replace(token=fence.token)]
    assert journal.end("owner", "clean")
    assert not journal.end("owner", "again")
    (ended,) = journal.owners()
    assert ended.reason == "clean"
    assert ended.ended is not None
    assert journal.owners(alive=True) == []


def test_a_stale_owner_can_write_nothing(journal: Journal) -> None:
    """Once it has ended, neither its transitions nor its acknowledgements are accepted."""
    run = ARun()
    fence = journal.register(an_owner())
    commit(journal, run.enter("PR", HOOK), fence=fence)
    before = stored(journal, run), journal.deliveries(DeliveryQuery())
    late = [run.acknowledge(1, 1), run.settle(D.DELIVERED), run.enter("C")]
    journal.end("owner", "vanished")

    for record in late:
        with pytest.raises(StaleOwnerError, match="took it for dead"):
            commit(journal, record, fence=fence)

    assert before == (stored(journal, run), journal.deliveries(DeliveryQuery()))


def test_registering_again_makes_older_tokens_stale(journal: Journal) -> None:
    """Tokens only rise; an owner that registers again cannot use its old token."""
    old = journal.register(an_owner())
    other = journal.register(an_owner("other"))
    run = ARun()
    commit(journal, run.enter("P"), fence=old)
    new = journal.register(an_owner())

    assert old.token < other.token < new.token
    with pytest.raises(StaleOwnerError):
        commit(journal, ARun().enter("P"), fence=old)
    again = ARun()
    again.described = b""
    commit(journal, again.enter("P"), fence=new)
    # What it recorded before holds for it still.
    assert [row.definition for row in stored(journal, run, again) if row] == ["extract"] * 2


def test_a_lease_that_is_not_renewed_lapses(journal: Journal) -> None:
    """Only then is an owner listed as lapsed, and only then may it be ended for that."""
    fence = journal.register(an_owner(), lease_seconds=3600)
    journal.register(an_owner("without"))
    assert journal.owners(lapsed=True) == []
    assert not journal.end("owner", "lapsed", only_lapsed=True)

    assert journal.renew(fence, -1)

    assert [owner.id for owner in journal.owners(lapsed=True)] == ["owner"]
    assert journal.end("owner", "lapsed", only_lapsed=True)
    assert not journal.renew(fence, 3600)


def test_the_records_of_an_owner_that_never_registered_are_kept(journal: Journal) -> None:
    """It is noted as one that has ended: it was killed before its first commit."""
    run = ARun()
    commit(journal, run.enter("PR"), owner="killed")

    (owner,) = journal.owners()
    assert (owner.id, owner.reason) == ("killed", "never registered")
    assert owner.ended is not None
    assert ids(journal.claim(journal.register(an_owner("heir")))) == [run.id]


def test_the_runs_of_a_dead_owner_go_to_one_claimer(journal: Journal) -> None:
    """Unfinished runs and runs with hooks owed change their keeper; no others do."""
    dead, heir = journal.register(an_owner("dead")), journal.register(an_owner("heir"))
    rival = journal.register(an_owner("rival"))
    unfinished, alive = ARun(), ARun()
    (owing, owes), (failed, fails) = a_completed_run(HOOK, done=0), a_completed_run(HOOK)
    _, done = a_completed_run(HOOK)
    commit(journal, unfinished.enter("PR"), done, owes, fails, failed.settle(D.FAILED), fence=dead)
    commit(journal, alive.enter("P"), fence=rival)
    assert journal.claim(heir) == []
    journal.end("dead", "vanished")

    claimed = journal.claim(heir)

    assert claimed == stored(journal, unfinished, owing, failed)
    assert {row.owner for row in claimed} == {"dead"}
    assert journal.claim(rival) == []
    assert ids(journal.runs(RunQuery(keeper="heir"))) == ids([failed, owing, unfinished])
    unfinished.definition, unfinished.described = 9, b""
    commit(journal, unfinished.enter("X"), fence=heir)
    assert journal.runs(RunQuery(keeper="heir", unfinished=True)) == []
    assert [row.owner for row in stored(journal, unfinished) if row] == ["dead"]


def test_the_runs_of_a_dead_claimer_are_claimed_again(journal: Journal) -> None:
    """The heir can die as well: its runs go to the next owner; a dead one claims none."""
    run = ARun()
    commit(journal, run.enter("P"), owner="never registered")
    first, second = journal.register(an_owner("first")), journal.register(an_owner("second"))
    assert ids(journal.claim(first)) == [run.id]

    journal.end("first", "vanished")

    assert ids(journal.claim(second)) == [run.id]
    with pytest.raises(StaleOwnerError):
        journal.claim(first)


def test_the_runs_of_one_owner_can_be_claimed_alone(journal: Journal) -> None:
    """Those that it executed and that have no live keeper, whoever kept them last."""
    ours, kept, theirs = ARun(), ARun(), ARun()
    for run in (ours, kept):
        commit(journal, run.enter("P"), owner="gone")
    fence, rival = journal.register(an_owner("heir")), journal.register(an_owner("rival"))
    assert ids(journal.claim(rival, 1)) == [ours.id]
    commit(journal, theirs.enter("P"), owner="other")

    assert ids(journal.claim(fence, owner="gone")) == [kept.id]
    journal.end("rival", "vanished")
    assert ids(journal.claim(fence, owner="gone")) == [ours.id]
    assert journal.claim(fence, owner="gone") == []
    assert ids(journal.claim(fence)) == [theirs.id]


def test_claimers_share_the_runs(journal: Journal) -> None:
    """Eight owners claim at once: each run goes to exactly one of them."""
    runs = [ARun() for _ in range(60)]
    commit(journal, *(run.enter("P") for run in runs), owner="gone")
    fences = [journal.register(an_owner(f"heir-{number}")) for number in range(8)]
    start = threading.Barrier(len(fences))
    claimed: list[UUID] = []

    def claim(fence: Fence) -> None:
        start.wait()
        while mine := journal.claim(fence, 7):
            claimed.extend(ids(mine))

    threads = [threading.Thread(target=claim, args=(fence,)) for fence in fences]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == ids(runs)


def test_a_cancellation_can_be_requested(journal: Journal) -> None:
    """The executing owner is told until the run has ended, whoever keeps it; no other owner is."""
    run, other = ARun(), ARun()
    commit(journal, run.enter("P"), owner="here")
    commit(journal, other.enter("P"), owner="there")

    assert journal.ask_cancel(run.id)
    assert journal.ask_cancel(run.id)

    assert journal.cancels("here") == [run.id]
    assert journal.cancels("there") == []
    commit(journal, run.enter("K"), owner="here")
    assert journal.cancels("here") == []


def test_only_unfinished_runs_can_be_cancelled(journal: Journal) -> None:
    """A run that has ended, and one that is unknown, are refused."""
    ended, records = a_completed_run()
    commit(journal, records)

    assert not journal.ask_cancel(ended.id)
    assert not journal.ask_cancel(uuid7())
    assert journal.cancels("owner") == []
