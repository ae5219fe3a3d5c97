"""Modules are loaded one thread at a time, and no fork happens meanwhile."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventflow.primitives.loading import load
from tests.forked import in_a_fork

SLOW = """
import tests.primitives.test_loading as ours

ours.Loading.entered.set()
assert ours.Loading.may_end.wait(60)
"""


class Loading:
    """What is known of the load of a slow module, and of a fork."""

    entered = threading.Event()
    may_end = threading.Event()
    forking = threading.Event()
    forked = threading.Event()


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module whose import says that it has begun, and waits."""
    for name in ("entered", "may_end", "forking", "forked"):
        monkeypatch.setattr(Loading, name, threading.Event())
    (tmp_path / "slow_to_load.py").write_text(SLOW)
    monkeypatch.setitem(sys.modules, "tests.primitives.test_loading", sys.modules[__name__])
    monkeypatch.syspath_prepend(tmp_path)
    yield "slow_to_load"
    sys.modules.pop("slow_to_load", None)


def test_a_module_is_returned_by_its_name() -> None:
    assert load("eventflow.states") is sys.modules["eventflow.states"]


def test_what_is_missing_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"eventflow\.nothing"):
        load("eventflow.nothing")


def test_a_module_may_load_another(slow: str) -> None:
    """In the same thread: the import of a module uses a public name."""
    Loading.may_end.set()
    module = Path(sys.path[0]) / "loads_another.py"
    module.write_text(f"from eventflow.primitives.loading import load\nloaded = load({slow!r})\n")
    assert load("loads_another").loaded is sys.modules[slow]
    del sys.modules["loads_another"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_waits_for_a_load_and_its_child_can_load(slow: str) -> None:
    """Else the module would stay locked in the child, by a thread that is not there."""
    children: list[bool] = []

    def fork() -> None:
        Loading.forking.set()
        children.append(in_a_fork(lambda: load(slow) is sys.modules[slow]))
        Loading.forked.set()

    loader = threading.Thread(target=load, args=(slow,))
    forker = threading.Thread(target=fork)
    loader.start()
    assert Loading.entered.wait(60)
    forker.start()
    assert Loading.forking.wait(60)
    assert not Loading.forked.wait(0.2)
    Loading.may_end.set()
    assert Loading.forked.wait(60)
    loader.join()
    forker.join()
    assert children == [True]
