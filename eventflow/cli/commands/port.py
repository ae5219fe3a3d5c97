"""`eventflow port`: rewrites programs that were written for Prefect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from eventflow.cli.display.tables import as_json, print_json, print_line, show_table
from eventflow.porting.findings import Finding
from eventflow.porting.project import PortedFile, port_project

__all__ = ["port"]


@click.command()
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option("--diff", "as_diff", is_flag=True, help="Print the changes.")
@click.option("--write", is_flag=True, help="Make the changes.")
@as_json
@click.pass_context
def port(
    ctx: click.Context, *, paths: tuple[Path, ...], as_diff: bool, write: bool, as_json: bool
) -> None:
    """Rewrite programs that were written for Prefect.

    PATH is a Python file, or a folder. Imports, settings and what is read from `prefect.runtime`
    are rewritten; comments and layout stay. What has no counterpart stays as it is and is listed,
    with what to do about it. Without --write no file changes.

    Ends with 1 if something is left to do by hand.
    """
    files = list(port_project(paths, write=write))
    if as_json:
        print_json([_document(file, is_written=write) for file in files if _matters(file)])
    else:
        if as_diff:
            _show_diffs(files)
        _show_left([(file, finding) for file in files for finding in file.left])
        click.echo(_summary(files, is_written=write), err=True)
    ctx.exit(1 if any(file.left for file in files) else 0)


def _matters(file: PortedFile) -> bool:
    return file.is_changed or bool(file.left)


def _document(file: PortedFile, *, is_written: bool) -> dict[str, Any]:
    return {
        "file": str(file.path),
        "changed": file.is_changed,
        "written": file.is_changed and is_written,
        "diff": file.diff(),
        "left": [
            {
                "line": finding.line,
                "column": finding.column,
                "what": finding.what,
                "advice": finding.advice,
            }
            for finding in file.left
        ],
    }


def _show_diffs(files: Sequence[PortedFile]) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for file in files:
        for line in file.diff().splitlines():
            print_line(Text(line, styles.get(line[:1], "")))


def _show_left(left: Sequence[tuple[PortedFile, Finding]]) -> None:
    show_table(
        ["Left to do in", "What", "How"],
        [[f"{file.path}:{found.line}", found.what, found.advice] for file, found in left],
    )


def _summary(files: Sequence[PortedFile], *, is_written: bool) -> str:
    changed = sum(file.is_changed for file in files)
    left = sum(len(file.left) for file in files)
    if not changed:
        first = f"Nothing to rewrite in {_count(len(files), 'file')}"
    elif is_written:
        first = f"{_count(changed, 'file')} of {len(files)} rewritten"
    else:
        first = f"{_count(changed, 'file')} of {len(files)} to be rewritten, by --write"

    return f"{first}; {_count(left, 'place')} left to do by hand."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
