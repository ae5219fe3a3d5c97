"""Whose lease ran out is taken over, unless its folder is here: then its lock shows if it lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflow.journal import open_journal
from eventflow.journal.contract import Journal
from eventflow.journal.rows import OwnerRow
from eventflow.owners.folders import LockedFolder, owners_folder
from eventflow.owners.process import describe
from eventflow.owners.session import OwnerSession
from eventflow.settings import EVENTFLOW_JOURNAL_URL, temporary_settings
from eventflow.testing import isolated


@pytest.fixture
def recovered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets an item for each recovery; none is really started."""
    started: list[str] = []
    monkeypatch.setattr("eventflow.owners.session.start_recovery", lambda *_: started.append("all"))
    monkeypatch.setattr("eventflow.owners.session.Heartbeat.start", lambda _: None)

    return started


@pytest.fixture
def journal(postgres_url: str, tmp_path: Path) -> Iterator[Journal]:
    values: dict[Any, object] = {EVENTFLOW_JOURNAL_URL: postgres_url}
    with temporary_settings(values), isolated(tmp_path / "own"):
        opened = open_journal(postgres_url)
        yield opened
        opened.close()


def folder_of(owner: OwnerRow) -> LockedFolder:
    """Create the folder of another owner of this host, locked by this process."""
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None

    return LockedFolder.create(root, owner)


def test_an_owner_of_another_host_is_taken_over(journal: Journal, recovered: list[str]) -> None:
    """Its lease is all that is known of it, also where a folder has the same name."""
    session = OwnerSession(EVENTFLOW_JOURNAL_URL.value(), "process")
    session.begin()
    far = describe()._replace(host="far-away")
    journal.register(far, lease_seconds=-1)

    with folder_of(far):
        session.sweep_and_prune()

    assert recovered == ["all"]
    assert far.id not in {row.id for row in journal.owners(alive=True)}
    session.close()


@pytest.mark.parametrize("alive", [True, False])
def test_an_owner_of_this_host_is_not_ended_by_its_lease(
    journal: Journal, recovered: list[str], alive: bool
) -> None:
    """The journal may have been away for longer than the lease. What it spooled comes first."""
    session = OwnerSession(EVENTFLOW_JOURNAL_URL.value(), "process")
    session.begin()
    near = describe()
    fence = journal.register(near, lease_seconds=-1)
    folder = folder_of(near)
    if not alive:
        folder.release()

    session.sweep_and_prune()

    # A dead one is recovered by its folder.
    assert recovered == ([] if alive else ["all"])
    assert journal.renew(fence, 60)
    session.close()
