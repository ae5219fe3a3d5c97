"""Run a script as its reader would, and write every event that it publishes to a file."""

import runpy
import sys
from pathlib import Path

from eventflow import Event, bus


def main(record: str, script: str, *arguments: str) -> None:
    """Run the script with these arguments; the record has one line of JSON for each event."""
    with Path(record).open("w", buffering=1) as file:

        def write(event: Event) -> None:
            print(event.model_dump_json(), file=file)

        bus.subscribe(write)
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
