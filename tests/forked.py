"""What a forked child of the tests says."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["in_a_fork"]


def in_a_fork(body: Callable[[], bool]) -> bool:
    """Say what a body says in a forked child, which ends with it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if body() else 1
        finally:
            os._exit(status)

    return os.waitpid(child, 0)[1] == 0
