"""`eventflow hooks check`: which hooks cannot be guaranteed, and why."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke

SURE = """
from eventflow import flow, hook, task

def notify(definition, run, state): ...

class Chores:
    @staticmethod
    def sweep(definition, run, state): ...

    @task(on_failure=[notify])
    def mend(self): ...

@flow(on_completion=[notify], on_failure=[Chores.sweep])
def etl(): ...

@hook(state="Crashed")
def everywhere(definition, run, state): ...
"""
DOUBTFUL = """
import functools
from eventflow import flow

def notify(definition, run, state): ...

def made():
    def inner(definition, run, state): ...
    return inner

class Pager:
    def page(self, definition, run, state): ...
    def __call__(self, definition, run, state): ...

@flow(
    on_completion=[notify, lambda flow, run, state: None],
    on_failure=[made(), functools.partial(notify)],
    on_crashed=[Pager().page, Pager()],
)
def etl(): ...
"""


def test_hooks_that_can_be_imported_are_guaranteed(invoke: Invoke, folder: Path) -> None:
    """Of flows, of tasks in classes, and those that are declared for every run."""
    (folder / "sure.py").write_text(SURE)
    result = invoke("hooks", "check", "sure.py")
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith(
        "All 4 hooks can be guaranteed.\n\n"
        "Parameters that a hook cannot have after the death of its process:\n"
        "  task Chores.mend: self: it is what the method is called on, of which only the class is "
        "recorded\n"
    )
    for part in ("flow etl", "task Chores.mend", "every run", "FAILED", "Crashed"):
        assert part in result.stdout


def test_other_hooks_are_listed_with_the_reason(invoke: Invoke, folder: Path) -> None:
    """The exit code is 1."""
    (folder / "doubtful.py").write_text(DOUBTFUL)
    result = invoke("hooks", "check", "doubtful.py")
    assert result.exit_code == 1
    assert "5 of 6 hooks cannot be guaranteed." in result.stdout
    checked = json.loads(invoke("hooks", "check", "doubtful.py", "--json").stdout)
    why = [hook["why"] or "" for hook in checked]
    for reason, part in zip(
        why,
        ["", "lambda", "within a function", "partial", "bound to an object", "object of Pager"],
        strict=True,
    ):
        assert part in reason
    assert [hook["guaranteed"] for hook in checked] == [True, *[False] * 5]
    assert checked[0] == {
        "hook": "doubtful:notify",
        "on": "flow etl",
        "states": "COMPLETED",
        "where": "owner",
        "guaranteed": True,
        "why": None,
    }


def test_a_file_without_hooks_is_no_failure(invoke: Invoke, folder: Path) -> None:
    """The message is on stderr; a file that does not exist is wrong usage."""
    (folder / "none.py").write_text("from eventflow import flow\n@flow\ndef f(): ...\n")
    result = invoke("hooks", "check", "none.py")
    assert (result.exit_code, result.stdout, result.stderr) == (
        0,
        "",
        "none.py declares no hook.\n",
    )
    assert invoke("hooks", "check", "absent.py").exit_code == 2


LOSING = """
from pathlib import Path
from pydantic import BaseModel, SecretStr
from eventflow import flow

class Client: ...

class Login(BaseModel):
    user: str
    password: str

def notify(flow, run, state): ...

@flow(on_crashed=[notify])
def etl(day: str, path: Path, client: Client, logins: list[Login], key: SecretStr, token: str,
        anything, *rest: int, **options: object): ...
"""


def test_parameters_that_do_not_come_back_are_named(invoke: Invoke, folder: Path) -> None:
    """With the reason; the exit code is that of the hooks."""
    (folder / "losing.py").write_text(LOSING)
    result = invoke("hooks", "check", "losing.py")
    assert result.exit_code == 0, result.stdout
    assert result.stdout.endswith(
        "Parameters that a hook cannot have after the death of its process:\n"
        "  flow etl: client: a losing.Client cannot be recorded\n"
        "  flow etl: logins: its password is called like a secret, and is masked\n"
        "  flow etl: key: it asks for a secret, and no secret is recorded\n"
        "  flow etl: token: it is called like a secret, and is masked\n"
    )
    (checked,) = json.loads(invoke("hooks", "check", "losing.py", "--json").stdout)
    assert list(checked["parameters"]) == ["client", "logins", "key", "token"]


NOTIFIERS = """
from eventflow import flow, notify

def made():
    return notify("json://127.0.0.1/hunter2", when={"tags": "prod"})

def text(told): return told.title

@flow(
    on_failure=[made(), notify("env:OPS", template=text)],
    on_crashed=[notify("env:OPS", template=lambda told: told.title)],
)
def etl(): ...
"""


def test_notifiers_are_guaranteed_wherever_they_are_made(invoke: Invoke, folder: Path) -> None:
    """But for one with a function that no other process can import."""
    (folder / "alerts.py").write_text(NOTIFIERS)
    checked = json.loads(invoke("hooks", "check", "alerts.py", "--json").stdout)
    assert {hook["hook"]: hook["guaranteed"] for hook in checked[:2]} == {
        "alerts:notify(json)": True,
        "alerts:notify(OPS)": True,
    }
    assert checked[2]["why"].startswith("has a `template` that is a lambda: give it a name")
    assert "hunter2" not in invoke("hooks", "check", "alerts.py").stdout


LEFT = """
from eventflow import Hook, flow

def press(*_): ...

@flow(hooks=[Hook(fn, state="Completed", where="worker") for fn in (press, lambda *_: None)])
def etl(): ...
"""


def test_hooks_of_workers_have_to_be_importable(invoke: Invoke, folder: Path) -> None:
    """Nobody else runs them; that is said."""
    (folder / "left.py").write_text(LEFT)
    result = invoke("hooks", "check", "left.py")

    assert result.exit_code == 1
    assert "never run: no worker can import them" in result.stdout
    assert "Completed, by a worker" in result.stdout
    checked = json.loads(invoke("hooks", "check", "left.py", "--json").stdout)
    assert [(each["where"], each["guaranteed"]) for each in checked] == [
        ("worker", True),
        ("worker", False),
    ]
