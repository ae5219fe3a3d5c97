"""What is left to do about the files of a project that are no Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from eventflow.porting.findings import Finding
from eventflow.porting.gaps import advice_on_name

__all__ = ["is_document", "left_in_document"]

_KEY: Final = re.compile(r"^[ -]*(\w+):")
_KEYS: Final[Mapping[str, str]] = {
    "build": "prefect.workers",
    "entrypoint": "prefect.deployments",
    "push": "prefect.workers",
    "pull": "prefect.workers",
    "schedule": "prefect.schedules",
    "schedules": "prefect.schedules",
    "work_pool": "prefect.workers",
}
"""The keys of a file of deployments, and what there is no counterpart of."""


def is_document(path: Path) -> bool:
    """Return whether a file is one that `left_in_document` knows about."""
    return path.name in _NAMED or path.suffix == ".ipynb"


def left_in_document(path: Path, text: bytes) -> tuple[Finding, ...]:
    """Say what is left to do about a file; it is never rewritten."""
    lines = text.decode("utf-8", "replace").splitlines()

    return tuple(_NAMED.get(path.name, _in_notebook)(lines))


def _in_deployments(lines: list[str]) -> Iterator[Finding]:
    for number, line in enumerate(lines, 1):
        key = _KEY.match(line)
        if key is not None and key[1] in _KEYS:
            advice = advice_on_name(_KEYS[key[1]])
            yield Finding(number, key.start(1) + 1, line.strip(), advice)


def _in_settings(lines: list[str]) -> Iterator[Finding]:
    advice = "Settings are in config.toml of the home, or in the environment: see the README."
    for number, line in enumerate(lines, 1):
        if "=" in line and not line.lstrip().startswith("#"):
            yield Finding(number, 1, line.partition("=")[0].strip(), advice)


def _in_notebook(lines: list[str]) -> Iterator[Finding]:
    advice = "Export the notebook as a script, by `jupyter nbconvert --to script`, and port that."
    number = next((number for number, line in enumerate(lines, 1) if "prefect" in line), None)
    if number is not None:
        yield Finding(number, 1, "a notebook", advice)


_NAMED: Final[Mapping[str, Callable[[list[str]], Iterator[Finding]]]] = {
    "prefect.toml": _in_settings,
    "prefect.yaml": _in_deployments,
}
