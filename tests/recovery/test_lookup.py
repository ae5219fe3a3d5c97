"""Hooks that no file declares are found among those that were handed over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from eventflow.recovery.lookup import DefinitionLookup
from tests.recovery.scripts import HEAD, ReadTold


def test_the_guardian_delivers_hooks_that_no_file_declares(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, read_told: ReadTold
) -> None:
    """A closure, a hook added at run time and one of `python -c` are handed over by value."""
    monkeypatch.setenv("EVENTFLOW_GUARDIAN", "true")
    os.mkfifo(tmp_path / "end")
    script = (
        HEAD
        + """
def made(word):
    def closure(flow, run, state): tell(word, flow.name)
    return closure

def last(flow, run, state):
    with open("end", "w") as end: end.write("done")

def main():
    @flow(on_crashed=[made("closure")])
    def local():
        die()
    local.on_crashed(lambda flow, run, state: tell("lambda"))
    local.on_crashed(last)
    local()

main()
"""
    )
    reader = os.open(tmp_path / "end", os.O_RDONLY | os.O_NONBLOCK)
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL

    select.select([reader], [], [], 60)
    os.close(reader)

    assert read_told() == [["closure", "local"], ["lambda"]]


@pytest.mark.parametrize("fits", [True, False])
def test_a_hook_that_takes_other_arguments_by_now_is_not_found(
    fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """That is said, and ends nothing."""

    def before(flow: Any, run: Any, state: Any) -> None: ...

    def now(flow: Any) -> None: ...

    reloader = Mock()
    reloader.function.return_value = before if fits else now
    found = DefinitionLookup(Mock(), reloader, {}).hook("module:name")

    assert (found is not None) is fits
    assert ("now(flow) cannot be called with (definition, run, state)" in caplog.text) is not fits
