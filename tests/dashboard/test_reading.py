"""The journal is read as it is now, also if it is deleted and begun anew, and by many at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eventflow.client.archive import Archive
from eventflow.dashboard.reading import Source
from eventflow.journal import open_journal
from eventflow.journal.contract import RunQuery
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.cli.sample_journal import Sample, fill


def names(archive: Archive | None) -> list[str] | None:
    return None if archive is None else sorted(run.name for run in archive.runs(RunQuery(top=True)))


def delete(home: Path) -> None:
    for each in home.glob("journal.db*"):
        if each.is_file():
            each.unlink()


def test_many_read_at_once(sample: Sample) -> None:
    async def read() -> None:
        source = Source()
        found = await asyncio.gather(*(source.read(names) for _ in range(50)))
        assert found == [["brave-otter", "hidden-lynx", "quick-hare"]] * 50
        source.close()

    asyncio.run(read())


def test_a_journal_may_come_go_and_come_again(home: Path) -> None:
    """Reading makes none."""

    async def read() -> None:
        source, file = Source(), home / "journal.db"
        assert await source.read(names) is None
        assert not file.exists()
        for _ in range(2):
            journal = open_journal(EVENTFLOW_JOURNAL_URL.value())
            fill(journal)
            journal.close()
            assert await source.read(names) == ["brave-otter", "hidden-lynx", "quick-hare"]
            delete(home)
            assert await source.read(names) is None
            assert not file.exists()
        source.close()

    asyncio.run(read())
