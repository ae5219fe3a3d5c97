"""The command line: `eventflow`, with an error where its optional packages are missing."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from eventflow.errors import MissingExtraError

__all__ = ["main"]


def main() -> None:
    """Run the command line and end the process with its exit code."""
    for package in ("click", "rich"):
        if find_spec(package) is None:
            print(MissingExtraError("The command line", package, "cli"), file=sys.stderr)
            sys.exit(2)

    # Imported this late because the commands import packages that may not be installed.
    import_module("eventflow.cli.app").app(prog_name="eventflow")
