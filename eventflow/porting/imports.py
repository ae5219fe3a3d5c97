"""Import statements of Prefect, rewritten."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

import libcst as cst

from eventflow.porting.findings import Finding
from eventflow.porting.gaps import advice_on_name
from eventflow.porting.names import Source, dotted
from eventflow.porting.paths import MODULES, NAMES
from eventflow.porting.uses import Uses, is_of_an_integration, is_of_prefect

__all__ = ["Statements", "imports_in"]

Statement = cst.Import | cst.ImportFrom
Statements = dict[cst.CSTNode, list[Statement]]
"""What takes the place of each import statement that changes."""


def imports_in(
    source: Source, uses: Uses, exported: Container[str]
) -> tuple[Statements, list[Finding]]:
    """Rewrite the import statements of a source; tell of what has no counterpart."""
    rewriter = _Rewriter(source, uses, exported)
    source.module.visit(rewriter)

    return rewriter.statements, rewriter.left


class _Rewriter(cst.CSTVisitor):
    """Rewrites import statements, one after another."""

    def __init__(self, source: Source, uses: Uses, exported: Container[str]) -> None:
        self.source: Final = source
        self.uses: Final = uses
        self._exported: Final = exported
        self.statements: Statements = {}
        self.left: list[Finding] = []
        self._missing: Final = set(uses.modules)
        self._renamed: dict[str, str] = {}

    def visit_Module(self, node: cst.Module) -> None:
        """Leave out what the statements that there are will import."""
        imported = _Imported(self.uses.kept)
        node.visit(imported)
        covered = {one for one in self._missing if _is_covered(one, imported.modules)}
        self._missing.difference_update(covered)

    def visit_Import(self, node: cst.Import) -> bool:
        aliases: list[cst.ImportAlias] = []
        for alias in node.names:
            aliases += self._modules(alias)
        if aliases != list(node.names):
            self.statements[node] = [cst.Import(names=[_plain(alias)]) for alias in aliases]

        return False

    def _modules(self, alias: cst.ImportAlias) -> list[cst.ImportAlias]:
        """Return what takes the place of a module in an `import`."""
        path = dotted(alias.name) or ""
        if not is_of_prefect(path) or path not in MODULES:
            if is_of_prefect(path) or is_of_an_integration(path):
                self.left.append(self.source.finding(alias.name, advice_on_name(path)))

            return [alias]
        name = "prefect" if alias.asname is None else dotted(_name_of(alias.asname)) or ""
        if name in self.uses.kept:
            aliases = [alias]
        else:
            aliases = [alias.with_changes(name=_expression(MODULES[path]))]
        needed = sorted(self._missing)
        self._missing.clear()

        return [*aliases, *map(_module_alias, needed)]

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        module = dotted(node.module) if node.module is not None and not node.relative else None
        if module is None or not (is_of_prefect(module) or is_of_an_integration(module)):
            return False
        if isinstance(node.names, cst.ImportStar):
            advice = "Import what is used by its name, then run this command again."
            self.left.append(self.source.finding(node, advice))
            return False

        groups: dict[str, list[cst.ImportAlias]] = {}
        for alias in node.names:
            place, changed = self._place(module, alias)
            groups.setdefault(place, []).append(changed)
        if set(groups) != {module}:
            ours = sorted(groups, key=lambda place: place == module)
            self.statements[node] = [
                _from(node, place, groups[place], node.names[-1], is_first=number == 0)
                for number, place in enumerate(ours)
            ]

        return False

    def _place(self, module: str, alias: cst.ImportAlias) -> tuple[str, cst.ImportAlias]:
        """Return the module that a name is to be imported from, and the name as it is there."""
        name = dotted(alias.name) or ""
        path = f"{module}.{name}"
        ours = NAMES.get(path) or MODULES.get(path, "")
        place, _, new = ours.rpartition(".")
        if not place:
            self.left.append(self.source.finding(alias.name, advice_on_name(path)))
            return module, alias
        if new == name:
            return place, alias
        if alias.asname is None and self._rename(name, path, new):
            return place, alias.with_changes(name=cst.Name(new))

        asname = alias.asname or cst.AsName(cst.Name(name))
        return place, alias.with_changes(name=cst.Name(new), asname=asname)

    def _rename(self, name: str, path: str, new: str) -> bool:
        """Rename a name wherever it is used, if nothing else has the new name."""
        named = self.source.named
        if new in named or "__all__" in named or self._renamed.get(new, path) != path:
            return False
        if name in self.source.quoted or name in self._exported:
            return False
        self._renamed[new] = path
        users = _Users(self.source, name, path)
        self.source.module.visit(users)
        self.uses.replaced |= dict.fromkeys(users.found, new)

        return True


class _Imported(cst.CSTVisitor):
    """Collects our modules that the `import` statements of a source will import by themselves."""

    def __init__(self, kept: set[str]) -> None:
        self.kept: Final = kept
        self.modules: set[str] = set()

    def visit_ImportAlias(self, node: cst.ImportAlias) -> None:
        path = dotted(node.name) or ""
        if node.asname is None and is_of_prefect(path) and "prefect" not in self.kept:
            self.modules.add(MODULES.get(path, ""))
        elif node.asname is None:
            self.modules.add(path)


class _Users(cst.CSTVisitor):
    """Collects the uses of an imported name."""

    def __init__(self, source: Source, name: str, path: str) -> None:
        self.source: Final = source
        self.name: Final = name
        self.path: Final = path
        self.found: list[cst.CSTNode] = []

    def visit_Name(self, node: cst.Name) -> None:
        if node.value == self.name and self.source.path(node) == self.path:
            self.found.append(node)


def _is_covered(module: str, imported: Iterable[str]) -> bool:
    return any(one == module or one.startswith(f"{module}.") for one in imported)


def _expression(path: str) -> cst.Name | cst.Attribute:
    prefix, _, name = path.rpartition(".")

    return cst.Attribute(_expression(prefix), cst.Name(name)) if prefix else cst.Name(name)


def _module_alias(path: str) -> cst.ImportAlias:
    return cst.ImportAlias(_expression(path))


def _name_of(asname: cst.AsName) -> cst.BaseExpression:
    return asname.name


def _plain(alias: cst.ImportAlias) -> cst.ImportAlias:
    return alias.with_changes(comma=cst.MaybeSentinel.DEFAULT)


def _from(
    node: cst.ImportFrom,
    module: str,
    aliases: Sequence[cst.ImportAlias],
    was_last: cst.ImportAlias,
    *,
    is_first: bool,
) -> cst.ImportFrom:
    """Return a statement that imports some of the names of another one, laid out alike."""
    *others, last = aliases
    if last.name is not was_last.name and not _has_comment(last):
        last = last.with_changes(comma=was_last.comma)
    lpar = node.lpar
    if (
        lpar is not None
        and not is_first
        and isinstance(lpar.whitespace_after, cst.ParenthesizedWhitespace)
    ):
        space = lpar.whitespace_after.with_changes(first_line=cst.TrailingWhitespace())
        lpar = lpar.with_changes(whitespace_after=space.with_changes(empty_lines=[]))

    return node.with_changes(
        module=_expression(module),
        names=[*others, last],
        lpar=lpar,
        semicolon=cst.MaybeSentinel.DEFAULT,
    )


def _has_comment(alias: cst.ImportAlias) -> bool:
    return isinstance(alias.comma, cst.Comma) and "#" in cst.Module([]).code_for_node(alias.comma)
