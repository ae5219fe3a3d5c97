"""Workloads under valgrind, as a program: what each side executes lies between two marks.

Valgrind writes down how many instructions were executed since the last one at each call of `mark`,
a function that nothing else calls. The arguments are names of workloads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

__all__ = ["IMPORT", "MARK", "main"]

MARK: Final = "getloadavg"
"""The function of the C library that `mark` calls."""

IMPORT: Final = "import"
"""The name of what is counted first: the import of eventflow, against that of its dependencies."""

DEPENDENCIES: Final = ("anyio", "blinker", "pydantic", "structlog")

LOOPS: Final = 20
"""How often each side does its piece of work."""

mark = os.getloadavg


def main(names: Sequence[str]) -> None:
    """Do what is to be counted: mark, floor, mark, ours, mark; the imports first."""
    mark()
    for name in DEPENDENCIES:
        import_module(name)
    mark()
    import_module("eventflow")
    mark()
    # Only now: it imports eventflow.
    import_module("benchmarks.counting").run(names, LOOPS, mark)


if __name__ == "__main__":
    main(sys.argv[1:])
