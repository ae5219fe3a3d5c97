"""The peers' own virtual environments: made on demand from pinned requirements."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from benchmarks.peers.works import Side

__all__ = ["REQUIREMENTS", "Environments", "NoEnvironment", "default_folder"]

REQUIREMENTS: Final = Path(__file__).parent / "requirements"


class NoEnvironment(Exception):
    """An environment could not be made; the message ends with the output of what failed."""

    def __init__(self, package: str, output: str) -> None:
        end = output.strip()[-1_000:]
        super().__init__(f"No environment could be made for {package}:\n{end}")


def default_folder() -> Path:
    """Return the folder among the user's caches where the environments are kept."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"

    return Path(caches) / "eventflow-benchmarks"


@dataclass(frozen=True, slots=True)
class Environments:
    """The environments in one folder; other pins make another environment."""

    folder: Path

    def python_of(self, side: Side) -> Path:
        """Return the interpreter for a side, after making its environment if there is none yet.

        Our own sides run in the environment of this process.

        Raises:
            NoEnvironment: it could not be made.
        """
        if side.ours:
            return Path(sys.executable)
        requirements = REQUIREMENTS / f"{side.package}.txt"
        place = self.folder / f"{side.package}-{_mark(requirements)}"
        ready = place / "ready"
        if not ready.exists():
            print(f"Making an environment for {side.package} in {place}", file=sys.stderr)
            _make(side.package, place, requirements)
            ready.touch()

        return place / "bin" / "python"


def _mark(requirements: Path) -> str:
    """Return a mark of the pins and of the Python version."""
    pinned = requirements.read_text() + sys.version

    return sha256(pinned.encode()).hexdigest()[:12]


def _make(package: str, place: Path, requirements: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    python = str(place / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(place)],
        [*install, "--requirement", str(requirements)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoEnvironment(package, done.stderr)
