"""However a program was started, its hooks are found again, and nothing of it runs twice."""

from __future__ import annotations

import signal
import sys
from typing import Final

import pytest

from tests.guarantee.stage import HEAD, Program, Stage

ETL: Final = """
@flow(on_crashed=[heard])
def etl():
    tell("body")
    die()
"""

FLOW: Final = HEAD + ETL

CALLED: Final = """
if __name__ == "__main__":
    etl()
"""

HEARD: Final = [["body"], ["etl", "Crashed", 1]]


def assert_heard(stage: Stage, program: Program, *, status: int = -signal.SIGKILL) -> None:
    """The body ran once, and another process told the hook."""
    assert program.end() == status, program.output
    told = stage.told()
    assert told == HEARD, program.output
    assert told[0].pid != told[1].pid
    stage.assert_clean()


def test_a_script_without_a_main_guard_is_not_run_twice(stage: Stage) -> None:
    """Loaded again, it goes as far as to its first call of a flow: what comes later is not done."""
    program = stage.python(
        """
        tell("above", __name__)

        @task
        def step(n):
            tell("step", n)

        @flow(on_crashed=[heard])
        def etl():
            tell("etl")

        def main():
            tell("main", step(1))
            etl()
            tell("between")
            last()

        @flow(on_failure=[heard], on_crashed=[heard])
        def last():
            tell("last")
            die()

        main()
        tell("below")
        """
    )
    assert program.end() == -signal.SIGKILL
    owner = [one for one in stage.told() if one.pid == program.pid]
    other = [one for one in stage.told() if one.pid != program.pid]
    assert owner == [
        ["above", "__main__"],
        *(["step", 1], ["main", None]),
        *(["etl"], ["between"], ["last"]),
    ]
    assert other == [["above", "__mp_main__"], ["last", "Crashed", 1]], program.output
    stage.assert_clean()


def test_what_a_script_defines_below_its_first_call_is_guarded_too(stage: Stage) -> None:
    """The loading stops at the first call; the hooks from below are there by value."""
    program = stage.python(
        """
        @flow(on_completion=[heard])
        def first(): ...

        first()

        def below(flow, run, state):
            tell("below", state.name, aside(run))

        def aside(run):
            return run.flow_name

        @flow(on_running=[below], on_crashed=[below])
        def second():
            die()

        second()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [
        ["first", "Completed", 1],
        ["below", "Running", "second"],
        ["below", "Crashed", "second"],
    ], program.output
    stage.assert_clean()


def test_what_is_declared_under_the_main_guard(stage: Stage) -> None:
    """Not there when the file is loaded again, hooks that are added or defined there still run."""
    program = stage.python(
        """
        def added(flow, run, state):
            tell("added", state.name)

        @flow
        def etl():
            die()

        if __name__ == "__main__":
            tell("main")

            @etl.on_crashed
            def defined(flow, run, state):
                tell("defined", state.name)

            etl.on_crashed(added)
            hook(run_type="flow", state="Crashed")(added)

            @flow(on_crashed=[defined])
            def local():
                etl()

            local()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [
        ["main"],
        *(["defined", "Crashed"], ["added", "Crashed"], ["added", "Crashed"]),
        *(["defined", "Crashed"], ["added", "Crashed"]),
    ], program.output
    stage.assert_clean()


def test_a_module_of_a_package(stage: Stage) -> None:
    """`python -m package.module`, which imports from its own package."""
    stage.write("deep/pack/__init__.py", "", head="")
    stage.write("deep/pack/hooks.py", "")
    stage.write("deep/pack/job.py", f"from .hooks import *\n{ETL}{CALLED}", head="")
    path = f"{stage.folder / 'deep'}:{stage.env['PYTHONPATH']}"
    program = stage.start("-m", "pack.job", PYTHONPATH=path)
    assert_heard(stage, program)


def test_a_package_with_a_main(stage: Stage) -> None:
    """`python -m package`, whose `__main__` calls what another module defines."""
    stage.write("pack/__init__.py", "", head="")
    stage.write("pack/job.py", ETL)
    stage.write("pack/__main__.py", "from .job import etl\n\netl()\n", head="")
    assert_heard(stage, stage.start("-m", "pack"))


def test_a_script_in_another_folder_that_changes_its_own(stage: Stage) -> None:
    """Started by a relative path, it goes elsewhere; its neighbours are found all the same."""
    stage.write("job/flow.py", f"from beside import word\nos.chdir('elsewhere')\n{ETL}{CALLED}")
    stage.write("job/beside.py", "word = 'found'\n", head="")
    (stage.folder / "elsewhere").mkdir()
    program = stage.start("job/flow.py")
    assert program.end() == -signal.SIGKILL
    (stage.folder / "elsewhere" / "told").rename(stage.folder / "told")
    assert stage.told() == HEARD, program.output
    stage.assert_clean()


def test_the_command_line(stage: Stage) -> None:
    """`eventflow run file.py:flow` is an owner like any other."""
    stage.write("flow.py", ETL)
    program = stage.start("-m", "eventflow.cli", "run", "flow.py:etl")
    assert_heard(stage, program)


def test_a_test_run(stage: Stage) -> None:
    """Where pytest runs a flow and dies of it, the hooks of the test's file are found."""
    stage.write("test_it.py", f"{ETL}\ndef test_it():\n    etl()\n")
    program = stage.start("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    # What is said in the test, the recovery's words too, goes to a file of pytest's.
    program.popen.wait()
    stage.until_recovered()
    assert_heard(stage, program)


# -- what no file holds: hooks go by value ----------------------------------------------------


def test_code_on_the_command_line(stage: Stage) -> None:
    """`python -c` leaves nothing to load again."""
    assert_heard(stage, stage.start("-c", FLOW + CALLED))


@pytest.mark.parametrize("options", [["-i"], ["-"]])
def test_code_that_is_typed(stage: Stage, options: list[str]) -> None:
    """In an interactive session as in a program from standard input there is no file."""
    program = stage.start(*options)
    assert program.popen.stdin is not None
    program.popen.stdin.write(FLOW + "\netl()\n")
    program.popen.stdin.flush()
    if options == ["-"]:
        program.popen.stdin.close()
        program.popen.stdin = None
    assert_heard(stage, program)


NOTEBOOK: Final = """
# As IPython does it: a `__main__` of its own, without a file, in which the cells are executed.
import sys, types

def execute(cells):
    user = sys.modules["__main__"] = types.ModuleType("__main__")
    for number, cell in enumerate(cells):
        exec(compile(cell, f"<ipython-input-{number}>", "exec"), vars(user))

if __name__ == "__main__":
    with open("cells") as cells:
        execute(cells.read().split("# cell"))
"""


def test_the_cells_of_a_notebook(stage: Stage) -> None:
    """Hooks of one cell, a flow of another, called in a third."""
    stage.write("kernel.py", NOTEBOOK, head="")
    (stage.folder / "cells").write_text(f"{HEAD}# cell{ETL}# cell\netl()\n")
    assert_heard(stage, stage.start("-m", "kernel"))


def test_an_archive(stage: Stage) -> None:
    """A program in one zip file is loaded from there."""
    import zipapp

    stage.write("app/__main__.py", ETL + CALLED)
    zipapp.create_archive(stage.folder / "app", stage.folder / "app.pyz")
    assert_heard(stage, stage.start("app.pyz"))


def test_the_options_of_the_interpreter(stage: Stage) -> None:
    """Arguments, environment and options are the same when the file is loaded again."""
    source = """
    import argparse

    def heard(flow, run, state):
        tell(sys.argv[1:], os.environ["WORD"], sys.flags.optimize, state.name)

    parser = argparse.ArgumentParser()
    parser.add_argument("--word", required=True)
    word = parser.parse_args().word

    @flow(on_crashed=[heard])
    def etl():
        die()

    if __name__ == "__main__":
        etl()
    """
    stage.write("flow.py", source)
    program = stage.start("-O", "flow.py", "--word", "said", WORD="whole sentence")
    assert program.end() == -signal.SIGKILL
    assert stage.told() == [[["--word", "said"], "whole sentence", 1, "Crashed"]], program.output
    assert sys.flags.optimize == 0
    stage.assert_clean()
