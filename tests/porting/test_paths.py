"""Every path of the table leads somewhere, and the guide has the table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from eventflow.porting.paths import MODULES, NAMES, RENAMED, SETTINGS, SYMBOLS
from eventflow.settings import SETTINGS as OURS

README = (Path(__file__).parents[2] / "README.md").read_text()


def found(path: str) -> Any:
    """Import what a path names."""
    module, _, name = path.rpartition(".")

    return getattr(import_module(module), name)


@pytest.mark.parametrize("path", sorted(set(NAMES.values())))
def test_a_name_of_ours_can_be_imported(path: str) -> None:
    assert found(path) is not None


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_a_module_of_ours_can_be_imported(module: str) -> None:
    assert import_module(module).__name__ == module


def last(path: str) -> str:
    """Return the name itself, without where it is."""
    return path.rpartition(".")[2]


ALIKE = [path for path in NAMES if last(path) == last(NAMES[path])]


@pytest.mark.parametrize("path", ALIKE)
def test_a_name_is_also_in_the_module_that_stands_for_its_own(path: str) -> None:
    """So `import prefect.futures as f` can become another import, and `f.wait` stays."""
    module, _, name = path.rpartition(".")
    assert getattr(import_module(MODULES[module]), name) is found(NAMES[path])


@pytest.mark.parametrize("setting", SETTINGS.values())
def test_a_setting_of_ours_is_one(setting: str) -> None:
    assert setting in OURS


def rows() -> list[str]:
    """Return the table of paths, as the guide is to have it."""
    alike = [
        (f"`{same.theirs}`: {', '.join(f'`{name}`' for name in same.names)}", f"`{same.ours}`")
        for same in SYMBOLS
    ]
    renamed = [(f"`{theirs}`", f"`{ours}`") for theirs, ours in RENAMED.items()]

    return [f"| {theirs} | {ours} |" for theirs, ours in (*alike, *renamed)]


def test_the_guide_has_the_table_of_paths() -> None:
    table = README.partition("| Prefect's path | ours |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows()
