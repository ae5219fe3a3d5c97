"""Running an example as its reader would: its own process, a home of its own, no real `gcloud`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
TOOLS = Path(__file__).parent
API_URL = "https://flows.example.com"
TIMEOUT_SECONDS = 60
TOLD = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (INFO |ERROR)   \S+ +(Started$|\w+ (in|after) )")


@dataclass
class Result:
    """The exit status of a script, its output, and the events it published."""

    status: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]]

    def unexpected(self) -> list[str]:
        """Return the lines of stderr that do not tell of the start or the end of a run."""
        return [line for line in self.stderr.splitlines() if not TOLD.match(line)]

    def states(self, run_type: str) -> list[str]:
        """Return the names of the states that runs of this type entered, in order."""
        return [
            event["to_state"]["name"]
            for event in self.events
            if event.get("run_type") == run_type and "to_state" in event
        ]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one type."""
        return [event for event in self.events if event["type"] == kind]


@dataclass
class Sandbox:
    """A home of its own, with a `gcloud` on the PATH that only records its arguments."""

    folder: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("EVENTFLOW_")
        }
        self.environment = inherited | {
            "HOME": str(self.folder),
            "EVENTFLOW_HOME": str(self.home),
            "EVENTFLOW_API_URL": API_URL,
            "GCLOUD_RECORD": str(self.folder / "gcloud.txt"),
            "PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}",
        }

    @property
    def home(self) -> Path:
        """Where the script keeps what it saves."""
        return self.folder / "home"

    def gcloud_calls(self) -> list[str]:
        """Return the command lines that `gcloud` was called with."""
        record = self.folder / "gcloud.txt"
        return record.read_text().splitlines() if record.exists() else []

    def run(self, script: str) -> Result:
        """Run an example to its end, with warnings as errors."""
        # An example deletes things with whatever `gcloud` is on the PATH: never a real one.
        assert shutil.which("gcloud", path=self.environment["PATH"]) == str(TOOLS / "gcloud")
        record = self.folder / "events.jsonl"
        options = ["-W", "error", str(TOOLS / "recorded.py"), str(record)]
        process = self.python(*options, str(EXAMPLES / script))
        lines = record.read_text().splitlines() if record.exists() else []
        events = [json.loads(line) for line in lines]

        return Result(process.returncode, process.stdout, process.stderr, events)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the sandbox."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
