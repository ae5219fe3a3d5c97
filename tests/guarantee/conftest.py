"""Tests of this folder mostly wait for other processes, so several of them run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.guarantee.sandbox import Sandbox

AT_ONCE: Final = 4
"""How many tests run at a time: enough to keep two cores busy."""

FOLDER: Final = Path(__file__).parent

if not Path("/proc/self/environ").exists():
    # Processes and their parents are read from Linux's /proc.
    collect_ignore_glob = ["test_*.py"]

_started: Final[dict[str, Future[None]]] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of this folder in one process of pytest-xdist."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("guarantee"))


@pytest.fixture
def sandbox() -> None:
    """Declare the argument, which a test is given when it is started early."""


@pytest.fixture(scope="package", autouse=True)
def start_early(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start the tests of this folder in order, some at a time; pytest reports each in turn."""
    root = request.getfixturevalue("tmp_path_factory").mktemp("guarantee", numbered=True)
    items = [item for item in request.session.items if _is_ours(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, item in enumerate(items):
            assert isinstance(item, pytest.Function)
            _started[item.nodeid] = pool.submit(_run, item, root / f"{number:03}")
        yield
        for future in _started.values():
            future.cancel()


def _is_ours(item: pytest.Item) -> bool:
    return (
        FOLDER in item.path.parents
        and isinstance(item, pytest.Function)
        and "sandbox" in item.fixturenames
    )


def _run(test: pytest.Function, folder: Path) -> None:
    folder.mkdir()
    sandbox = Sandbox(folder)
    parameters = test.callspec.params if hasattr(test, "callspec") else {}
    try:
        test.obj(sandbox=sandbox, **parameters)
    finally:
        sandbox.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for the end of a test that was started early."""
    future = _started.pop(pyfuncitem.nodeid, None)
    if future is None:
        return None
    future.result()

    return True
