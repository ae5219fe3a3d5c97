"""Processes at full speed that are killed at any moment lose nothing."""

from __future__ import annotations

from pathlib import Path

from tests.crash.kills import Explorer

SEEDS = range(1, 4)
AT_ONCE = 4


def test_random_kills(tmp_path: Path) -> None:
    """Several processes share a journal, and each is killed after a random moment.

    A failure shows its seed: the same seed gives the same moments, and nearly the same runs until
    then. `python -m tests.crash.explorer --random 1000` kills more.
    """
    explorer = Explorer(tmp_path)
    try:
        outcomes = list(explorer.random(SEEDS, AT_ONCE))
    finally:
        explorer.close()

    violations = [outcome.violations for outcome in outcomes]
    assert dict(zip(SEEDS, violations, strict=True)) == {seed: [] for seed in SEEDS}
    assert sum(outcome.kills for outcome in outcomes) > len(SEEDS)
