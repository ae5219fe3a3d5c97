"""The note of a guardian: what is written is read back, and no trouble leaves half an entry."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from eventflow.owners import guardian
from eventflow.owners import note as module
from eventflow.owners.note import ENTRY_BYTES, TOTAL_BYTES, Note, read_handed_over

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there is no guardian elsewhere")


@pytest.fixture
def note() -> Iterator[Note]:
    made = Note()
    yield made
    made.close()


def test_owner_and_guardian_agree_on_a_clean_end(note: Note) -> None:
    """The guardian cannot import what its owner imports, so that it is defined twice."""
    assert not guardian.has_ended_cleanly(note.descriptor)
    note.end_cleanly()
    assert guardian.has_ended_cleanly(note.descriptor)


def test_the_header_is_as_long_for_both() -> None:
    """The guardian tells by the length whether hooks were handed over."""
    assert (module.CLEAN_END, len(module.HEADER)) == (guardian.CLEAN_END, guardian.HEADER)


def test_what_is_written_is_read_back(note: Note) -> None:
    """The last data of each key; equal data is not written again; any text is a key."""
    for data in (b"one", b"two", b"one"):
        assert note.write("etl:flow", data) is None
    entries = {"etl:flow": b"one", "*": b"", "\udce4ü": b"\0" * 70_000}
    for key, data in entries.items():
        assert note.write(key, data) is None
    size = os.fstat(note.descriptor).st_size
    for key, data in entries.items():
        assert note.write(key, data) is None
    assert os.fstat(note.descriptor).st_size == size
    assert read_handed_over(note.descriptor) == entries


@pytest.mark.parametrize("missing", [1, 3, 9, 11])
def test_an_unfinished_entry_is_ignored(note: Note, missing: int) -> None:
    """Its owner was killed while it wrote the data, the key or the lengths."""
    assert note.write("a", b"whole") is None
    assert note.write("b", b"222") is None
    os.ftruncate(note.descriptor, os.fstat(note.descriptor).st_size - missing)
    assert read_handed_over(note.descriptor) == {"a": b"whole"}


def test_the_size_is_limited(note: Note) -> None:
    """That of an entry and that of the note; what is refused leaves nothing behind."""
    assert "more than the 1048576" in (note.write("a", bytes(ENTRY_BYTES)) or "")
    taken = 0
    while note.write(f"{taken:02}", bytes(ENTRY_BYTES - 2)) is None:
        taken += 1
    assert taken == TOTAL_BYTES // ENTRY_BYTES - 1
    assert "16777216 in all" in (note.write("z", bytes(ENTRY_BYTES - 1)) or "")
    assert len(read_handed_over(note.descriptor)) == taken


def test_an_entry_that_cannot_be_written_leaves_nothing(
    note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No memory, or not enough: the reason is returned, and the next entry is whole."""
    pwrite = os.pwrite

    def failing(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError("no memory")

    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:-9], offset))
    assert note.write("a", bytes(50)) == "there is not enough memory for it"
    monkeypatch.setattr(os, "pwrite", failing)
    assert note.write("a", bytes(50)) == "it cannot be written down: no memory"
    monkeypatch.undo()
    assert note.write("b", b"1") is None
    assert read_handed_over(note.descriptor) == {"b": b"1"}


def test_a_note_needs_no_memory_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without them it is a file without a name."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    note = Note()
    assert note.write("a", b"1") is None
    assert read_handed_over(note.descriptor) == {"a": b"1"}
    assert os.fstat(note.descriptor).st_nlink == 0
    note.close()
