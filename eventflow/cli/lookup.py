"""Looking up the journal, and the run or delivery that a command names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import UUID

import click

from eventflow.cli.display.times import ago
from eventflow.client.archive import Archive
from eventflow.client.journals import journal_file, opened_journal
from eventflow.client.records import DeliveryRecord, RunRecord
from eventflow.journal.contract import DeliveryQuery, Journal, RunQuery
from eventflow.owners.folders import dead, owners_folder
from eventflow.settings import EVENTFLOW_JOURNAL_URL

__all__ = [
    "NotFoundError",
    "dead_owners",
    "find_delivery",
    "find_run",
    "no_journal_message",
    "optional_archive",
    "required_archive",
    "short_id",
]

SHORT: Final = 8
"""How many of the last digits of an id are shown: its first ones only encode the time."""

FEWEST: Final = 4
"""The smallest number of digits that an id may be given by."""

LISTED: Final = 5
"""How many matches are listed where there are several."""

WHOLE: Final = 32
_DIGITS: Final = re.compile(r"[0-9a-f]+")


class NotFoundError(click.ClickException):
    """No run, delivery or journal matches, or several do."""

    exit_code = 2


def short_id(key: UUID) -> str:
    """Return the part of an id that is shown, and by which it can be given."""
    return key.hex[-SHORT:]


def no_journal_message() -> str:
    """Return the message for a journal that does not exist yet."""
    return f"Nothing has been recorded yet: there is no journal at {journal_file()}."


@contextmanager
def optional_archive() -> Iterator[Archive | None]:
    """Open the journal in force for a block; yields None if there is none, with a message."""
    with opened_journal() as journal:
        if journal is None:
            click.echo(no_journal_message(), err=True)
        yield None if journal is None else Archive(journal)


@contextmanager
def required_archive() -> Iterator[Archive]:
    """Open the journal in force for a block.

    Raises:
        NotFoundError: there is no journal.
    """
    with opened_journal() as journal:
        if journal is None:
            raise NotFoundError(no_journal_message())
        yield Archive(journal)


def dead_owners(journal: Journal) -> set[str]:
    """Return the ids of the owners that are dead and have not been recovered yet."""
    folder = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    local = [] if folder is None or not folder.is_dir() else dead(folder)

    return {owner.id for owner in local} | {owner.id for owner in journal.owners(lapsed=True)}


def find_run(archive: Archive, text: str) -> RunRecord:
    """Return the run with this name or id, or with an id that begins or ends like this.

    Raises:
        NotFoundError: no run matches, or several do.
    """
    digits = _digits(text)
    # A few digits may be a name such as `cafe`; as many as are shown of an id are no name.
    matches = [] if digits and len(digits) >= SHORT else _by_name(archive, text)
    if not matches and digits:
        matches = _by_id(archive, digits)
    matches = matches or _by_name(archive, text)
    if not matches:
        raise NotFoundError(f"The journal knows no run {text!r}; see: eventflow runs ls")
    if len(matches) > 1:
        raise NotFoundError(_several(text, matches))

    return matches[0]


def _digits(text: str) -> str | None:
    plain = text.replace("-", "").lower()

    return plain if FEWEST <= len(plain) <= WHOLE and _DIGITS.fullmatch(plain) else None


def _by_id(archive: Archive, digits: str) -> list[RunRecord]:
    if len(digits) == WHOLE:
        run = archive.run(UUID(digits))
        return [] if run is None else [run]

    return archive.runs(RunQuery(id_part=digits, limit=LISTED + 1))


def _by_name(archive: Archive, text: str) -> list[RunRecord]:
    matches = archive.runs(RunQuery(name=text, limit=LISTED + 1))
    definition, slash, name = text.partition("/")
    if not matches and slash:
        namesakes = archive.runs(RunQuery(name=name, limit=1000))
        matches = [run for run in namesakes if run.definition_name == definition][: LISTED + 1]

    return matches


def _several(text: str, matches: Sequence[RunRecord]) -> str:
    lines = [
        f"  {run.id}  {run.definition_name}/{run.name}  {run.state_name}, {ago(run.created)}"
        for run in matches[:LISTED]
    ]
    lines += ["  …"] if len(matches) > LISTED else []

    return "\n".join([f"{text!r} could be any of these; give more of the id:", *lines])


def find_delivery(archive: Archive, text: str) -> DeliveryRecord:
    """Return the delivery with this id, or with an id that begins or ends like this.

    Raises:
        NotFoundError: no delivery matches, or several do.
    """
    digits = _digits(text)
    matches: list[DeliveryRecord] = []
    if digits is not None:
        whole = len(digits) == WHOLE
        query = DeliveryQuery(id=UUID(digits)) if whole else DeliveryQuery(id_part=digits, limit=6)
        matches = archive.deliveries(query)
    if not matches:
        raise NotFoundError(f"The journal knows no delivery {text!r}; see: eventflow deliveries ls")
    if len(matches) > 1:
        lines = [f"  {match.id}  {match.hook}  {match.status}" for match in matches[:LISTED]]
        raise NotFoundError("\n".join([f"{text!r} could be any of these:", *lines]))

    return matches[0]
