"""`eventflow hooks check`: which hooks cannot be guaranteed, and why."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke

SURE = """
from eventflow import flow, hook, task

def told(definition, run, state): ...

class Chores:
    @staticmethod
    def swept(definition, run, state): ...

    @task(on_failure=[told])
    def mend(self): ...

@flow(on_completion=[told], on_failure=[Chores.swept])
def etl(): ...

@hook(state="Crashed")
def everywhere(definition, run, state): ...
"""
DOUBTFUL = """
import functools
from eventflow import flow

def told(definition, run, state): ...

def made():
    def inner(definition, run, state): ...
    return inner

class Pager:
    def page(self, definition, run, state): ...
    def __call__(self, definition, run, state): ...

@flow(
    on_completion=[told, lambda flow, run, state: None],
    on_failure=[made(), functools.partial(told)],
    on_crashed=[Pager().page, Pager()],
)
def etl(): ...
"""


def test_hooks_that_can_be_imported_are_sure(invoke: Invoke, folder: Path) -> None:
    """Of flows, of tasks in classes, and those that are declared for every run."""
    (folder / "sure.py").write_text(SURE)
    ended = invoke("hooks", "check", "sure.py")
    assert ended.exit_code == 0, ended.stdout
    assert ended.stdout.endswith("All 4 hooks can be guaranteed.\n")
    for part in ("flow etl", "task Chores.mend", "every run", "FAILED", "Crashed"):
        assert part in ended.stdout


def test_the_others_are_told_with_the_reason(invoke: Invoke, folder: Path) -> None:
    """The exit code is 1."""
    (folder / "doubtful.py").write_text(DOUBTFUL)
    ended = invoke("hooks", "check", "doubtful.py")
    assert ended.exit_code == 1
    assert "5 of 6 hooks cannot be guaranteed." in ended.stdout
    found = json.loads(invoke("hooks", "check", "doubtful.py", "--json").stdout)
    why = [one["why"] or "" for one in found]
    for reason, part in zip(
        why,
        ["", "lambda", "within a function", "partial", "bound to an object", "object of Pager"],
        strict=True,
    ):
        assert part in reason
    assert [one["guaranteed"] for one in found] == [True, *[False] * 5]
    assert found[0] == {
        "hook": "doubtful:told",
        "on": "flow etl",
        "states": "COMPLETED",
        "guaranteed": True,
        "why": None,
    }


def test_a_file_without_hooks_is_no_failure(invoke: Invoke, folder: Path) -> None:
    """It is said on stderr; a file that is not there is wrong usage."""
    (folder / "none.py").write_text("from eventflow import flow\n@flow\ndef f(): ...\n")
    ended = invoke("hooks", "check", "none.py")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (0, "", "none.py declares no hook.\n")
    assert invoke("hooks", "check", "absent.py").exit_code == 2
