"""Ports the files of a project: finds them, and writes what has changed."""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from eventflow.errors import MissingExtraError
from eventflow.porting.documents import is_document, left_in_document
from eventflow.porting.findings import Finding, Ported

__all__ = ["PortedFile", "port_project"]

_OURS: Final = re.compile(rb"prefect|eventflow", re.IGNORECASE)
"""What a source names that has anything to be ported, or that defines flows and tasks."""

_OF_PREFECT: Final = re.compile(r"prefect\b")
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclass(frozen=True, slots=True)
class PortedFile:
    """A file, how it was, how it is to be, and what is left to do in it by hand."""

    path: Path
    before: bytes
    after: bytes
    left: tuple[Finding, ...]

    @property
    def is_changed(self) -> bool:
        """Whether anything is rewritten."""
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff."""
        before, after = (
            text.decode("utf-8", "backslashreplace").splitlines(keepends=True)
            for text in (self.before, self.after)
        )
        lines = difflib.unified_diff(before, after, str(self.path), str(self.path))

        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def port_project(paths: Iterable[Path], *, write: bool = False) -> Iterator[PortedFile]:
    """Port Python files, and all that are in folders and not hidden.

    Deployments in a prefect.yaml, settings in a prefect.toml and notebooks are left to be done.

    With `write` the files are written, and what is left to do is given with its lines in there.

    Raises:
        MissingExtraError: libcst is not installed.
        OSError: a file cannot be read or written.
    """
    if find_spec("libcst") is None:
        raise MissingExtraError("`eventflow port`", "libcst", "port")
    # Imported this late because it needs a package that may not be installed.
    rewriting = import_module("eventflow.porting.rewriting")
    sources = {path: path.read_bytes() for path in _files(paths)}
    definitions = {
        f"{path.parent.name if path.stem == '__init__' else path.stem}.{name}": kind
        for path, source in sources.items()
        if _OURS.search(source) and not is_document(path)
        for name, kind in rewriting.definitions_of(source).items()
    }
    exported = {name for source in sources.values() for name in _imported_names(source)}
    for path, before in sources.items():
        after, left = before, tuple[Finding, ...]()
        if is_document(path):
            left = left_in_document(path, before)
        elif _OURS.search(before) or any(name in before for name in _last(definitions)):
            ported: Ported = rewriting.port_source(before, definitions, exported)
            after, left = ported.source, ported.left
            if write and after != before:
                path.write_bytes(after)
                left = rewriting.port_source(after, definitions, exported).left
        yield PortedFile(path, before, after, left)


def _imported_names(source: bytes) -> Iterator[str]:
    """Yield the names that a source imports from other modules than those of Prefect."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the user's own strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not _OF_PREFECT.match(node.module or ""):
            yield from (alias.name for alias in node.names)


def _last(paths: Iterable[str]) -> set[bytes]:
    return {path.rpartition(".")[2].encode() for path in paths}


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield each file once, sorted within its folder."""
    seen: set[Path] = set()
    for path in paths:
        for file in _files_in(path) if path.is_dir() else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file


def _files_in(folder: Path) -> Iterator[Path]:
    entries = sorted(folder.iterdir())
    if any(entry.name == "pyvenv.cfg" for entry in entries):
        return  # an environment, of other people's code
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files_in(entry)
        elif (entry.suffix == ".py" or is_document(entry)) and entry.is_file():
            yield entry
