"""Which names in a source stand for something of Prefect, or of eventflow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import libcst as cst
from libcst.metadata import (
    MetadataWrapper,
    ParentNodeProvider,
    PositionProvider,
    QualifiedName,
    QualifiedNameSource,
    ScopeProvider,
)

from eventflow.porting.findings import Finding
from eventflow.porting.paths import MODULES, NAMES

__all__ = ["Source", "chain", "counterpart", "dotted", "known_part", "longest"]

_SHOWN_AT_MOST: Final = 60
_WORD: Final = re.compile(r"\w+")
_ANNOTATION: Final = re.compile(r"[\w.]+(\[.+\])?(\s*\|.+)?")
"""What an annotation in a string may look like; what else does is no harm."""

_OTHERWISE: Final = {
    f"{MODULES[module]}.{ours.rpartition('.')[2]}": ours
    for module, ours in ((path.rpartition(".")[0], ours) for path, ours in NAMES.items())
    if module in MODULES
}
"""Our paths by those of the same things in the modules that stand for Prefect's."""

_KNOWN: Final = {**MODULES, **NAMES}


def dotted(node: cst.BaseExpression | None) -> str | None:
    """Return a name with its attributes as text; None for another expression."""
    match node:
        case cst.Name(value=value):
            return value
        case cst.Attribute(value=value, attr=cst.Name(value=attribute)):
            prefix = dotted(value)
            return None if prefix is None else f"{prefix}.{attribute}"

    return None


def chain(node: cst.BaseExpression) -> cst.Name | None:
    """Return the name that an expression of attributes begins with."""
    while isinstance(node, cst.Attribute):
        node = node.value

    return node if isinstance(node, cst.Name) else None


def longest(path: str, known: Mapping[str, Any]) -> str | None:
    """Return the longest beginning of a dotted path that is known, if any."""
    while path and path not in known:
        path = path.rpartition(".")[0]

    return path or None


def known_part(path: str) -> str | None:
    """Return the part of a path of Prefect that has a counterpart here, if any has."""
    known = longest(path, _KNOWN)
    if known is None or (known in MODULES and known != path):
        return None  # of a module, but not what is asked of it

    return known


def counterpart(known: str) -> str:
    """Return the path here of what has one."""
    return _KNOWN[known]


class Source:
    """The syntax tree of a source, and what is known of its names."""

    def __init__(self, module: cst.Module) -> None:
        self._wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
        self.module: Final = self._wrapper.module
        known = self._wrapper.resolve_many([ParentNodeProvider, PositionProvider, ScopeProvider])
        self._parents: Mapping[cst.CSTNode, Any] = known[ParentNodeProvider]
        self._positions: Mapping[cst.CSTNode, Any] = known[PositionProvider]
        self._scopes: Mapping[cst.CSTNode, Any] = known[ScopeProvider]
        words = _Words()
        self.module.visit(words)
        self.named: Final = frozenset(words.named)
        """Every name in the source, whatever it is used for."""
        self.quoted: Final = frozenset(words.quoted)
        """The words of strings that may be annotations."""

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around a node."""
        return self._parents.get(node)

    def parents(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """Yield the nodes around a node, from the innermost on."""
        around = self.parent(node)
        while around is not None:
            yield around
            around = self.parent(around)

    def scope(self, node: cst.CSTNode) -> Any:
        """Return the scope that a name is looked up in."""
        return self._scopes.get(node)

    def path(self, node: cst.BaseExpression) -> str | None:
        """Return the whole path of what an expression was imported as; None for anything else."""
        root = chain(node)
        if root is None or not self._is_read(root):
            return None
        scope = self.scope(root)
        names = () if scope is None else scope.get_qualified_names_for(node)
        imported = {name.name for name in names if _is_imported(name)}

        return imported.pop() if len(imported) == 1 else None

    def ours(self, node: cst.BaseExpression) -> str | None:
        """Return the path here of what an expression stands for, before or after it is ported."""
        path = self.path(node)
        if path is None:
            return None
        if path.partition(".")[0] == "eventflow":
            known = longest(path, _OTHERWISE)
            return path if known is None else _OTHERWISE[known] + path[len(known) :]
        known = known_part(path)

        return None if known is None else counterpart(known) + path[len(known) :]

    def is_whole(self, node: cst.BaseExpression) -> bool:
        """Return whether a name or an attribute is not part of a longer one."""
        parent = self.parent(node)

        return not (isinstance(parent, cst.Attribute) and parent.value is node)

    def finding(self, node: cst.CSTNode, advice: str, at: cst.CSTNode | None = None) -> Finding:
        """Make a finding about a node, at the place where it begins, or where `at` does."""
        start = self._positions[at or node].start
        code = " ".join(self.module.code_for_node(node).split()).rstrip(" ,")
        if len(code) > _SHOWN_AT_MOST and at is not None:
            code = f"(…).{self.module.code_for_node(at)}"
        elif len(code) > _SHOWN_AT_MOST:
            code = code[: _SHOWN_AT_MOST - 1] + "…"

        return Finding(start.line, start.column + 1, code, advice)

    def _is_read(self, name: cst.Name) -> bool:
        match self.parent(name):
            case cst.Attribute(attr=attribute):
                return attribute is not name
            case cst.Arg(keyword=keyword):
                return keyword is not name
            case cst.Param(name=parameter):
                return parameter is not name
            case cst.FunctionDef() | cst.ClassDef() | cst.ImportAlias() | cst.AsName():
                return False
            case cst.ImportFrom() | cst.NameItem():
                return False

        return True


def _is_imported(name: QualifiedName) -> bool:
    return name.source is QualifiedNameSource.IMPORT


class _Words(cst.CSTVisitor):
    """Collects every name that a source uses, whatever for, and those in its strings."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.quoted: set[str] = set()

    def visit_Name(self, node: cst.Name) -> None:
        self.named.add(node.value)

    def visit_SimpleString(self, node: cst.SimpleString) -> None:
        text = node.raw_value
        if _ANNOTATION.fullmatch(text) and not text.isupper():
            self.quoted.update(_WORD.findall(text))
