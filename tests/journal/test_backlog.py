"""Lines in memory are read in groups of a limited size."""

from __future__ import annotations

from eventflow.journal.backlog import CAPACITY, Backlog
from eventflow.journal.spool import GROUP_BYTES


def test_groups_are_limited_in_bytes() -> None:
    """A group contains at least one line, however long that is."""
    half, too_long = bytes(GROUP_BYTES // 2), bytes(GROUP_BYTES + 1)
    backlog = Backlog(CAPACITY)
    for line in (half, half, half, too_long):
        assert backlog.append(line)

    sizes = []
    while group := backlog.peek():
        sizes.append(len(group))
        backlog.advance()

    assert sizes == [2, 1, 1]
