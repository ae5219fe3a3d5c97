"""The note of a guardian: what is written is read back, and no trouble leaves half an entry."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from eventflow.owners import guardian
from eventflow.owners import note as module
from eventflow.owners.note import ENTRY_BYTES, TOTAL_BYTES, Note, read_handed_over, set_next_due

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
    """Any text is a key; what was removed is there no more once its room is needed."""
    entries = {"1": b"one", "*": b"", "\udce4ü": b"\0" * 70_000}
    for key, data in entries.items():
        assert note.write(key, data) is None
    assert read_handed_over(note.descriptor) == entries


def test_a_note_of_an_earlier_version_is_empty(note: Note) -> None:
    """Its owner began before an upgrade, and had no places in its note."""
    entry = b"\0\0\0\x08\0\0\0\x04etl:flowdata"
    os.pwrite(note.descriptor, bytes(4) + entry, 0)
    assert read_handed_over(note.descriptor) == {}


def test_room_is_used_again(note: Note) -> None:
    """However many entries come and go, the note holds what is there and little more."""
    assert note.write("stays", b"s" * 1000) is None
    largest = 0
    for number in range(200):
        assert note.write(f"{number}", bytes(ENTRY_BYTES // 2)) is None
        handed_over = read_handed_over(note.descriptor)
        assert handed_over["stays"] == b"s" * 1000
        assert handed_over[f"{number}"] == bytes(ENTRY_BYTES // 2)
        note.remove(f"{number}")
        note.remove("of before a fork")
        largest = max(largest, os.fstat(note.descriptor).st_size)
    assert largest < 5 * ENTRY_BYTES


@pytest.mark.parametrize("calls", range(5))
def test_whenever_its_owner_is_killed_there_are_whole_entries(
    note: Note, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """Also in the middle of a write, and while the entries are written once more."""
    assert note.write("a", b"whole") is None
    for number in range(3):
        assert note.write(f"{number}", bytes(ENTRY_BYTES - 100)) is None
        note.remove(f"{number}")
    pwrite, remaining = os.pwrite, [None] * calls

    def killed(descriptor: int, data: bytes, offset: int) -> int:
        if not remaining:
            pwrite(descriptor, data[: len(data) // 2] if len(data) > 16 else b"", offset)
            raise KeyboardInterrupt
        remaining.pop()
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", killed)
    written = True
    try:
        note.write("b", b"222" * 50)
    except KeyboardInterrupt:
        written = False
    handed_over = read_handed_over(note.descriptor)
    assert handed_over["a"] == b"whole"
    assert handed_over.get("b", b"222" * 50) == b"222" * 50
    assert ("b" in handed_over) is written


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
    assert "there is not enough memory for it" in (note.write("a", bytes(50)) or "")
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


def test_times_are_noted_for_the_guardian(note: Note) -> None:
    """That of the owner and that of its helper, beside what is handed over."""
    assert note.write("key", b"data") is None
    places = (guardian.DUE, guardian.DUE + 8)

    def times() -> list[int]:
        return [int.from_bytes(os.pread(note.descriptor, 8, place)) for place in places]

    assert times() == [0, 0]
    note.set_due(12.5)
    assert times() == [12_500_000, 0]
    set_next_due(note.descriptor, 0.0000001)
    # Not 0, which stands for never.
    assert times() == [12_500_000, 1]
    note.set_due(None)
    set_next_due(note.descriptor, None)
    assert times() == [0, 0]
    note.set_due(10.0**9)
    assert read_handed_over(note.descriptor) == {"key": b"data"}
    assert not guardian.has_ended_cleanly(note.descriptor)


def test_a_time_that_cannot_be_noted_fails_nothing() -> None:
    """Nobody has to be told: the owner delivers itself."""
    closed = Note()
    os.close(closed.descriptor)
    closed.set_due(1.0)
