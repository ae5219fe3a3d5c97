"""Output of commands: tables on a terminal, aligned columns in a pipe, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventflow.cli.display.styles import escaped_text, first_line
from eventflow.primitives.escapes import escaped_json

__all__ = ["as_json", "print_block", "print_facts", "print_json", "print_line", "show_table"]

F = TypeVar("F")

GAP: Final = "  "

_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def as_json(command: F) -> F:
    """Add the option `--json` to a command."""
    return _option(command)  # type: ignore[type-var]  # whatever click takes


def print_json(value: object) -> None:
    """Print a value as one JSON document."""
    click.echo(escaped_json(json.dumps(value, indent=2, ensure_ascii=False)))


def show_table(titles: Sequence[str], rows: Sequence[Sequence[Text | str]]) -> None:
    """Print rows: a table that fits a terminal, or else lines of aligned columns.

    A title that begins with `>` is for numbers, which are aligned to the right.
    """
    if not rows:
        return
    cells = [[_text(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_table(titles, cells)
    else:
        _print_lines(titles, cells)


def _text(cell: Text | str) -> Text:
    return escaped_text(cell) if isinstance(cell, Text) else Text(first_line(cell))


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    table = Table(box=None, header_style="bold bright_black", pad_edge=False, padding=(0, 2, 0, 0))
    last = len(titles) - 1
    for place, title in enumerate(titles):
        right = title.startswith(">")
        # The first column is for copying and is never cut, nor are numbers; the last is folded, so
        # that it can be read to its end; all others are cut where there is no room.
        folds = place == last and not right
        widest = max(row[place].cell_len for row in rows)
        table.add_column(
            title.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
            min_width=widest if right or place == 0 else None,
        )
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)


def _print_lines(titles: Sequence[str], rows: Sequence[Sequence[Text]]) -> None:
    head = [title.removeprefix(">").upper() for title in titles]
    plain = [head, *([cell.plain for cell in row] for row in rows)]
    widths = [max(cell_len(row[place]) for row in plain) for place in range(len(titles))]
    rights = [title.startswith(">") for title in titles]
    for row in plain:
        padded = [
            " " * (width - cell_len(cell)) + cell
            if right
            else cell + " " * (width - cell_len(cell))
            for cell, width, right in zip(row, widths, rights, strict=True)
        ]
        click.echo(GAP.join(padded).rstrip())


def print_facts(facts: Mapping[str, Text | str | None]) -> None:
    """Print facts as lines of name and value; those without a value are omitted."""
    known = {name: value for name, value in facts.items() if value}
    width = max(map(len, known), default=0)
    for name, value in known.items():
        label = Text(f"{name:<{width}}{GAP}", "bright_black")
        print_line(Text.assemble(label, value if isinstance(value, Text) else str(value)))


def print_line(line: Text | str, console: Console | None = None) -> None:
    """Print one line, its control characters escaped; a terminal wraps it, a pipe gets it whole."""
    shown = escaped_text(line if isinstance(line, Text) else Text(line))
    (console or Console()).print(shown, soft_wrap=True, markup=False, highlight=False)


def print_block(text: str, style: str) -> None:
    """Print a text of several lines, indented, its control characters escaped."""
    for line in text.splitlines():
        print_line(Text(f"  {line}", style))
