"""The session of the bus in force, and what it leaves in files, read for tests."""

from __future__ import annotations

from eventflow import task
from eventflow.owners.folders import owners_folder
from eventflow.owners.session import OwnerSession
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.journal.reading import the_recorder


@task
def work() -> int:
    """A task."""
    return 1


def session() -> OwnerSession:
    """Return the session of the recorder on the bus in force."""
    sink = the_recorder().sink
    assert isinstance(sink, OwnerSession)

    return sink


def folders() -> list[str]:
    """Return the owners that have a folder."""
    root = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    assert root is not None

    return sorted(path.name for path in root.iterdir()) if root.is_dir() else []
