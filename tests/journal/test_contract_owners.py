"""Every journal knows its owners, and hands the runs of dead ones to exactly one other."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import (
    DeliveryQuery,
    Fence,
    Journal,
    RunQuery,
    StaleOwnerError,
)
from eventflow.states import StateType
from tests.journal.rows import (
    ENDED,
    a_delivery,
    a_run,
    an_owner,
    entering,
    ids,
    later,
    settled,
    settling,
)

D = DeliveryStatus


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
    run = a_run()
    delivery = a_delivery(run)
    fence = journal.register(an_owner())
    journal.commit_lines([entering(run, delivery)], fence)
    journal.end("owner", "vanished")

    with pytest.raises(StaleOwnerError, match="took it for dead"):
        journal.commit_lines([entering(later(run, StateType.RUNNING))], fence)
    with pytest.raises(StaleOwnerError):
        journal.commit_lines([settling(settled(delivery, D.DELIVERED))], fence)

    assert journal.run(run.id) == run
    assert journal.deliveries(DeliveryQuery()) == [delivery]


def test_registering_again_makes_older_tokens_stale(journal: Journal) -> None:
    """Tokens only rise; an owner that registers again cannot use its old token."""
    old = journal.register(an_owner())
    other = journal.register(an_owner("other"))
    new = journal.register(an_owner())

    assert old.token < other.token < new.token
    with pytest.raises(StaleOwnerError):
        journal.commit_lines([entering(a_run())], old)
    journal.commit_lines([entering(a_run())], new)


def test_a_lease_that_is_not_renewed_lapses(journal: Journal) -> None:
    """Only then is an owner listed as lapsed, and only then may it be ended for that."""
    fence = journal.register(an_owner(), lease_seconds=3600)
    journal.register(an_owner("without"))
    assert journal.owners(lapsed=True) == []
    assert not journal.end("owner", "lapsed", only_lapsed=True)

    assert journal.renew(fence, -1)

    assert ids(journal.owners(lapsed=True)) == ["owner"]
    assert journal.end("owner", "lapsed", only_lapsed=True)
    assert not journal.renew(fence, 3600)


def test_the_runs_of_a_dead_owner_go_to_one_claimer(journal: Journal) -> None:
    """Unfinished runs and runs with hooks owed change their keeper; no others do."""
    dead, heir = journal.register(an_owner("dead")), journal.register(an_owner("heir"))
    rival = journal.register(an_owner("rival"))
    unfinished = a_run(owner="dead")
    owing, settled_up = a_run(owner="dead", **ENDED), a_run(owner="dead", **ENDED)
    alive = a_run(owner="rival")
    for run in (unfinished, settled_up):
        journal.commit_lines([entering(run)], dead)
    journal.commit_lines([entering(owing, a_delivery(owing))], dead)
    journal.commit_lines([entering(alive)], rival)
    assert journal.claim(heir) == []
    journal.end("dead", "vanished")

    claimed = journal.claim(heir)

    assert claimed == [unfinished, owing]
    assert journal.claim(rival) == []
    assert ids(journal.runs(RunQuery(keeper="heir"))) == [owing.id, unfinished.id]
    journal.commit_lines([entering(later(unfinished, StateType.CRASHED, ends=True))], heir)
    assert ids(journal.runs(RunQuery(keeper="heir", unfinished=True))) == []


def test_the_runs_of_a_dead_claimer_are_claimed_again(journal: Journal) -> None:
    """The heir can die as well: its runs go to the next owner; a dead one claims none."""
    run = a_run(owner="never registered")
    journal.commit_lines([entering(run)])
    first, second = journal.register(an_owner("first")), journal.register(an_owner("second"))
    assert ids(journal.claim(first)) == [run.id]

    journal.end("first", "vanished")

    assert ids(journal.claim(second)) == [run.id]
    with pytest.raises(StaleOwnerError):
        journal.claim(first)


def test_the_runs_of_one_owner_can_be_claimed_alone(journal: Journal) -> None:
    """Those that it executed and that have no live keeper, whoever kept them last."""
    ours, kept, theirs = a_run(owner="gone"), a_run(owner="gone"), a_run(owner="other")
    journal.commit_lines([entering(ours)])
    journal.commit_lines([entering(kept)])
    fence, rival = journal.register(an_owner("heir")), journal.register(an_owner("rival"))
    assert ids(journal.claim(rival, 1)) == [ours.id]
    journal.commit_lines([entering(theirs)])

    assert ids(journal.claim(fence, owner="gone")) == [kept.id]
    journal.end("rival", "vanished")
    assert ids(journal.claim(fence, owner="gone")) == [ours.id]
    assert journal.claim(fence, owner="gone") == []
    assert ids(journal.claim(fence)) == [theirs.id]


def test_claimers_share_the_runs(journal: Journal) -> None:
    """Eight owners claim at once: each run goes to exactly one of them."""
    runs = [a_run(owner="gone") for _ in range(60)]
    journal.commit_lines([entering(run) for run in runs])
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
    run, other = a_run(owner="here"), a_run(owner="there")
    for made in (run, other):
        journal.commit_lines([entering(made)])

    assert journal.ask_cancel(run.id)
    assert journal.ask_cancel(run.id)

    assert journal.cancels("here") == [run.id]
    assert journal.cancels("there") == []
    journal.commit_lines([entering(later(run, StateType.CANCELLED, ends=True))])
    assert journal.cancels("here") == []


def test_only_unfinished_runs_can_be_cancelled(journal: Journal) -> None:
    """A run that has ended, and one that is unknown, are refused."""
    ended = a_run(**ENDED)
    journal.commit_lines([entering(ended)])

    assert not journal.ask_cancel(ended.id)
    assert not journal.ask_cancel(uuid7())
    assert journal.cancels("owner") == []
