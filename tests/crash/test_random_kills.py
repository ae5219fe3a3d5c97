"""Processes at full speed that are killed at any moment lose nothing."""

from __future__ import annotations

from pathlib import Path

from tests.crash.kills import Explorer

SEEDS = range(1, 4)
AT_ONCE = 4


def test_random_kills(tmp_path: Path) -> None:
    """Of several that share a journal, each killed after a random moment, nothing is lost.

    What fails is said with its seed, to be tried again; the moments are the same then, and what
    happens until then is nearly so. `python -m tests.crash.explorer --random 1000` kills more.
    """
    explorer = Explorer(tmp_path)
    try:
        outcomes = list(explorer.random(SEEDS, AT_ONCE))
    finally:
        explorer.close()

    found = {seed: one.violations for seed, one in zip(SEEDS, outcomes, strict=True)}
    assert found == {seed: [] for seed in SEEDS}
    assert sum(one.kills for one in outcomes) > len(SEEDS)
