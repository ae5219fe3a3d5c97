"""The sets of hooks in the database, and which of them unfinished runs are subject to."""

from __future__ import annotations

from typing import Final

from eventflow.journal.format import Rows
from eventflow.journal.stores.statements import Session

__all__ = ["select_hook_sets", "write_hook_sets"]

PUT: Final = "INSERT INTO @hook_sets VALUES EACH ON CONFLICT DO NOTHING"
WIDTH: Final = 3
CHANGE: Final = (
    "UPDATE @runs SET hooks = ? WHERE owner = ? AND hooks = ? AND reference = ? AND ended IS NULL"
)
CHANGE_GLOBAL: Final = (
    "UPDATE @runs SET global_hooks = ? WHERE owner = ? AND global_hooks = ? AND ended IS NULL"
)


def write_hook_sets(session: Session, rows: Rows) -> None:
    """Write sets, and which of them hold from now on, within a transaction, after all runs."""
    if rows.hook_sets:
        session.many(PUT, WIDTH, rows.hook_sets)
    # A run that is newer than a change names the last set anyway.
    for owner, reference, before, after in rows.hook_changes:
        if reference is None:
            session.run(CHANGE_GLOBAL, (after, owner, before))
        else:
            session.run(CHANGE, (after, owner, before, reference))


def select_hook_sets(session: Session, owner: str) -> dict[str, str]:
    """Return the sets of an owner, as texts by their id."""
    text = "SELECT id, hooks FROM @hook_sets WHERE owner = ?"

    return {str(key): str(hooks) for key, hooks in session.all(text, (owner,))}
