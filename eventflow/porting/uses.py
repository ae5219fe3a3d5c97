"""How a source uses what it imports of Prefect: what is rewritten, and what has no counterpart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import Final

import libcst as cst

from eventflow.porting.findings import Finding
from eventflow.porting.gaps import advice_on_name
from eventflow.porting.names import Source, chain, counterpart, dotted, known_part, longest
from eventflow.porting.paths import MODULES, NAMES

__all__ = ["Uses", "is_of_an_integration", "is_of_prefect", "uses_in"]

_INTEGRATION: Final = re.compile(
    "prefect_(airbyte|aws|azure|bitbucket|census|cubejs|dask|databricks|dbt|docker|email|fivetran|"
    "fugue|gcp|github|gitlab|great_expectations|hex|hightouch|jupyter|kubernetes|monte_carlo|"
    "openmetadata|ray|redis|shell|slack|snowflake|sqlalchemy|twitter|vault)"
)
_MODULES_OF: Final = {ours: theirs for theirs, ours in reversed(list(MODULES.items()))}
_FACE: Final = frozenset(NAMES.values())


def is_of_prefect(path: str) -> bool:
    """Return whether a path is one of Prefect itself."""
    return path.partition(".")[0] == "prefect"


def is_of_an_integration(path: str) -> bool:
    """Return whether a path is one of the packages that connect Prefect with something else."""
    return _INTEGRATION.fullmatch(path.partition(".")[0]) is not None


def _missing(path: str) -> str | None:
    """Return the path in Prefect of what one of our modules was taken to have; None if it has."""
    module = longest(path, _MODULES_OF)
    if module is None or module == path:
        return None
    rest = path.removeprefix(f"{module}.")
    if hasattr(import_module(module), rest.partition(".")[0]):
        return None

    return f"{_MODULES_OF[module]}.{rest}"


@dataclass(slots=True)
class Uses:
    """What is to be done about the places where imported names are used."""

    replaced: dict[cst.CSTNode, str] = field(default_factory=dict)
    """The code that takes the place of a node."""
    modules: set[str] = field(default_factory=set)
    """Our modules that have to be imported by `import`, for what is replaced."""
    kept: set[str] = field(default_factory=set)
    """Names of imported modules through which something without a counterpart is used."""
    left: list[Finding] = field(default_factory=list)


def uses_in(source: Source) -> Uses:
    """Find out how a source uses what it imports of Prefect."""
    collector = _Collector(source)
    source.module.visit(collector)
    uses = Uses(kept=collector.kept, left=collector.left)
    for node, root, path in collector.found:
        _replace(source, uses, node, root, path)

    return uses


class _Collector(cst.CSTVisitor):
    """Collects whole names that come from Prefect, and tells of those without a counterpart."""

    def __init__(self, source: Source) -> None:
        self.source: Final = source
        self.found: list[tuple[cst.BaseExpression, cst.Name, str]] = []
        self.kept: set[str] = set()
        self.left: list[Finding] = []

    def visit_Name(self, node: cst.Name) -> None:
        self._see(node)

    def visit_Attribute(self, node: cst.Attribute) -> None:
        self._see(node)

    def _see(self, node: cst.Name | cst.Attribute) -> None:
        root = chain(node)
        if root is None or not self.source.is_whole(node):
            return
        path = self.source.path(node)
        if path is None:
            return
        missing = _missing(path)
        if missing is not None:
            self.left.append(self.source.finding(node, advice_on_name(missing)))
        elif is_of_an_integration(path):
            self.left.append(self.source.finding(node, advice_on_name(path)))
        elif is_of_prefect(path) and known_part(path) is None:
            self.left.append(self.source.finding(node, advice_on_name(path)))
            self.kept.add(root.value)
        elif is_of_prefect(path):
            self.found.append((node, root, path))


def _replace(
    source: Source, uses: Uses, node: cst.BaseExpression, root: cst.Name, path: str
) -> None:
    imported = source.path(root)
    if imported is None or imported not in MODULES:
        return  # a name imported by `from`: see the import
    known = known_part(path) or path
    ours = counterpart(known)
    part: cst.BaseExpression = node
    while isinstance(part, cst.Attribute) and source.path(part) != known:
        part = part.value
    if root.value != imported and root.value not in uses.kept:
        # The module has another name here, which stays.
        prefix = MODULES[imported]
        if not ours.startswith(f"{prefix}."):
            return
        new = root.value + ours.removeprefix(prefix)
    else:
        new = ours
    module = ours if known in MODULES else ours.rpartition(".")[0]
    if root.value == imported or root.value in uses.kept or module != MODULES[imported]:
        # What is a name of the package itself needs no import of its own.
        uses.modules.add("eventflow" if module in _FACE else module)
    if new != dotted(part):
        uses.replaced[part] = new
