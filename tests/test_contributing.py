"""The page for contributors names files and folders that exist, and every part of the package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()

TREE = re.compile(r"```text\neventflow/\n(.*?)```", re.DOTALL)
IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#:]+)\)")
PATH = re.compile(r"[\w./-]*[\w-](?:/|\.(?:py|md|toml|json|typed))|\.ci/run|tests/[\w/]+")


def paths() -> set[str]:
    """Return what looks like a path of the project, in backticks or as a link."""
    words = {word for quoted in IN_BACKTICKS.findall(TEXT) for word in quoted.split()}

    return {word for word in words if PATH.fullmatch(word)} | set(LINK.findall(TEXT))


def rooms() -> list[str]:
    """Return the entries of the tree."""
    (tree,) = TREE.findall(TEXT)

    return [line.split()[0] for line in tree.splitlines()]


def test_every_path_exists() -> None:
    assert len(paths()) > 50
    assert sorted(path for path in paths() if not (ROOT / path).exists()) == []


def test_the_tree_has_every_part_of_the_package_once() -> None:
    parts = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "eventflow").iterdir()
        if path.name != "__pycache__"
    }

    assert sorted(rooms()) == sorted(parts)


def test_the_tree_is_in_the_order_of_the_layers() -> None:
    """A part stands above all that it may import."""
    layers = re.search(
        r'id = "floors".*?layers = \[\n(.*?)\]', (ROOT / "pyproject.toml").read_text(), re.DOTALL
    )
    assert layers is not None
    order = [set(re.findall(r"\w+", layer)) for layer in layers[1].splitlines()]
    names = [room.removesuffix("/").removesuffix(".py") for room in rooms()]
    heights = [i for name in names for i, layer in enumerate(order) if name in layer]

    assert heights == sorted(heights)
    assert len(heights) == sum(map(len, order))


def test_the_readme_links_to_it() -> None:
    assert "(CONTRIBUTING.md)" in (ROOT / "README.md").read_text()
