"""Files of this user only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.primitives import private_files
from eventflow.primitives.private_files import (
    foreign_owner,
    make_folder,
    open_file,
    refuse_foreign,
)

unix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="files have no user there")


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@unix
@pytest.mark.usefixtures("open_umask")
def test_a_folder_and_its_new_parents_are_private(tmp_path: Path) -> None:
    """A folder that exists keeps its mode."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "a" / "b" / "c"
    make_folder(folder)
    make_folder(folder)
    assert [mode(path) for path in (folder, folder.parent, folder.parent.parent)] == [0o700] * 3
    assert mode(tmp_path) == 0o755


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    """It is an error, also in the place of a parent."""
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "folder")


@unix
@pytest.mark.usefixtures("open_umask")
def test_a_new_file_is_private(tmp_path: Path) -> None:
    """Its bytes are written as they are."""
    descriptor = open_file(tmp_path / "file", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"\n")
    os.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"\n"
    assert mode(tmp_path / "file") == 0o600


@unix
def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a link to it; the error names the file, its user and what to do."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(file)
    refuse_foreign(file)
    assert foreign_owner(link) is None
    assert foreign_owner(tmp_path / "missing") is None
    monkeypatch.setattr(
        private_files, "_trusted_users", lambda: frozenset({file.stat().st_uid + 1})
    )
    for path in (file, link):
        with pytest.raises(PermissionError, match=rf"{path} belongs to another user \(id \d+\)"):
            refuse_foreign(path)
