"""Programs in the manner of Prefect's documentation are ported, run, and give the same."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest

from eventflow.porting.project import port_project
from tests.porting.conftest import FOLDER, prints, run

PROGRAMS = sorted((FOLDER / "programs").glob("*.py"))
PENDING = {"caching", "etl", "states"}
WHOLE = [program for program in PROGRAMS if program.stem != "deployments"]

every_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
every_whole_program = pytest.mark.parametrize(
    "program", [one for one in WHOLE if one.stem not in PENDING], ids=lambda path: path.stem
)


def ported(program: Path, folder: Path) -> Path:
    """Port a copy of a program."""
    copy = Path(shutil.copy(program, folder))
    list(port_project([copy], write=True))

    return copy


def test_there_are_more_than_a_dozen() -> None:
    assert len(WHOLE) > 12


@every_whole_program
def test_a_program_gives_the_same_once_it_is_ported(
    program: Path, tmp_path: Path, shop: str
) -> None:
    """What it prints is what its author expects of Prefect."""
    expected = prints(program.read_text())
    assert expected

    ended = run(ported(program, tmp_path), shop)

    assert ended.stdout == expected, ended.stderr
    assert ended.returncode == 0, ended.stderr


@every_whole_program
def test_nothing_is_left_to_do_in_it(program: Path) -> None:
    (file,) = port_project([program])
    assert file.left == ()


@every_program
def test_a_second_time_changes_nothing(program: Path, tmp_path: Path) -> None:
    """And tells the same again."""
    copy = Path(shutil.copy(program, tmp_path))
    (first,) = port_project([copy], write=True)
    (second,) = port_project([copy], write=True)

    assert first.is_changed
    assert not second.is_changed
    assert second.left == first.left


@every_program
def test_only_what_names_prefect_is_changed(program: Path, tmp_path: Path) -> None:
    """Every other line stays as it is, comments among them."""
    before = program.read_text().splitlines()
    after = ported(program, tmp_path).read_text().splitlines()
    removed = [line[2:] for line in difflib.ndiff(before, after) if line.startswith("- ")]

    assert removed
    assert [line for line in removed if "prefect" not in line.lower()] == []
