"""Lines in memory are read in groups of a limited size."""

from __future__ import annotations

import pytest

from eventflow.journal.backlog import Backlog


def test_groups_are_limited_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group contains at least one line, however long that is."""
    monkeypatch.setattr("eventflow.journal.backlog.GROUP_BYTES", 10)
    backlog = Backlog(1000)
    for line in (b"four", b"four", b"four", b"far too long for it"):
        assert backlog.append(line)

    sizes = []
    while group := backlog.peek():
        sizes.append(len(group))
        backlog.advance()

    assert sizes == [2, 1, 1]
