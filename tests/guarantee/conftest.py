"""The tests in this folder mostly wait for other processes: the next ones begin meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.guarantee.stage import Stage

AT_ONCE: Final = 3
"""How many are on their way: enough for two cores to have something to do."""

HERE: Final = Path(__file__).parent

if not Path("/proc/self/environ").exists():
    # Who is there, and who is whose child, is read in Linux's /proc.
    collect_ignore_glob = ["test_*.py"]

_ahead: Final[dict[str, Future[None]]] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of this folder together, where several processes share the work."""
    for one in items:
        if HERE in one.path.parents:
            one.add_marker(pytest.mark.xdist_group("guarantee"))


@pytest.fixture
def stage() -> None:
    """Stand for the stage that each test here is given when it begins, ahead of its turn."""


@pytest.fixture(scope="package", autouse=True)
def ahead(request: pytest.FixtureRequest) -> Iterator[None]:
    """Begin the tests of this folder in their order, some at a time; each is judged in its turn."""
    root = request.getfixturevalue("tmp_path_factory").mktemp("guarantee", numbered=True)
    items = [one for one in request.session.items if _is_ours(one)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, one in enumerate(items):
            assert isinstance(one, pytest.Function)
            _ahead[one.nodeid] = pool.submit(_perform, one, root / f"{number:03}")
        yield
        for future in _ahead.values():
            future.cancel()


def _is_ours(item: pytest.Item) -> bool:
    return (
        HERE in item.path.parents
        and isinstance(item, pytest.Function)
        and "stage" in item.fixturenames
    )


def _perform(test: pytest.Function, folder: Path) -> None:
    folder.mkdir()
    stage = Stage(folder)
    given = test.callspec.params if hasattr(test, "callspec") else {}
    try:
        test.obj(stage=stage, **given)
    finally:
        stage.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for the end of a test that has begun already."""
    future = _ahead.pop(pyfuncitem.nodeid, None)
    if future is None:
        return None
    future.result()

    return True
