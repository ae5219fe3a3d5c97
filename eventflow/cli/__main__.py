"""`python -m eventflow.cli`: the same as `eventflow`."""

from __future__ import annotations

from eventflow.cli import main

if __name__ == "__main__":
    main()
