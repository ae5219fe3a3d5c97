"""Ports one source: reads it, rewrites it, and says what is left to do."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import libcst as cst

from eventflow.porting.checks import Checks
from eventflow.porting.findings import Finding, Ported
from eventflow.porting.imports import Statements, imports_in
from eventflow.porting.kinds import Kind, Kinds
from eventflow.porting.names import Source
from eventflow.porting.uses import uses_in

__all__ = ["definitions_of", "port_source"]

_DIRECTIVES: Final = ("# noqa", "# type:", "# pyright:", "# pragma:")


def port_source(
    source: bytes,
    imported: Mapping[str, Kind] = MappingProxyType({}),
    exported: Container[str] = (),
) -> Ported:
    """Rewrite a source for eventflow, and say what is left to do by hand.

    What is not rewritten stays as it is, to the byte.

    Args:
        source: the source, in its own encoding.
        imported: what names of other modules are, as in `{"flows.etl": "flow"}`.
        exported: the names that other modules import from it, perhaps; they keep their spelling.
    """
    try:
        tree = Source(cst.parse_module(source))
    except (cst.ParserSyntaxError, UnicodeDecodeError, SyntaxError) as error:
        return Ported(source, (_unreadable(source, error),))

    uses = uses_in(tree)
    statements, left = imports_in(tree, uses, exported)
    checks = Checks(tree, Kinds(tree, imported))
    replaced = {**uses.replaced, **checks.replaced}
    if replaced or statements:
        source = tree.module.visit(_Replacer(replaced, statements)).bytes

    return Ported(source, tuple(sorted(_told_once([*uses.left, *left, *checks.left]))))


def _told_once(findings: Sequence[Finding]) -> set[Finding]:
    """Leave out what is part of something else that is told beside it, with the same advice."""
    return {
        finding
        for finding in findings
        if not any(
            (other.line, other.advice) == (finding.line, finding.advice)
            and finding.what in other.what
            and finding.what != other.what
            for other in findings
        )
    }


def definitions_of(source: bytes) -> Mapping[str, Kind]:
    """Return the flows and tasks that a source defines at its top, by name."""
    try:
        tree = Source(cst.parse_module(source))
    except (cst.ParserSyntaxError, UnicodeDecodeError, SyntaxError):
        return {}

    return Kinds(tree, {}).definitions()


def _unreadable(source: bytes, error: Exception) -> Finding:
    """Say where Python itself would stop, which is more exact than where libcst does."""
    advice = "Correct what Python cannot read, then run this command again."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the user's own strings
            ast.parse(source)
    except SyntaxError as found:
        return Finding(found.lineno or 1, found.offset or 1, found.msg, advice)
    except ValueError as found:
        return Finding(1, 1, str(found), advice)

    return Finding(getattr(error, "raw_line", 1), 1, type(error).__name__, advice)


class _Replacer(cst.CSTTransformer):
    """Puts code in the place of nodes."""

    def __init__(self, replaced: dict[cst.CSTNode, str], statements: Statements) -> None:
        self._replaced = replaced
        self._statements = statements

    def on_leave(  # type: ignore[override]  # libcst has no type for "whatever takes its place"
        self, original_node: cst.CSTNode, updated_node: cst.CSTNode
    ) -> cst.CSTNode | cst.FlattenSentinel[cst.CSTNode]:
        code = self._replaced.get(original_node)
        if code is not None:
            return cst.parse_expression(code).with_changes(
                lpar=getattr(original_node, "lpar", ()), rpar=getattr(original_node, "rpar", ())
            )
        statements = self._statements.get(original_node)
        if statements is not None:
            return cst.FlattenSentinel(statements)
        if (
            isinstance(original_node, cst.SimpleStatementLine)
            and isinstance(updated_node, cst.SimpleStatementLine)
            and len(original_node.body) == 1 < len(updated_node.body)
        ):
            return cst.FlattenSentinel(_lines(updated_node))

        return updated_node


def _lines(line: cst.SimpleStatementLine) -> list[cst.SimpleStatementLine]:
    """Give each statement a line of its own; comments stay with the first, directives with all."""
    first, *others = (line.with_changes(body=[statement]) for statement in line.body)
    comment = line.trailing_whitespace.comment
    if comment is None or not comment.value.startswith(_DIRECTIVES):
        plain = cst.TrailingWhitespace(newline=line.trailing_whitespace.newline)
        others = [other.with_changes(trailing_whitespace=plain) for other in others]

    return [first, *(other.with_changes(leading_lines=[]) for other in others)]
