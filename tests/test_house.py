"""The rules of the house that no linter knows: modules, the face, and what an import may do."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TypedDict

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

# Imported when they are needed, never with the package: each costs more than the package itself.
SLOW = {
    "apprise",
    "click",
    "concurrent.futures.process",
    "cryptography",
    "email",
    "http",
    "httpx",
    "libcst",
    "multiprocessing",
    "psycopg",
    "pytest",
    "rich",
    "sqlite3",
    "tomllib",
    "unittest",
}

# Runs in a fresh interpreter. The dependencies are imported, and put to use, before the watch
# begins: what they do on their own account is not ours. Prints what the import of eventflow did.
WATCH_IMPORT = """
import json, os, signal, sys, threading
import anyio, blinker, pydantic, structlog, uuid_utils

class Model(pydantic.BaseModel, frozen=True):
    field: int | None = None

Model().model_dump_json()
structlog.get_logger()

watched = (
    "socket.", "_thread.start", "subprocess.", "sqlite3.", "fcntl.",
    "os.fork", "os.posix_spawn", "os.exec", "os.system",
    "os.mkdir", "os.remove", "os.rename", "os.truncate", "os.chmod", "os.symlink", "os.link",
)
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
deeds = []

def watch(event, arguments):
    if event.startswith(watched) or (event == "open" and (arguments[2] or 0) & writing):
        deeds.append(f"{event} {arguments!r}")

def handlers():
    return [signal.getsignal(number) for number in signal.valid_signals()]

before = set(sys.modules)
held = handlers()
threads = threading.active_count()
sys.addaudithook(watch)
import eventflow
done = list(deeds)
print(json.dumps({
    "deeds": done,
    "threads": threading.active_count() - threads,
    "took_signals": handlers() != held,
    "modules": sorted(set(sys.modules) - before),
}))
"""


class Watched(TypedDict):
    """What the import of eventflow did in a fresh interpreter."""

    deeds: list[str]
    threads: int
    took_signals: bool
    modules: list[str]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    # Coverage would measure, and thereby do, things of its own in there.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "EVENTFLOW_"))}
    home = tmp_path_factory.mktemp("home")
    ended = subprocess.run(
        [sys.executable, "-B", "-c", WATCH_IMPORT],
        cwd=ROOT,
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert list(home.iterdir()) == []
    result: Watched = json.loads(ended.stdout)

    return result


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


@every_module
def test_a_module_begins_by_saying_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(parse(module))


@every_module
def test_a_module_can_be_read_in_one_sitting(module: Path) -> None:
    lines = module.read_text().count("\n")
    assert lines <= LINES_AT_MOST


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
    assert len(rooms(PACKAGE)) <= 32


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


def test_importing_touches_no_file_socket_or_process(watched: Watched) -> None:
    assert watched["deeds"] == []


def test_importing_takes_no_signal(watched: Watched) -> None:
    assert not watched["took_signals"]


def test_importing_starts_no_thread(watched: Watched) -> None:
    assert watched["threads"] == 0


def test_importing_brings_in_nothing_slow(watched: Watched) -> None:
    assert SLOW.intersection(watched["modules"]) == set()
