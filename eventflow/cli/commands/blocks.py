"""`eventflow block`: list, show, delete and register blocks."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eventflow.blocks import Block
from eventflow.cli.targets import load, split
from eventflow.client import BlockDocument, get_client
from eventflow.primitives.escapes import escaped_json, escaped_line

__all__ = ["block"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def block() -> None:
    """List, show, delete and register blocks."""


@block.command("ls")
@click.option("--type", "slug", metavar="SLUG", help="Only blocks of this type.")
@_as_json
def list_blocks(*, slug: str | None, as_json: bool) -> None:
    """List the saved blocks."""
    documents = asyncio.run(_documents(slug))
    if as_json:
        click.echo(_json([_plain(document) for document in documents]))
    elif not documents:
        click.echo("No blocks are saved.", err=True)
    else:
        _table(
            ["Block", "Updated", "Id"],
            [
                [_reference(document), _local_time(document), str(document.id)]
                for document in documents
            ],
        )


@block.command("inspect")
@click.argument("reference", metavar="TYPE/NAME")
@_as_json
def inspect_block(*, reference: str, as_json: bool) -> None:
    """Show a saved block, its secrets masked."""
    document = asyncio.run(_document(*_split(reference)))
    if as_json:
        click.echo(_json(_plain(document)))
        return
    rows = [
        [name, value if isinstance(value, str) else json.dumps(value)]
        for name, value in document.data.items()
    ]
    click.echo(escaped_line(f"{_reference(document)}  {document.id}"))
    _table(["Field", "Value"], rows)


@block.command("delete")
@click.argument("references", metavar="TYPE/NAME...", nargs=-1, required=True)
@_as_json
def delete_block(*, references: tuple[str, ...], as_json: bool) -> None:
    """Delete saved blocks."""
    deleted = []
    for reference in references:
        _split(reference)
        deleted.append({"block": reference, "id": str(Block.delete(reference))})
        if not as_json:
            click.echo(f"Deleted {reference}.")
    if as_json:
        click.echo(_json(deleted))


@block.command("register")
@click.argument("source", metavar="FILE.py|MODULE")
@_as_json
def register_blocks(*, source: str, as_json: bool) -> None:
    """Import a file or a module, and list the types of block that it defines."""
    kinds = _types_of(load(split(source)))
    if not kinds:
        raise click.ClickException(f"{source} defines no block; subclass eventflow.blocks.Block.")
    if as_json:
        click.echo(_json([_described(kind) for kind in kinds]))
    else:
        rows = [
            [kind.get_block_type_slug(), kind.__qualname__, ", ".join(kind.model_fields)]
            for kind in kinds
        ]
        _table(["Type", "Class", "Fields"], rows)


def _types_of(module: ModuleType) -> list[type[Block]]:
    """Return the block types that a module, or one of its submodules, defines."""
    within = f"{module.__name__}."
    kinds = [
        kind
        for kind in _subclasses(Block)
        if f"{kind.__module__}.".startswith(within) and not inspect.isabstract(kind)
    ]

    return sorted(kinds, key=lambda kind: kind.get_block_type_slug())


def _subclasses(kind: type[Block]) -> Iterator[type[Block]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _described(kind: type[Block]) -> dict[str, Any]:
    return {
        "type": kind.get_block_type_slug(),
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "fields": list(kind.model_fields),
    }


async def _documents(slug: str | None) -> list[BlockDocument]:
    async with get_client() as client:
        return await client.read_block_documents(slug)


async def _document(slug: str, name: str) -> BlockDocument:
    async with get_client() as client:
        return await client.read_block_document_by_name(name, slug)


def _split(reference: str) -> tuple[str, str]:
    slug, slash, name = reference.partition("/")
    if not slash or not slug or not name:
        raise click.UsageError(f"{reference!r} is not the name of a block; write TYPE/NAME.")

    return slug, name


def _reference(document: BlockDocument) -> str:
    return f"{document.block_type_slug}/{document.name}"


def _local_time(document: BlockDocument) -> str:
    return f"{document.updated.astimezone():%Y-%m-%d %H:%M}"


def _plain(document: BlockDocument) -> dict[str, Any]:
    return {
        "block": _reference(document),
        "id": str(document.id),
        "type": document.block_type_slug,
        "name": document.name,
        "data": dict(document.data),
        "created": document.created.isoformat(),
        "updated": document.updated.isoformat(),
    }


def _json(value: object) -> str:
    return escaped_json(json.dumps(value, indent=2, ensure_ascii=False))


def _table(titles: list[str], rows: list[list[str]]) -> None:
    """Print a table on a terminal, and lines of tab-separated fields to anything else."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(map(escaped_line, row)))
        return
    table = Table(*titles, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(escaped_line(field), overflow="fold") for field in row))
    Console().print(table)
