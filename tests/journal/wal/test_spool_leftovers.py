"""What a dead owner left is read whatever has happened to its files, and deleted when committed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventflow.journal.contract import Group, UnstorableError
from eventflow.journal.records import pack
from eventflow.journal.wal.segments import HEAD, MAGIC
from eventflow.journal.wal.spool import commit_in_parts, described, has_records, read_segments
from tests.journal.writing import HEADING, numbers_in, owing, record

ROOT = Path(__file__).parent.parent.parent
HEADER = MAGIC.ljust(32, b"\0") + HEAD.to_bytes(8, "big") + bytes(24)
RECORDS = [record(number) for number in range(7)]


def leave(folder: Path, number: int, records: bytes, head: bytes = HEADER) -> Path:
    """Leave a file as a process that was killed does."""
    path = folder / f"segment-{number}"
    path.write_bytes((head + records).ljust(4096, b"\0"))
    return path


def committed_up_to(place: int) -> bytes:
    return MAGIC.ljust(32, b"\0") + place.to_bytes(8, "big") + bytes(24)


def read(folder: Path) -> list[list[int]]:
    return [numbers_in(group.data) for group in read_segments(folder)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_read_in_the_order_of_their_numbers(spool_folder: Path) -> None:
    """Ten comes after nine; each is a group, and deleted when the next one is asked for."""
    for number in (10, 9, 11):
        leave(spool_folder, number, HEADING + record(number))
    groups = read_segments(spool_folder)

    assert numbers_in(next(groups).data) == [9]
    assert names(spool_folder) == ["segment-10", "segment-11", "segment-9"]
    group = next(groups)
    assert (group.runs, list(group.others)) == (1, [("O", "the owner")])
    assert names(spool_folder) == ["segment-10", "segment-11"]
    del groups
    assert read(spool_folder) == [[10], [11]]
    assert names(spool_folder) == []


def test_what_is_committed_is_not_read_again(spool_folder: Path) -> None:
    """The head says up to where; a file with nothing behind is deleted at once."""
    leave(spool_folder, 1, b"".join(RECORDS), committed_up_to(HEAD + len(RECORDS[0])))
    leave(spool_folder, 2, RECORDS[0], committed_up_to(HEAD + len(RECORDS[0])))
    leave(spool_folder, 3, b"")

    assert has_records(spool_folder)
    assert read(spool_folder) == [[1, 2, 3, 4, 5, 6]]
    assert names(spool_folder) == []
    assert not has_records(spool_folder)


@pytest.mark.parametrize(
    "head",
    [bytes(HEAD), b"\xff" * HEAD, *map(committed_up_to, (0, 2**63, HEAD + len(RECORDS[0]) + 17))],
)
def test_a_lost_or_torn_head_costs_no_record(spool_folder: Path, head: bytes) -> None:
    """As after a loss of power: to commit a record once more changes nothing."""
    leave(spool_folder, 1, b"".join(RECORDS), head)

    assert read(spool_folder) == [[*range(7)]]


@settings(deadline=None)  # it waits for the disk
@given(length=st.integers(0, HEAD + sum(map(len, RECORDS)) + 50))
def test_a_file_may_end_anywhere(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    """All records that are whole are there, and nothing else."""
    folder = tmp_path_factory.mktemp("owner")
    path = leave(folder, 1, b"".join(RECORDS))
    path.write_bytes(path.read_bytes()[:length])
    whole = sum(HEAD + sum(map(len, RECORDS[: count + 1])) <= length for count in range(7))

    assert read(folder) == ([[*range(whole)]] if whole else [])
    assert names(folder) == []


@settings(deadline=None)  # it waits for the disk
@given(
    st.lists(
        st.sampled_from([b"", bytes(40), bytes(500), RECORDS[0][:-1], b"00000030R", b"0" * 9])
    ),
    st.randoms(use_true_random=False),
)
def test_torn_records_and_holes_are_left_out(
    tmp_path_factory: pytest.TempPathFactory, faults: list[bytes], random: object
) -> None:
    """Whatever is between two records, both are read, and the group has nothing else in it."""
    folder = tmp_path_factory.mktemp("owner")
    parts = [*RECORDS, *faults]
    random.shuffle(parts)  # type: ignore[attr-defined]
    leave(folder, 1, b"".join(parts))
    whole = [part for part in parts if part in RECORDS]

    groups = list(read_segments(folder))

    assert [group.data for group in groups] == [b"".join(whole)]
    assert groups[0].runs == 5
    assert len(groups[0].others) == 2


@pytest.mark.parametrize("place", range(HEAD, HEAD + len(RECORDS[0]), 7))
def test_a_changed_byte_costs_one_record(spool_folder: Path, place: int) -> None:
    """Any but those of the acknowledgement, which are changed while hooks run."""
    path = leave(spool_folder, 1, b"".join(RECORDS))
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)

    spared = HEAD + 13 <= place < HEAD + 24
    assert read(spool_folder) == [[*range(0 if spared else 1, 7)]]


def test_a_record_that_cannot_be_read_is_left_out_and_logged(
    spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its file are committed."""
    from zlib import crc32

    broken = b"%08dE%b%b{" % (25, crc32(b"E{").to_bytes(4, "big"), bytes(11))
    leave(spool_folder, 1, record(0) + broken + record(2))

    (group,) = read_segments(spool_folder)

    assert list(group.others) == [("E", 2)]
    assert "cannot be read" in caplog.text


def test_a_file_that_cannot_be_read_is_an_error(spool_folder: Path) -> None:
    """After all others were read; it stays, and the folder does not count as empty."""
    leave(spool_folder, 1, record(1))
    (spool_folder / "segment-2").mkdir()
    leave(spool_folder, 3, record(3))
    numbers = []
    with pytest.raises(IsADirectoryError):
        for group in read_segments(spool_folder):
            numbers += numbers_in(group.data)

    assert numbers == [1, 3]
    assert names(spool_folder) == ["segment-2"]
    assert has_records(spool_folder)
    with pytest.raises(FileNotFoundError):
        list(read_segments(spool_folder / "nowhere"))


def test_a_file_of_a_newer_version_stays(spool_folder: Path) -> None:
    """Only a newer eventflow can read it."""
    leave(spool_folder, 1, record(1), HEADER.replace(b"segment 1", b"segment 2"))

    with pytest.raises(OSError, match="newer eventflow"):
        list(read_segments(spool_folder))
    assert has_records(spool_folder)


def test_files_of_an_older_version_are_named_once(
    spool_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are left, and do not count as records."""
    for number in (1, 2):
        (spool_folder / f"spool-{number}.jsonl").write_bytes(b"{}\n")
    leave(spool_folder, 1, record(1))

    assert read(spool_folder) == [[1]]
    assert caplog.text.count("spool-*.jsonl") == 1
    assert names(spool_folder) == ["spool-1.jsonl", "spool-2.jsonl"]
    assert not has_records(spool_folder)


def test_the_owner_is_described_at_the_beginning_of_each_segment(spool_folder: Path) -> None:
    """Also where that is committed, or was torn in the first file."""
    assert described(spool_folder) == ""
    leave(spool_folder, 1, b"0" * 30 + record(0))
    leave(spool_folder, 2, HEADING + record(1), committed_up_to(HEAD + len(HEADING)))

    assert described(spool_folder) == "the owner"


def test_a_record_that_cannot_be_stored_is_found_in_few_commits() -> None:
    """It is the only one that is left out, and the others keep their order."""
    data = b"".join(record(number) for number in range(1000))
    committed: list[int] = []
    attempts: list[int] = []
    refused: list[UnstorableError] = []

    def commit(group: Group) -> None:
        numbers = numbers_in(group.data)
        assert group.runs == sum(number % 3 != 2 for number in numbers)
        assert [content for _, content in group.others] == [n for n in numbers if n % 3 == 2]
        attempts.append(len(numbers))
        if {300, 302, 777}.intersection(numbers):
            raise UnstorableError("no")
        committed.extend(numbers)

    others = [("E", number) for number in range(1000) if number % 3 == 2]
    group = Group(data, 1000 - len(others), others)
    commit_in_parts(group, commit, refused.append)

    assert committed == [number for number in range(1000) if number not in {300, 302, 777}]
    assert len(refused) == 3
    assert len(attempts) < 70


KILLED = """
import os, signal, sys
from pathlib import Path
from eventflow.journal.wal.spool import Spool
from eventflow.journal.wal.writer import Writer
from tests.journal.fakes import FakeStore
from tests.journal.wal.interrupts import interrupted
from eventflow.journal.wal.appender import Appender
from tests.journal.writing import HEADING, owing

writer = Writer(FakeStore(), print, spool=Spool(Path(sys.argv[1])), heading=HEADING)
for number in range(100):
    writer.append(owing(number))
place = writer.append(owing(100, 2), owed=True)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

function = getattr(Appender, sys.argv[2])
with interrupted(function, int(sys.argv[3]), kill):
    writer.append(owing(101)) if sys.argv[2] == "append" else writer.acknowledge(*place, 2, 1, 9)
"""


@pytest.mark.parametrize(
    ("function", "place"),
    [
        *(("append", place) for place in range(30, 90, 12)),
        *(("acknowledge", at) for at in (20, 34)),
    ],
)
def test_a_kill_at_any_instruction_leaves_whole_records(
    spool_folder: Path, function: str, place: int
) -> None:
    """Each whose append had returned is there; none counts as done before it has begun."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(spool_folder), function, str(place)],
        cwd=ROOT,
        timeout=60,
        check=False,
    )

    assert ended.returncode in {0, -signal.SIGKILL}
    (group,) = read_segments(spool_folder)
    numbers = numbers_in(group.data)
    assert numbers[:101] == list(range(101))
    assert numbers[101:] in ([], [101])
    at = group.data.index(owing(100, 2)[24:]) - 24
    begun, done = group.data[at + 14 : at + 16]
    assert done <= begun <= 2
    assert names(spool_folder) == []


def test_a_group_may_be_nothing_but_what_is_torn(spool_folder: Path) -> None:
    """Then there is nothing to commit, and the file is deleted."""
    leave(spool_folder, 1, owing(1)[:-2] + pack("E", 5)[:-1])

    assert read(spool_folder) == []
    assert names(spool_folder) == []
