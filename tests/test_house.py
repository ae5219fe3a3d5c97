"""The rules of the house that no linter knows: modules, imports, and the face."""

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "eventflow"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_AT_MOST = 400
TEST_LINES_AT_MOST = 500
ROOMS_AT_MOST = 12
TESTS = sorted((ROOT / "tests").rglob("*.py"))
FOLDERS = sorted({module.parent for module in MODULES})

every_module = pytest.mark.parametrize(
    "module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(), module)


def package_of(module: Path) -> list[str]:
    return list(module.relative_to(ROOT).parent.parts)


def imported(module: Path, node: ast.AST) -> Iterator[str]:
    """Yield what an import statement names, absolute: `package.module` or `package.module.name`."""
    match node:
        case ast.Import(names=names):
            yield from (name.name for name in names)
        case ast.ImportFrom(module=source, names=names, level=level):
            package = package_of(module)
            base = package[: len(package) - level + 1] if level else []
            yield from (".".join([*base, *([source] if source else []), n.name]) for n in names)


def is_first_party(name: str) -> bool:
    return name.partition(".")[0] == "eventflow"


def names_the_face(module: Path, node: ast.AST) -> bool:
    """Tell whether an import is from `eventflow` itself, and not from one of its modules."""
    match node:
        case ast.Import(names=names):
            return any(name.name == "eventflow" for name in names)
        case ast.ImportFrom(module=source, level=level):
            base = package_of(module)[: len(package_of(module)) - level + 1] if level else []
            return [*base, *([source] if source else [])] == ["eventflow"]

    return False


def lazily_offered(package: Path) -> set[str]:
    """Return the names that a package imports for type checkers, and loads on their first use."""
    return {
        name.asname or name.name
        for block in parse(package).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }


LAZY = {
    f"{'.'.join(package_of(package))}.{name}"
    for package in PACKAGE.rglob("__init__.py")
    for name in lazily_offered(package)
}


@every_module
def test_a_module_begins_by_saying_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(parse(module))


@every_module
def test_a_module_can_be_read_in_one_sitting(module: Path) -> None:
    lines = module.read_text().count("\n")
    assert lines <= LINES_AT_MOST


@every_module
def test_a_module_imports_no_lazy_name_at_its_top(module: Path) -> None:
    """Two threads could wait for each other: one holds the module, the other the turn to load."""
    named = {name for node in parse(module).body for name in imported(module, node)}
    assert named.isdisjoint(LAZY)


@pytest.mark.parametrize("module", TESTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_of_tests_has_a_bound(module: Path) -> None:
    lines = module.read_text().count("\n")
    assert lines <= TEST_LINES_AT_MOST


def rooms(folder: Path) -> list[str]:
    """Return the modules and folders within a folder of the package."""
    modules = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]

    return modules + [path.name for path in FOLDERS if path.parent == folder]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_can_be_seen_at_a_glance(folder: Path) -> None:
    if folder != PACKAGE:
        assert len(rooms(folder)) <= ROOMS_AT_MOST


def test_the_package_has_few_rooms() -> None:
    # Each is a part that users know by its name: forwarding, beside notifications, is the last.
    assert len(rooms(PACKAGE)) <= 35


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_folder_of_several_rooms_has_layers(folder: Path) -> None:
    """`lint-imports` keeps them, and asks that every room of the folder has its place."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    layered = {
        container
        for contract in contracts
        if contract["type"] == "layers" and contract["exhaustive"]
        for container in contract["containers"]
    }
    name = ".".join(folder.relative_to(ROOT).parts)
    assert len(rooms(folder)) <= 3 or name in layered


@every_module
def test_nothing_imports_the_face(module: Path) -> None:
    if module == PACKAGE / "__init__.py":
        return
    imports = [
        ast.unparse(node) for node in ast.walk(parse(module)) if names_the_face(module, node)
    ]
    assert imports == []


@every_module
def test_no_import_of_our_own_hides_in_a_function(module: Path) -> None:
    functions = (
        node
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    )
    hidden = {
        name
        for function in functions
        for node in ast.walk(function)
        for name in imported(module, node)
        if is_first_party(name)
    }
    assert hidden == set()


def test_the_face_is_sorted_and_every_name_resolves() -> None:
    face = import_module("eventflow")
    assert list(face.__all__) == sorted(set(face.__all__))
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


@pytest.mark.parametrize(
    "module",
    [one for one in MODULES if one.stem != "__main__"],  # a script: importing it would run it
    ids=lambda module: str(module.relative_to(ROOT)),
)
def test_every_module_exports_only_names_it_has(module: Path) -> None:
    name = ".".join(module.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    imported_module = import_module(name)
    exported = getattr(imported_module, "__all__", [])
    assert [name for name in exported if not hasattr(imported_module, name)] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
