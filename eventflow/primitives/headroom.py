"""Begin no run where the stack has no room left for the engine to bring it to its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

__all__ = ["require_headroom"]

RESERVE: Final = 200
"""How many calls the engine, the journal and a hook may be deep."""

if sys.version_info >= (3, 12):
    # Gives None where the stack is not so deep; `_getframe` raises, which takes longer.
    _is_deeper: Final[Callable[[int], object]] = sys._getframemodulename  # noqa: SLF001 - nothing else tells

else:

    def _is_deeper(depth: int) -> bool:
        try:
            sys._getframe(depth)  # noqa: SLF001 - nothing else tells
        except ValueError:
            return False

        return True


def require_headroom(name: str) -> None:
    """Refuse to begin a run of a definition so close to the limit of recursion.

    Raises:
        RecursionError: fewer than 200 calls are left, or a quarter of the limit if that is less.
    """
    limit = sys.getrecursionlimit()
    if _is_deeper(limit - min(RESERVE, limit // 4)):
        raise RecursionError(
            f"{name} is called so close to the limit of recursion ({limit} calls) that its run "
            "could not be brought to its end; sys.setrecursionlimit() raises the limit."
        )
