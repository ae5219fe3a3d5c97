"""Every journal forgets definitions and hooks that no run refers to, and no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from eventflow.journal.contract import Fence, Journal
from eventflow.journal.records import pack
from eventflow.journal.stores.database import SqlJournal
from tests.journal.rows import ARun, an_owner, commit

LONG_AGO = datetime.now(UTC) - timedelta(days=9)
SOON = datetime.now(UTC) + timedelta(days=9)
"""Later than what is noticed now, by more than clocks may differ."""


def a_segment(journal: Journal, fence: Fence, *numbers: int, created: datetime = SOON) -> None:
    """Commit what a segment begins with, and a run of each of some definitions."""
    commit(journal, pack("O", ""), fence=fence)
    for number in numbers:
        hook = (f"{fence.owner}:{number}", 1)
        run = ARun(number=number, name=f"d{number}", hooks=f"s{number}", created=created)
        told = pack("H", [f"s{number}", "text"])
        commit(journal, told, run.enter("PRC", hook, done=1), fence=fence)


def shared(journal: Journal) -> list[int]:
    """Count definitions, lists of hooks, and sets of hooks."""
    assert isinstance(journal, SqlJournal)
    texts = [
        f"SELECT count(*) FROM {table}" for table in ("@definitions", "@hook_lists", "@hook_sets")
    ]

    return [row[0] for row in journal.read(lambda session: [session.all(t)[0] for t in texts])]


def prune(journal: Journal) -> None:
    journal.prune(older_than=datetime.now(UTC))
    assert journal.verify() == []


def test_definitions_of_a_living_owner_are_pruned(journal: Journal) -> None:
    """With the last run that refers to them, once a later segment has not told them again."""
    fence = journal.register(an_owner())
    a_segment(journal, fence, 1, 2, 3, created=LONG_AGO)
    prune(journal)
    assert shared(journal) == [3, 3, 3]

    a_segment(journal, fence, 3, 4)
    prune(journal)
    assert shared(journal) == [2, 2, 2]
    later = ARun(number=3, created=SOON)
    later.described = b""
    commit(journal, later.enter("P"), fence=fence)
    row = journal.run(later.id)
    assert row is not None
    assert (row.definition, row.hooks) == ("d3", "s3")
    assert journal.hook_sets("owner") == {"s3": "text", "s4": "text"}


def test_what_a_run_refers_to_stays(journal: Journal) -> None:
    """Although no further run can: the run is older than that."""
    fence = journal.register(an_owner())
    a_segment(journal, fence, 1, 2, created=datetime.now(UTC))
    a_segment(journal, fence, 3)
    journal.prune(older_than=LONG_AGO)

    assert shared(journal) == [3, 3, 3]
    assert journal.verify() == []


def test_each_owner_has_segments_of_its_own(journal: Journal) -> None:
    """What one of them tells again says nothing of another; a list is of all that live."""
    one, two = (journal.register(an_owner(name)) for name in ("one", "two"))
    a_segment(journal, one, 1, created=LONG_AGO)
    a_segment(journal, two, 1, created=LONG_AGO)
    a_segment(journal, two)

    prune(journal)
    assert shared(journal) == [1, 2, 1]
    a_segment(journal, one)
    prune(journal)
    assert shared(journal) == [0, 0, 0]


def test_what_is_told_again_after_it_was_given_up_stays(journal: Journal) -> None:
    """A definition that was not used for a long time."""
    fence = journal.register(an_owner())
    a_segment(journal, fence, 1, created=datetime.now(UTC))
    a_segment(journal, fence)
    journal.prune(older_than=LONG_AGO)
    a_segment(journal, fence, 1)

    prune(journal)
    assert shared(journal) == [1, 1, 1]
