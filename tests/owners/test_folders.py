"""Owners on this host: folders that come and go at once, and locks that alone say who lives."""

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

from eventflow.journal.format import decode, owner_line
from eventflow.journal.rows import OwnerRow
from eventflow.owners import folders as module
from eventflow.owners import locks
from eventflow.owners.folders import (
    DeadOwner,
    OwnFolder,
    begin,
    dead,
    describe,
    is_alive,
    owners_folder,
)
from eventflow.owners.process import recovery_program
from eventflow.settings import EVENTFLOW_JOURNAL_URL
from tests.journal.elsewhere import Process
from tests.journal.rows import an_owner

BEGIN = """
import os, sys
from pathlib import Path
from eventflow.owners import folders
root = Path(sys.argv[1])
folder = folders.begin(root, folders.describe())
print(folder.id, flush=True)
"""
STAY = f"{BEGIN}sys.stdin.read()"
TAKE = """
import sys
from pathlib import Path
from eventflow.owners import folders
with folders.DeadOwner.read(Path(sys.argv[1])).take() as folder:
    print(folder.is_held, flush=True)
    sys.stdin.read()
"""
LONG_AGO = 1_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "journal.db-owners"


@pytest.fixture
def mine(root: Path) -> Iterator[OwnFolder]:
    made = begin(root, describe())
    yield made
    made.let_go()


def a_dead_owner(root: Path, row: OwnerRow | None = None) -> DeadOwner:
    """Leave a folder behind whose lock nobody has."""
    made = begin(root, row or describe())
    made.let_go()
    (found,) = (one for one in dead(root) if one.id == made.id)

    return found


def test_the_folder_is_private_and_says_who_the_owner_is(root: Path) -> None:
    """Nobody else can read it; what it tells comes back, be it text or not."""
    row = describe()._replace(argv=("flow.py", "\udce4"), sys_path=("/a b", "/c"))
    with begin(root, row) as folder:
        assert folder.path == root / row.id
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.path.iterdir()}
        assert modes == {"lock": 0o600, "owner.json": 0o600}
        assert (
            stat.S_IMODE(folder.path.stat().st_mode) == stat.S_IMODE(root.stat().st_mode) == 0o700
        )
        found = DeadOwner.read(folder.path)
        assert found.owner == row
        assert found.program == recovery_program()


def test_an_owner_lives_as_long_as_its_process(root: Path) -> None:
    """Killed, it is found dead at once, by its lock alone: its id is that of a living process."""
    process = Process(STAY, root)
    owner_id = process.line()
    assert is_alive(root, owner_id)
    assert dead(root) == []

    process.kill()
    assert process.rest() == ""
    described = root / owner_id / "owner.json"
    told = json.loads(described.read_text()) | {"pid": os.getpid(), "boot": "another"}
    described.write_text(json.dumps(told))
    assert not is_alive(root, owner_id)
    (found,) = dead(root)
    assert (found.id, found.path) == (owner_id, root / owner_id)
    assert found.owner is not None
    assert found.owner.pid == os.getpid()


def test_looking_does_not_end_the_own_life(root: Path, mine: OwnFolder) -> None:
    """Its lock would go if its file were opened and closed; other names of it change nothing."""
    (root.parent / "other").symlink_to(root)
    for one in (root, root.parent / "other"):
        assert dead(one) == []
        assert is_alive(one, mine.id)
        assert DeadOwner.read(one / mine.id).take() is None

    said = Process(
        "import sys; from pathlib import Path; from eventflow.owners.folders import dead, is_alive;"
        "root = Path(sys.argv[1]); print(is_alive(root, sys.argv[2]), dead(root))",
        root,
        mine.id,
    )
    assert said.rest() == "True []"


def test_one_process_recovers_a_dead_owner_and_another_one_when_that_dies(root: Path) -> None:
    """While one is at it, nobody else finds the owner dead, nor can take it."""
    found = a_dead_owner(root)
    process = Process(TAKE, found.path)
    assert process.line() == "True"
    assert dead(root) == []
    assert found.take() is None
    assert is_alive(root, found.id)

    process.kill()
    assert process.rest() == ""
    assert [one.id for one in dead(root)] == [found.id]
    taken = found.take()
    assert taken is not None
    with taken:
        # Not even this process itself takes it a second time.
        assert found.take() is None
        assert taken.end()
    assert not taken.is_held
    assert list(root.iterdir()) == []
    assert found.take() is None


def test_a_failing_recovery_leaves_the_folder_to_the_next(root: Path) -> None:
    """At the end of the block the lock is free, and the folder is there."""
    found = a_dead_owner(root)
    taken = found.take()
    assert taken is not None
    with pytest.raises(ZeroDivisionError), taken:
        raise ZeroDivisionError
    assert [one.id for one in dead(root)] == [found.id]


def test_a_forked_child_takes_nothing_from_its_parent(root: Path) -> None:
    """It holds nothing, deletes nothing, and finds the parent alive; so do others afterwards."""
    code = f"""{BEGIN}
if (child := os.fork()) == 0:
    sys.stdout.write(f"{{folder.is_held}} {{folder.end()}} {{folders.is_alive(root, folder.id)}} ")
    folder.let_go()
    mine = folders.begin(root, folders.describe())
    sys.stdout.write(f"{{mine.is_held}} {{mine.end()}} {{folders.dead(root)}}\\n")
    sys.stdout.flush()
    os._exit(0)
os.waitpid(child, 0)
sys.stdin.readline()
print(folder.is_held, folder.end(), flush=True)
"""
    process = Process(code, root)
    owner_id = process.line()
    assert process.line() == "False False True True True []"
    assert is_alive(root, owner_id)
    assert process.rest() == "True True"
    assert list(root.iterdir()) == []


def test_a_child_that_outlives_its_parent_does_not_keep_it_alive(root: Path) -> None:
    """The lock is the parent's alone; the child itself may recover it."""
    code = f"""{BEGIN}
if os.fork():
    os.kill(os.getpid(), 9)
sys.stdin.readline()
(found,) = folders.dead(root)
taken = found.take()
print(folder.is_held, taken.is_held, taken.end())
"""
    process = Process(code, root)
    owner_id = process.line()
    process.popen.wait(30)
    assert not is_alive(root, owner_id)
    assert process.rest() == "False True True"


@pytest.mark.parametrize("moment", ["lock", "_write"])
def test_what_a_kill_in_the_middle_leaves_is_removed_later(root: Path, moment: str) -> None:
    """Killed before it had its lock, or its description: no owner, and litter after a minute."""
    code = BEGIN.replace("root =", f"folders.{moment} = lambda *_: os.kill(os.getpid(), 9)\nroot =")
    Process(code, root).rest()
    (left,) = root.iterdir()
    assert dead(root) == []
    assert left.is_dir()

    os.utime(left, (LONG_AGO, LONG_AGO))
    assert dead(root) == []
    assert list(root.iterdir()) == []


def test_a_process_that_stood_still_over_its_folder_begins_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken for litter before it had the lock, the folder is made anew; after that it is safe."""
    taken: list[Path] = []
    real_lock, real_write = locks.lock, module._write

    def slow_lock(path: Path) -> Any:
        if not taken:
            taken.append(path)
            os.utime(path.parent, (LONG_AGO, LONG_AGO))
            assert dead(root) == []
        return real_lock(path)

    def slow_write(path: Path, description: str) -> None:
        os.utime(path.parent, (LONG_AGO, LONG_AGO))
        assert dead(root) == []
        real_write(path, description)

    monkeypatch.setattr(module, "lock", slow_lock)
    monkeypatch.setattr(module, "_write", slow_write)
    with begin(root, describe()) as folder:
        assert is_alive(root, folder.id)
        assert [one.name for one in root.iterdir()] == [folder.id]
    assert len(taken) == 1


def test_a_folder_that_cannot_be_made_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is said, and neither a lock nor half a folder stays."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    row = describe()
    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(OSError, match="No space"):
        begin(root, row)
    assert list(root.iterdir()) == []
    monkeypatch.undo()
    begin(root, row).end()


def test_the_end_takes_the_folder_away_but_not_with_lines_in_it(root: Path) -> None:
    """What the journal did not get is left to be recovered; an empty spool is nothing."""
    folder = begin(root, describe())
    (folder.path / "spool-1.jsonl").touch()
    assert folder.end()
    assert not folder.end()
    assert list(root.iterdir()) == []

    folder = begin(root, describe())
    (folder.path / "spool-1.jsonl").write_bytes(b"{}\n")
    assert not folder.end()
    assert [one.id for one in dead(root)] == [folder.id]


def test_a_folder_that_was_deleted_has_ended(root: Path, mine: OwnFolder) -> None:
    """Whoever deleted it: there is nothing left to do, and nothing to complain of."""
    shutil.rmtree(mine.path)
    assert not is_alive(root, mine.id)
    assert mine.end()


def test_lines_count_even_if_nothing_tells_whose_they_are(root: Path) -> None:
    """Without a description, or with one that a loss of power emptied, the owner has no row."""
    emptied, bare, litter = (a_dead_owner(root).path for _ in range(3))
    (emptied / "owner.json").write_bytes(b"")
    for one in (bare, litter):
        (one / "owner.json").unlink()
    (bare / "spool-3.jsonl").write_bytes(b"{}\n")

    os.utime(litter, (LONG_AGO, LONG_AGO))
    assert [(one.path, one.owner) for one in dead(root)] == [(emptied, None), (bare, None)]
    assert not litter.exists()


@pytest.mark.parametrize("left", [None, b"", bytes(512), b'{"program":[]}'])
def test_the_first_line_of_the_spool_says_whose_it_is(root: Path, left: bytes | None) -> None:
    """Where the description is gone, or no more than a loss of power has left of it."""
    row = an_owner("one")._replace(argv=("odd \udc80",))
    with begin(root, row) as folder:
        line = owner_line(folder.description)
    described = folder.path / "owner.json"
    (whole,) = dead(root)
    described.unlink()
    if left is not None:
        described.write_bytes(left)
    (folder.path / "spool-2.jsonl").write_bytes(line + b'\n{"half')
    (folder.path / "spool-10.jsonl").write_bytes(b'{"runs":[]}\n')
    assert dead(root) == [whole]
    assert whole.owner == row
    assert decode([line]).bad == []
    assert decode([bytes(line)]) == decode([])


def test_a_folder_that_is_made_meanwhile_hides_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has another name between two looks of `glob`, which fails then on Python 3.11."""
    left = a_dead_owner(root)
    coming = root / ".new-somebody"
    coming.mkdir()
    glob = Path.glob

    def just_then(path: Path, pattern: str) -> Iterator[Path]:
        if path == coming:
            coming.rename(root / "somebody")
            os.scandir(coming)
        return glob(path, pattern)

    monkeypatch.setattr(Path, "glob", just_then)

    assert [one.id for one in dead(root)] == [left.id]
    assert not coming.exists()


def test_a_copied_folder_is_not_taken_for_the_owner(root: Path) -> None:
    """It describes somebody else."""
    found = a_dead_owner(root, an_owner("one"))
    shutil.copytree(found.path, root / "one (copy)")
    assert {one.id: one.owner for one in dead(root)} == {"one": found.owner, "one (copy)": None}


def test_owners_that_cannot_be_looked_at_are_left_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder of owners is no dead one; a lock that cannot be asked for is one that is held."""
    assert dead(root) == []
    found = a_dead_owner(root)
    (found.path / "lock").unlink()
    (found.path / "lock").symlink_to("lock")
    assert dead(root) == []
    assert is_alive(root, found.id)


def test_where_the_owners_of_a_journal_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a SQLite file, whatever name it is opened by; in the home for a server."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    beside = tmp_path.resolve() / "real.db-owners"
    assert owners_folder(f"sqlite:///{tmp_path}/link.db") == beside
    monkeypatch.chdir(tmp_path)
    assert owners_folder("sqlite:///real.db") == beside
    assert owners_folder("postgresql://host/db") == tmp_path / "home" / "owners"
    assert owners_folder("memory://") is None
    assert owners_folder(EVENTFLOW_JOURNAL_URL.value()) == tmp_path / "home/journal.db-owners"
