"""What a run owes is what it was subject to, whatever its files declare when it is recovered."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import DeliveryQuery, Journal
from eventflow.recovery.lookup import stand_in
from eventflow.recovery.supervisor import recover
from tests.journal.rows import ARun, commit
from tests.recovery.scripts import HEAD, ReadTold, RunKilled

TELLING = """
def one(definition, run, state): tell("one", definition.name, state.name)
def two(definition, run, state): tell("two", definition.name, state.name)
async def later(definition, run, state): tell("later", definition.name, state.name)
class Pager:
    @staticmethod
    def static(definition, run, state): tell("static", definition.name)
    @classmethod
    def of_class(cls, definition, run, state): tell("of_class", definition.name)
"""


@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param(
            """
@task(on_crashed=[one])
def load(): die()

@flow
def main():
    load.with_options(name="load-orders")()
""",
            [["one", "load-orders", "Crashed"]],
            id="a copy with another name",
        ),
        pytest.param(
            """
@task(on_crashed=[one])
def load(): die()

copies = {word: load.with_options(on_crashed=[two, later]) for word in ("a", "b")}

@flow(on_crashed=[one])
def main():
    copies["b"]()
""",
            [
                ["two", "load", "Crashed"],
                ["later", "load", "Crashed"],
                ["one", "main", "Crashed"],
            ],
            id="a copy with other hooks",
        ),
        pytest.param(
            """
@task(on_crashed=[one])
def load(): die()

@flow
def main():
    load.with_options(on_crashed=[])()
""",
            [],
            id="a copy without hooks",
        ),
        pytest.param(
            """
def made(name, hooks):
    @task(name=name, on_crashed=hooks)
    def inner(): die()
    return inner

@flow
def main():
    made("first", [one])
    made("second", [two])()
""",
            [["two", "second", "Crashed"]],
            id="a task that a function made",
        ),
        pytest.param(
            """
class Etl:
    @task(on_crashed=[Pager.static, Pager.of_class])
    def load(self): die()

@flow
def main():
    Etl().load()
""",
            [["static", "load"], ["of_class", "load"]],
            id="a method",
        ),
        pytest.param(
            """
@flow
def main():
    main.on_crashed(one)
    die()
""",
            [["one", "main", "Crashed"]],
            id="declared after the run began",
        ),
        pytest.param(
            """
@flow(on_crashed=[two])
def main():
    main.on("Crashed", "Failed")(one)
    die()

@main.on_completion
def never(flow, run, state): tell("never")
""",
            [["two", "main", "Crashed"], ["one", "main", "Crashed"]],
            id="a second one declared after the run began",
        ),
        pytest.param(
            """
from eventflow import bus
hook(state="Crashed", run_type="flow")(one)

@task(on_crashed=[one])
def load(): die()

@flow(on_crashed=[later])
def main():
    bus.subscriptions[0].cancel()
    hook(state="Crashed", name="lo*")(two)
    load()
""",
            [
                ["one", "load", "Crashed"],
                ["two", "load", "Crashed"],
                ["later", "main", "Crashed"],
            ],
            id="global hooks exchanged while it runs",
        ),
        pytest.param(
            """
from eventflow import EventBus, use_bus
hook(state="Crashed")(one)

@flow
def main():
    with use_bus(EventBus()):
        other()

@flow
def other():
    hook(state="Crashed")(two)
    die()
""",
            [["two", "other", "Crashed"], ["one", "main", "Crashed"]],
            id="global hooks of two buses",
        ),
        pytest.param(
            """
@flow(on_completion=[one, lambda *_: die(), two])
def main(): ...
""",
            [["one", "main", "Completed"], ["two", "main", "Completed"]],
            id="killed between two hooks of its end",
        ),
    ],
)
def test_the_hooks_that_a_run_was_subject_to_are_run(
    run_killed: RunKilled, url: str, read_told: ReadTold, script: str, told: list[object]
) -> None:
    """Those and no others, in their order, with a definition of the right name."""
    run_killed(f"{TELLING}{script}\nif __name__ == '__main__':\n    main()\n")
    recover(url)
    assert read_told() == told


FILE = """
def one(flow, run, state): tell("one", flow.name, run.name)
def two(flow, run, state): tell("two", flow.name, run.name)

@flow(on_crashed=[one, two], flow_run_name="it")
def main(): die()
"""


@pytest.mark.parametrize(
    "edit",
    [
        ("def main", "def renamed"),
        ("[one, two]", "[two, one]"),
        ("[one, two]", "[]"),
        ('@flow(on_crashed=[one, two], flow_run_name="it")\n', ""),
        ("@flow(on_crashed", "@task(on_crashed"),
        ("\n@flow", "\nhook(state='Crashed')(one)\n@flow"),
        ("main(): die()", "main(): die()\nraise KeyError('TOKEN')"),
    ],
)
def test_a_file_that_was_edited_changes_nothing(
    run_killed: RunKilled,
    url: str,
    tmp_path: Path,
    read_told: ReadTold,
    edit: tuple[str, str],
) -> None:
    """As long as it has the functions of the hooks still."""
    run_killed(f"{FILE}\nif __name__ == '__main__':\n    main()\n")
    edited = (tmp_path / "script.py").read_text()
    assert edit[0] in edited
    (tmp_path / "script.py").write_text(edited.replace(*edit))
    recover(url)
    assert read_told() == [["one", "main", "it"], ["two", "main", "it"]]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (("def one", "def other"), "there is no one in __main__"),
        (("def one(flow, run, state)", "def one(flow)"), "cannot be called with"),
        (("def tell", "def tell(:"), "SyntaxError"),
        (("import json", "import absent_module, json"), "No module named 'absent_module'"),
        (("import json", "TOKEN = {}['TOKEN']\nimport json"), "KeyError: 'TOKEN'"),
        (("import json", "raise SystemExit('not today')\nimport json"), "SystemExit: not today"),
    ],
)
def test_a_hook_that_cannot_be_had_is_a_dead_delivery(  # noqa: PLR0917 - pytest passes by name
    run_killed: RunKilled,
    journal: Journal,
    tmp_path: Path,
    read_told: ReadTold,
    edit: tuple[str, str],
    reason: str,
) -> None:
    """With the reason; redriven it is run, once the file is as it was."""
    run_killed(f"{FILE}\nif __name__ == '__main__':\n    main()\n")
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    path = tmp_path / "script.py"
    file = path.read_text()
    path.write_text(file.replace(*edit))

    (report,) = recover(url)

    dead = journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))
    assert report.dead == len(dead) >= 1
    assert reason in (dead[0].error or "")
    assert all(row.importable for row in dead)
    told = read_told()
    assert [name for name, *_ in told] == ["two"] * (2 - len(dead))

    path.write_text(file)
    assert journal.redrive([row.id for row in dead]) == len(dead)
    (report,) = recover(url)
    assert (report.delivered, report.dead, report.problem) == (len(dead), 0, None)
    assert sorted(name for name, *_ in read_told()) == ["one", "two"]


def test_a_hook_that_only_its_process_had_is_a_dead_delivery(
    run_killed: RunKilled, url: str, journal: Journal, read_told: ReadTold
) -> None:
    """Without a guardian: a lambda of the file is not taken for it; the others are run."""
    run_killed(
        """
from functools import partial
def named(flow, run, state): tell("named")
def page(word, flow, run, state): tell("page", word)
def main():
    etl()

@flow(on_crashed=[lambda *_: tell("lambda"), named, partial(page, "x")])
def etl(): die()

if __name__ == "__main__":
    main()
"""
    )
    (report,) = recover(url)
    dead = journal.deliveries(DeliveryQuery(statuses=[DeliveryStatus.DEAD]))
    assert [row.hook for row in dead] == ["__main__:<lambda>", "__main__:page"]
    assert "it is a lambda" in (dead[0].error or "")
    assert "it is a partial" in (dead[1].error or "")
    assert report.dead == 2
    assert read_told() == [["named"]]


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


def test_hooks_are_given_the_definition_or_a_stand_in(
    run_killed: RunKilled, url: str, read_told: ReadTold
) -> None:
    """A copy is made of the definition that the file has; a stand-in has name, version and tags."""
    run_killed(
        """
def shown(task, run, state):
    tell(task.name, task.retries, task.version, sorted(task.tags), task.fn.__name__)

@task(retries=3, tags={"prod"}, version="7", on_crashed=[shown])
def load(then): then()

def made():
    options = {"retries": 3, "tags": {"dev"}, "version": "8", "on_crashed": [shown]}
    return task(name="inner", **options)(lambda: die())

@flow
def main():
    load.with_options(name="copy")(made())

if __name__ == "__main__":
    main()
"""
    )
    recover(url)
    assert sorted(read_told()) == [
        ["copy", 3, "7", ["prod"], "load"],
        ["inner", 3, "8", ["dev"], "lost"],
    ]


@pytest.mark.parametrize("run_type", ["flow", "task"])
@pytest.mark.parametrize("version", [None, "7"])
def test_a_stand_in_has_what_the_journal_has(
    journal: Journal, run_type: str, version: str | None
) -> None:
    """A name that no definition may be given any more, and no version but the recorded one."""
    run = ARun(run_type=run_type, name="a/b", version=version, tags=["x"])
    commit(journal, run.enter("P"))
    row = journal.run(run.id)
    assert row is not None
    made = stand_in(row)

    assert (made.run_type, made.name, made.version) == (run_type, "a/b", version)
    assert made.tags == {"x"}


def test_the_definition_of_a_run_has_the_name_that_was_recorded(
    run_killed: RunKilled, url: str, read_told: ReadTold
) -> None:
    """Also one that is refused by now, of a copy that no variable holds."""
    run_killed(
        """
def shown(flow, run, state):
    tell(flow.name, run.flow_name, flow.fn.__name__)

@flow(on_crashed=[shown])
def load_all(): die()

if __name__ == "__main__":
    load_all.restored("a/b")()
"""
    )
    recover(url)
    assert read_told() == [["a/b", "a/b", "load_all"]]
