"""Scripts that a test has killed, and what they leave behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from eventflow.journal.contract import DeliveryQuery, Journal
from eventflow.owners.folders import owners_folder

# The beginning of each script: `tell` writes a line that the test reads with `read_told`.
HEAD = """
import json, os, signal, sys
from eventflow import flow, get_run_logger, hook, runtime, task

def tell(*facts):
    with open("told", "a") as told:
        told.write(json.dumps(facts) + "\\n")

def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""

ReadTold: TypeAlias = Callable[[], list[Any]]


class RunKilled(Protocol):
    """Runs a script that does not live to its end."""

    def __call__(self, script: str, *, code: int = -signal.SIGKILL) -> None: ...


def owner_folders(url: str) -> list[str]:
    """Return the names of the folders of owners."""
    folder = owners_folder(url)
    assert folder is not None
    return [path.name for path in folder.iterdir() if path.is_dir()]


def deliveries(journal: Journal) -> list[tuple[str, str, int]]:
    """Return hook, status and attempts of all deliveries."""
    rows = journal.deliveries(DeliveryQuery())
    return [(row.hook, row.status.value, row.attempts) for row in rows]
