"""Claims: of an owner and its guardian, one delivers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eventflow.owners.claims import claim, is_guardians, release


@pytest.mark.parametrize("first", ["owner", "guardian"])
def test_whoever_is_first_has_it(tmp_path: Path, first: str) -> None:
    """The guardian also if an earlier process of its own has claimed it."""
    guardian = first == "guardian"

    assert claim(tmp_path, "a", guardian=guardian)
    assert not claim(tmp_path, "a", guardian=not guardian)
    assert claim(tmp_path, "a", guardian=guardian) == guardian
    assert is_guardians(tmp_path, "a") == guardian
    assert claim(tmp_path, "b")


def test_a_claim_that_is_released_leaves_nothing(tmp_path: Path) -> None:
    """The outcome is recorded by then."""
    assert claim(tmp_path, "a")
    release(tmp_path, "a")
    release(tmp_path, "a")

    assert not [*tmp_path.iterdir()]
    assert not is_guardians(tmp_path, "a")


def test_without_a_folder_only_the_owner_delivers(tmp_path: Path) -> None:
    """It may be full, or gone."""
    gone = tmp_path / "gone"

    assert claim(gone, "a")
    assert not claim(gone, "a", guardian=True)


def test_of_many_at_once_one_has_it(tmp_path: Path) -> None:
    """A thousand times."""
    with ThreadPoolExecutor(2) as pool:
        for number in range(1000):
            racing = [
                pool.submit(claim, tmp_path, str(number), guardian=guardian)
                for guardian in (False, True)
            ]
            assert sum(each.result() for each in racing) == 1
