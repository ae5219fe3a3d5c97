"""Programs in the manner of Prefect's documentation are ported, run, and give the same."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from eventflow.porting.project import PortedFile, port_project
from tests.porting.conftest import FOLDER, prints, run

PROGRAMS = sorted(path.stem for path in (FOLDER / "programs").glob("*.py"))
WHOLE = [program for program in PROGRAMS if program != "deployments"]

every_program = pytest.mark.parametrize("program", PROGRAMS)
every_whole_program = pytest.mark.parametrize("program", WHOLE)


class Port(NamedTuple):
    """A program that was ported twice."""

    first: PortedFile
    second: PortedFile


@pytest.fixture(scope="module")
def ported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Port]:
    """Return copies of all programs, by their names."""
    folder = tmp_path_factory.mktemp("ported") / "programs"
    shutil.copytree(FOLDER / "programs", folder, ignore=shutil.ignore_patterns("__pycache__"))
    both = [list(port_project([folder], write=True)) for _ in range(2)]

    return {files[0].path.stem: Port(*files) for files in zip(*both, strict=True)}


def test_there_are_more_than_a_dozen() -> None:
    assert len(WHOLE) > 12


@every_whole_program
def test_a_program_gives_the_same_once_it_is_ported(
    ported: dict[str, Port], program: str, tmp_path: Path, shop: str
) -> None:
    """What it prints is what its author expects of Prefect."""
    script = tmp_path / f"{program}.py"
    script.write_bytes(ported[program].first.after)
    expected = prints(script.read_text())
    assert expected

    ended = run(script, shop)

    assert ended.stdout == expected, ended.stderr
    assert ended.returncode == 0, ended.stderr


@every_whole_program
def test_nothing_is_left_to_do_in_it(ported: dict[str, Port], program: str) -> None:
    assert ported[program].first.left == ()


@every_program
def test_a_second_time_changes_nothing(ported: dict[str, Port], program: str) -> None:
    """And tells the same again."""
    first, second = ported[program]

    assert first.is_changed
    assert not second.is_changed
    assert second.left == first.left


@every_program
def test_only_what_names_prefect_is_changed(ported: dict[str, Port], program: str) -> None:
    """Every other line stays as it is, comments among them."""
    file = ported[program].first
    before, after = file.before.decode().splitlines(), file.after.decode().splitlines()
    removed = [line[2:] for line in difflib.ndiff(before, after) if line.startswith("- ")]

    assert removed
    assert [line for line in removed if "prefect" not in line.lower()] == []
