"""The journal: the durable record of runs, their events, and the hooks they are owed."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from eventflow.errors import SettingError
from eventflow.journal.contract import Journal
from eventflow.settings import Durability

__all__ = ["open_journal"]

BACKENDS: Final = {
    "memory": "eventflow.journal.stores.memory",
    "postgresql": "eventflow.journal.stores.postgres",
    "sqlite": "eventflow.journal.stores.sqlite",
}
"""The module of each scheme. Each has a function `opened(url, durability)`."""


def open_journal(url: str, durability: Durability = "process") -> Journal:
    """Return the journal at a URL. Nothing is opened, created or connected before its first use.

    What each durability survives, and what it costs (SQLite):

    | durability | death of the process | loss of power | a line that is waited for |
    |---|---|---|---|
    | `process` | nothing lost | the last lines may be lost, the rest is whole | a write, no flush |
    | `power` | nothing lost | nothing lost | a commit with a flush of the disk |

    In PostgreSQL both wait until the server has flushed the commit, as a server can be killed too.
    With `off` nothing is recorded; a journal that is opened so can be read.

    Raises:
        SettingError: there is no journal for such a URL.
        MissingExtraError: the driver of PostgreSQL is not installed.
    """
    scheme = url.partition("://")[0]
    if scheme not in BACKENDS:
        raise SettingError("The URL of a journal", url, f"of a scheme among {sorted(BACKENDS)}")
    # By name: sqlite3 and psycopg are slow to import, and a process needs one of them at most.
    journal: Journal = import_module(BACKENDS[scheme]).opened(url, durability)

    return journal
