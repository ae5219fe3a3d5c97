"""A program to run workloads under valgrind: the work of each side lies between two marks.

At each call of `mark`, a function that nothing else calls, valgrind writes the number of
instructions executed since the last call. The arguments are names of workloads.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

__all__ = ["IMPORT", "MARK", "NAMES", "main"]

MARK: Final = "getloadavg"
"""The function of the C library that `mark` calls."""

IMPORT: Final = "import"
"""The name of the first count: the import of eventflow, against that of its dependencies."""

NAMES: Final = "import.names"
"""The name of the second: of what most programs take from it, which is loaded on its first use."""

TAKEN: Final = ("flow", "hook", "task")

DEPENDENCIES: Final = ("anyio", "blinker", "pydantic", "structlog")

LOOPS: Final = 20
"""How many times each side does its piece of work."""

mark = os.getloadavg


def main(names: Sequence[str]) -> None:
    """Run the imports and then the workloads, each as mark, floor, mark, ours, mark."""
    mark()
    for name in DEPENDENCIES:
        import_module(name)
    mark()
    ours = import_module("eventflow")
    mark()
    for name in TAKEN:
        getattr(ours, name)
    mark()
    # Imported this late because it imports eventflow.
    import_module("benchmarks.counting").run(names, LOOPS, mark)


if __name__ == "__main__":
    main(sys.argv[1:])
