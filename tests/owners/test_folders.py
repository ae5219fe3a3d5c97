"""The folders of the owners of this host: created and deleted at once, alive while locked."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventflow.journal.records import pack
from eventflow.journal.rows import OwnerRow
from eventflow.journal.wal.segments import HEAD, Segment
from eventflow.owners import folders as module
from eventflow.owners import locks
from eventflow.owners.folders import (
    DeadOwner,
    LockedFolder,
    dead,
    is_recovery_at_work,
    owners_folder,
)
from eventflow.owners.locks import holder
from eventflow.owners.process import describe, recovery_program
from eventflow.primitives import private_files
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.journal.elsewhere import Process
from tests.journal.rows import an_owner
from tests.journal.writing import record

CREATE = """
import os, sys
from pathlib import Path
from eventflow.owners import folders
from eventflow.owners.process import describe
root = Path(sys.argv[1])
folder = folders.LockedFolder.create(root, describe())
print(folder.id, flush=True)
"""
STAY = f"{CREATE}sys.stdin.read()"
LOCK = """
import sys
from pathlib import Path
from eventflow.owners import folders
with folders.DeadOwner.read(Path(sys.argv[1])).lock() as folder:
    print(folder.is_held, flush=True)
    sys.stdin.read()
"""
LONG_AGO = 1_000_000_000


def is_alive(root: Path, owner_id: str) -> bool:
    """Return whether an owner has its folder, and somebody the lock of it."""
    return (root / owner_id).is_dir() and holder(root / owner_id / "lock") is not None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal.db-owners"


@pytest.fixture
def own_folder(root: Path) -> Iterator[LockedFolder]:
    folder = LockedFolder.create(root, describe())
    yield folder
    folder.release()


def a_dead_owner(root: Path, row: OwnerRow | None = None) -> DeadOwner:
    """Leave a folder behind that is not locked."""
    folder = LockedFolder.create(root, row or describe())
    folder.release()
    (owner,) = (owner for owner in dead(root) if owner.id == folder.id)

    return owner


def leave_segment(path: Path, number: int, *records: bytes, committed: bool = False) -> None:
    """Leave a segment with these records in a folder."""
    content = b"".join(records)
    segment = Segment(number, bytearray(HEAD + len(content)))
    segment.data[HEAD:] = content
    if committed:
        segment.end = len(segment.data)
        segment.take(everything=True)
        segment.advance()
    (path / f"segment-{number}").write_bytes(segment.data)


def ids(owners: list[DeadOwner]) -> list[str]:
    return [owner.id for owner in owners]


def test_the_folder_is_private_and_describes_the_owner(root: Path) -> None:
    """Other users cannot read it; the description is read back, also if it is not valid text."""
    row = describe()._replace(argv=("flow.py", "\udce4"), sys_path=("/a b", "/c"))
    with LockedFolder.create(root, row) as folder:
        assert folder.path == root / row.id
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.path.iterdir()}
        assert modes == {"lock": 0o600, "owner.json": 0o600}
        assert (
            stat.S_IMODE(folder.path.stat().st_mode) == stat.S_IMODE(root.stat().st_mode) == 0o700
        )
        owner = DeadOwner.read(folder.path)
        assert owner.owner == row
        assert owner.program == recovery_program()


def test_an_owner_is_alive_as_long_as_its_process(root: Path) -> None:
    """Killed, it is dead at once, by its lock alone: its process id may be that of another."""
    process = Process(STAY, root)
    owner_id = process.line()
    assert is_alive(root, owner_id)
    assert dead(root) == []

    process.kill()
    assert process.rest() == ""
    described = root / owner_id / "owner.json"
    description = json.loads(described.read_text()) | {"pid": os.getpid(), "boot": "another"}
    described.write_text(json.dumps(description))
    assert not is_alive(root, owner_id)
    (dead_owner,) = dead(root)
    assert (dead_owner.id, dead_owner.path) == (owner_id, root / owner_id)
    assert dead_owner.owner is not None
    assert dead_owner.owner.pid == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("is_recovery", [True, False])
def test_a_recovery_at_work_is_known_by_its_lock(root: Path, is_recovery: bool) -> None:
    """By the program that holds the lock of an owner; a living owner is none."""
    owner = a_dead_owner(root)
    assert holder(owner.path / "lock") is None
    assert not is_recovery_at_work(root)

    process = Process(f"{LOCK}# {'eventflow.recovery' if is_recovery else ''}", owner.path)
    assert process.line() == "True"
    assert holder(owner.path / "lock") == process.popen.pid
    assert is_recovery_at_work(root) is is_recovery

    process.kill()
    assert process.rest() == ""
    assert holder(owner.path / "lock") is None
    assert not is_recovery_at_work(root)


def test_a_check_does_not_release_the_own_lock(root: Path, own_folder: LockedFolder) -> None:
    """Opening and closing the file would release it, by whatever path."""
    (root.parent / "other").symlink_to(root)
    for path in (root, root.parent / "other"):
        assert dead(path) == []
        assert is_alive(path, own_folder.id)
        assert DeadOwner.read(path / own_folder.id).lock() is None
        assert holder(path / own_folder.id / "lock") == os.getpid()
        assert not is_recovery_at_work(path)

    process = Process(
        "import sys; from pathlib import Path; from eventflow.owners.folders import dead, is_free;"
        "root = Path(sys.argv[1]); print(not is_free(root / sys.argv[2] / 'lock'), dead(root))",
        root,
        own_folder.id,
    )
    assert process.rest() == "True []"


def test_one_process_recovers_a_dead_owner_and_another_one_when_that_dies(root: Path) -> None:
    """While one does, the owner is not dead for others, and they cannot lock it."""
    owner = a_dead_owner(root)
    process = Process(LOCK, owner.path)
    assert process.line() == "True"
    assert dead(root) == []
    assert owner.lock() is None
    assert is_alive(root, owner.id)

    process.kill()
    assert process.rest() == ""
    assert ids(dead(root)) == [owner.id]
    folder = owner.lock()
    assert folder is not None
    with folder:
        # Not even this process can lock it a second time.
        assert owner.lock() is None
        assert folder.remove()
    assert not folder.is_held
    assert list(root.iterdir()) == []
    assert owner.lock() is None


def test_a_failing_recovery_leaves_the_folder_to_the_next(root: Path) -> None:
    """At the end of the block the lock is free, and the folder is there."""
    owner = a_dead_owner(root)
    folder = owner.lock()
    assert folder is not None
    with pytest.raises(ZeroDivisionError), folder:
        raise ZeroDivisionError
    assert ids(dead(root)) == [owner.id]


def test_a_forked_child_does_not_hold_its_parents_lock(root: Path) -> None:
    """It holds nothing, deletes nothing, and sees the parent alive; so do others afterwards."""
    code = f"""{CREATE}
if (child := os.fork()) == 0:
    parent = not folders.is_free(folder.path / "lock")
    sys.stdout.write(f"{{folder.is_held}} {{folder.remove()}} {{parent}} ")
    folder.release()
    own = folders.LockedFolder.create(root, describe())
    sys.stdout.write(f"{{own.is_held}} {{own.remove()}} {{folders.dead(root)}}\\n")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
sys.stdin.readline()
print(folder.is_held, folder.remove(), flush=True)
"""
    process = Process(code, root)
    owner_id = process.line()
    assert process.line() == "False False True True True []"
    assert is_alive(root, owner_id)
    assert process.rest() == "True True"
    assert list(root.iterdir()) == []


def test_a_child_that_outlives_its_parent_does_not_keep_it_alive(root: Path) -> None:
    """The lock is the parent's alone; the child itself may recover it."""
    code = f"""{CREATE}
if os.fork():
    os.kill(os.getpid(), 9)
sys.stdin.readline()
(owner,) = folders.dead(root)
locked = owner.lock()
print(folder.is_held, locked.is_held, locked.remove())
"""
    process = Process(code, root)
    owner_id = process.line()
    process.popen.wait(30)
    assert not is_alive(root, owner_id)
    assert process.rest() == "False True True"


@pytest.mark.parametrize("moment", ["lock", "_write"])
def test_an_incomplete_folder_is_deleted_later(root: Path, moment: str) -> None:
    """Its process was killed before the lock, or the description, was there: it is litter."""
    code = CREATE.replace(
        "root =", f"folders.{moment} = lambda *_: os.kill(os.getpid(), 9)\nroot ="
    )
    Process(code, root).rest()
    (incomplete,) = root.iterdir()
    assert dead(root) == []
    assert incomplete.is_dir()

    os.utime(incomplete, (LONG_AGO, LONG_AGO))
    assert dead(root) == []
    assert list(root.iterdir()) == []


def test_a_folder_that_is_taken_for_litter_is_created_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow process may lose its folder before it is locked; after that it is safe."""
    slowed: list[Path] = []
    real_lock, rename = locks.lock, Path.rename

    def slow_lock(path: Path) -> Any:
        if not slowed:
            slowed.append(path)
            os.utime(path.parent, (LONG_AGO, LONG_AGO))
            assert dead(root) == []
        return real_lock(path)

    def slow_rename(path: Path, target: Path) -> Path:
        os.utime(path, (LONG_AGO, LONG_AGO))
        assert dead(root) == []
        return rename(path, target)

    monkeypatch.setattr(module, "lock", slow_lock)
    monkeypatch.setattr(Path, "rename", slow_rename)
    with LockedFolder.create(root, describe()) as folder:
        assert is_alive(root, folder.id)
        assert [path.name for path in root.iterdir()] == [folder.id]
    assert len(slowed) == 1


def test_a_folder_that_cannot_be_created_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an error, and neither a lock nor an incomplete folder stays."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    row = describe()
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        LockedFolder.create(root, row)
    assert list(root.iterdir()) == []
    monkeypatch.undo()
    LockedFolder.create(root, row).remove()


def test_a_folder_with_records_is_not_deleted(root: Path) -> None:
    """Those that are not in the journal are left to be recovered; committed ones are nothing."""
    folder = LockedFolder.create(root, describe())
    leave_segment(folder.path, 1, record(1), committed=True)
    leave_segment(folder.path, 2)
    (folder.path / "segment-3").touch()
    assert folder.remove()
    assert not folder.remove()
    assert list(root.iterdir()) == []

    folder = LockedFolder.create(root, describe())
    leave_segment(folder.path, 1, record(1))
    assert not folder.remove()
    assert ids(dead(root)) == [folder.id]


def test_a_folder_that_was_deleted_is_no_error(root: Path, own_folder: LockedFolder) -> None:
    """Whoever deleted it: the owner is not alive, and its folder is removed."""
    shutil.rmtree(own_folder.path)
    assert not is_alive(root, own_folder.id)
    assert own_folder.remove()


def test_a_folder_with_records_counts_without_a_description(root: Path) -> None:
    """The owner has no row if its description is missing, or was emptied by a loss of power."""
    emptied, bare, litter = (a_dead_owner(root).path for _ in range(3))
    (emptied / "owner.json").write_bytes(b"")
    for path in (bare, litter):
        (path / "owner.json").unlink()
    leave_segment(bare, 3, record(1))

    os.utime(litter, (LONG_AGO, LONG_AGO))
    assert [(owner.path, owner.owner) for owner in dead(root)] == [(emptied, None), (bare, None)]
    assert not litter.exists()


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("content", [None, b"", bytes(512), b'{"program":[]}'])
def test_each_segment_describes_the_owner(
    root: Path, content: bytes | None, committed: bool
) -> None:
    """Where the description is missing, or damaged by a loss of power."""
    row = an_owner("one")._replace(argv=("odd \udc80",))
    with LockedFolder.create(root, row) as folder:
        heading = pack("O", folder.description)
    described = folder.path / "owner.json"
    (complete,) = dead(root)
    described.unlink()
    if content is not None:
        described.write_bytes(content)
    leave_segment(folder.path, 2, heading, record(1), committed=committed)
    leave_segment(folder.path, 10, record(2), b"00000100R half")
    assert dead(root) == [complete]
    assert complete.owner == row


def test_a_folder_that_is_renamed_meanwhile_hides_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner has completed it while others read it."""
    owner = a_dead_owner(root)
    incomplete = root / ".new-renamed"
    incomplete.mkdir()
    iterdir = Path.iterdir

    def renaming(path: Path) -> Iterator[Path]:
        if path == incomplete:
            incomplete.rename(root / "renamed")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", renaming)

    assert ids(dead(root)) == [owner.id]
    assert not incomplete.exists()


def test_a_copied_folder_is_not_the_owners(root: Path) -> None:
    """Its description is that of another owner."""
    original = a_dead_owner(root, an_owner("one"))
    shutil.copytree(original.path, root / "one (copy)")
    owners = {owner.id: owner.owner for owner in dead(root)}
    assert owners == {"one": original.owner, "one (copy)": None}


def test_an_owner_whose_lock_cannot_be_queried_is_alive(root: Path) -> None:
    """And without a folder of owners none is dead."""
    assert dead(root) == []
    owner = a_dead_owner(root)
    (owner.path / "lock").unlink()
    (owner.path / "lock").symlink_to("lock")
    assert dead(root) == []
    assert is_alive(root, owner.id)


def test_where_the_owners_of_a_journal_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a SQLite file, by whatever name it is opened; in the home for a server.

    There each database has its own: what is spooled for one must not get into another.
    """
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    beside = tmp_path.resolve() / "real.db-owners"
    assert owners_folder(f"sqlite:///{tmp_path}/link.db") == beside
    monkeypatch.chdir(tmp_path)
    assert owners_folder("sqlite:///real.db") == beside
    of_a_server = owners_folder("postgresql://host/db")
    assert of_a_server is not None
    assert of_a_server.parent == tmp_path / "home"
    assert owners_folder("postgresql://me:secret@host/db") == of_a_server
    assert owners_folder("postgresql://host/other") != of_a_server
    assert owners_folder("memory://") is None
    assert owners_folder(EVENTFLOW_JOURNAL_URL.value()) == tmp_path / "home/journal.db-owners"


@pytest.mark.parametrize("theirs", ["", "owner.json", "lock", "spool-1.jsonl"])
def test_what_belongs_to_another_user_is_left_alone(
    root: Path, theirs: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A description names a program to execute; a warning names the file, once."""
    owner = a_dead_owner(root)
    (owner.path / "spool-1.jsonl").write_text("{}\n")
    file = owner.path / theirs if theirs else owner.path
    monkeypatch.setattr(module, "foreign_owner", lambda path: 12345 if path == file else None)
    for _ in range(2):
        assert dead(root) == []
    assert owner.path.is_dir()
    messages = [record.getMessage() for record in caplog.records]
    assert sum(f"{file} belongs to another user (id 12345)" in text for text in messages) == 1


def test_no_folder_is_made_among_those_of_another_user(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could replace it."""
    root.mkdir()
    users = frozenset({root.stat().st_uid + 1})
    monkeypatch.setattr(private_files, "_trusted_users", lambda: users)
    with pytest.raises(PermissionError, match=f"{root} belongs to another user"):
        LockedFolder.create(root, describe())
    assert list(root.iterdir()) == []
