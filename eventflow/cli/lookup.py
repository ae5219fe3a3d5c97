"""Finding the journal and a run in it, and what to say where there is none."""

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
    "delivery_named",
    "no_journal",
    "reading",
    "run_named",
    "short",
    "the_archive",
]

SHORT: Final = 8
"""How many of an id's last digits are shown: its first ones are those of its time."""

FEWEST: Final = 4
"""With how few digits an id may be named."""

SHOWN: Final = 5
"""How many are listed where several could be meant."""

WHOLE: Final = 32
_DIGITS: Final = re.compile(r"[0-9a-f]+")


class NotFoundError(click.ClickException):
    """What was named is not there, or could be one of several."""

    exit_code = 2


def short(key: UUID) -> str:
    """Shorten an id to what is shown, and may be given back."""
    return key.hex[-SHORT:]


def no_journal() -> str:
    """Say that nothing was recorded yet, and where that would be."""
    return f"Nothing has been recorded yet: there is no journal at {journal_file()}."


@contextmanager
def reading() -> Iterator[Archive | None]:
    """Open the journal in force for a block; None if there is none, which is said on stderr."""
    with opened_journal() as journal:
        if journal is None:
            click.echo(no_journal(), err=True)
        yield None if journal is None else Archive(journal)


@contextmanager
def the_archive() -> Iterator[Archive]:
    """Open the journal in force, to find in it what the user has named.

    Raises:
        NotFoundError: there is none.
    """
    with opened_journal() as journal:
        if journal is None:
            raise NotFoundError(no_journal())
        yield Archive(journal)


def dead_owners(journal: Journal) -> set[str]:
    """Give the processes that are gone and have not been recovered yet."""
    folder = owners_folder(EVENTFLOW_JOURNAL_URL.value())
    here = [] if folder is None or not folder.is_dir() else dead(folder)

    return {one.id for one in here} | {one.id for one in journal.owners(lapsed=True)}


def run_named(archive: Archive, text: str) -> RunRecord:
    """Give the run that is meant by an id, the beginning or end of one, or a name.

    Raises:
        NotFoundError: no run is, or several could be.
    """
    digits = _digits(text)
    # A few digits may be a word; what was shown as an id is none.
    found = [] if digits and len(digits) >= SHORT else _by_name(archive, text)
    if not found and digits:
        found = _by_id(archive, digits)
    found = found or _by_name(archive, text)
    if not found:
        raise NotFoundError(f"The journal knows no run {text!r}; see: eventflow runs ls")
    if len(found) > 1:
        raise NotFoundError(_several(text, found))

    return found[0]


def _digits(text: str) -> str | None:
    plain = text.replace("-", "").lower()

    return plain if FEWEST <= len(plain) <= WHOLE and _DIGITS.fullmatch(plain) else None


def _by_id(archive: Archive, digits: str) -> list[RunRecord]:
    if len(digits) == WHOLE:
        one = archive.run(UUID(digits))
        return [] if one is None else [one]

    return archive.runs(RunQuery(id_part=digits, limit=SHOWN + 1))


def _by_name(archive: Archive, text: str) -> list[RunRecord]:
    found = archive.runs(RunQuery(name=text, limit=SHOWN + 1))
    definition, slash, name = text.partition("/")
    if not found and slash:
        every = archive.runs(RunQuery(name=name, limit=1000))
        found = [one for one in every if one.definition_name == definition][: SHOWN + 1]

    return found


def _several(text: str, found: Sequence[RunRecord]) -> str:
    lines = [
        f"  {one.id}  {one.definition_name}/{one.name}  {one.state_name}, {ago(one.created)}"
        for one in found[:SHOWN]
    ]
    lines += ["  …"] if len(found) > SHOWN else []

    return "\n".join([f"{text!r} could be any of these; give more of the id:", *lines])


def delivery_named(archive: Archive, text: str) -> DeliveryRecord:
    """Give the delivery that is meant by an id, or the beginning or end of one.

    Raises:
        NotFoundError: none is, or several could be.
    """
    digits = _digits(text)
    found: list[DeliveryRecord] = []
    if digits is not None:
        whole = len(digits) == WHOLE
        query = DeliveryQuery(id=UUID(digits)) if whole else DeliveryQuery(id_part=digits, limit=6)
        found = archive.deliveries(query)
    if not found:
        raise NotFoundError(f"The journal knows no delivery {text!r}; see: eventflow deliveries ls")
    if len(found) > 1:
        lines = [f"  {one.id}  {one.hook}  {one.status}" for one in found[:SHOWN]]
        raise NotFoundError("\n".join([f"{text!r} could be any of these:", *lines]))

    return found[0]
