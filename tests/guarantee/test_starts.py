"""However a program was started, its hooks are loaded again, and no code of it runs twice."""

from __future__ import annotations

import signal
import sys
from typing import Final

import pytest

from tests.guarantee.sandbox import HEAD, Program, Sandbox

ETL: Final = """
@flow(on_crashed=[record_state])
def etl():
    record("body")
    die()
"""

FLOW: Final = HEAD + ETL

CALLED: Final = """
if __name__ == "__main__":
    etl()
"""

RECORDS: Final = [["body"], ["etl", "Crashed", 1]]


def assert_recovered(sandbox: Sandbox, program: Program, *, status: int = -signal.SIGKILL) -> None:
    """Assert that the body ran once, and that another process called the hook."""
    assert program.end() == status, program.output
    records = sandbox.records()
    assert records == RECORDS, program.output
    assert records[0].pid != records[1].pid
    sandbox.assert_clean()


def test_a_script_without_a_main_guard_is_not_run_twice(sandbox: Sandbox) -> None:
    """When it is loaded again, it runs up to its first call of a flow, and no further."""
    program = sandbox.python(
        """
        record("top", __name__)

        @task
        def step(n):
            record("step", n)

        @flow(on_crashed=[record_state])
        def etl():
            record("etl")

        def main():
            record("main", step(1))
            etl()
            record("between")
            last()

        @flow(on_failure=[record_state], on_crashed=[record_state])
        def last():
            record("last")
            die()

        main()
        record("bottom")
        """
    )
    assert program.end() == -signal.SIGKILL
    owner = [record for record in sandbox.records() if record.pid == program.pid]
    other = [record for record in sandbox.records() if record.pid != program.pid]
    assert owner == [
        ["top", "__main__"],
        *(["step", 1], ["main", None]),
        *(["etl"], ["between"], ["last"]),
    ]
    assert other == [["top", "__mp_main__"], ["last", "Crashed", 1]], program.output
    sandbox.assert_clean()


def test_hooks_below_the_first_call_of_a_script_are_guarded(sandbox: Sandbox) -> None:
    """Loading stops at the first call; hooks below it are handed over by value."""
    program = sandbox.python(
        """
        @flow(on_completion=[record_state])
        def first(): ...

        first()

        def below(flow, run, state):
            record("below", state.name, aside(run))

        def aside(run):
            return run.flow_name

        @flow(on_running=[below], on_crashed=[below])
        def second():
            die()

        second()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [
        ["first", "Completed", 1],
        ["below", "Running", "second"],
        ["below", "Crashed", "second"],
    ], program.output
    sandbox.assert_clean()


def test_what_is_declared_under_the_main_guard(sandbox: Sandbox) -> None:
    """Hooks added or defined there still run, though loading the file does not define them."""
    program = sandbox.python(
        """
        def added(flow, run, state):
            record("added", state.name)

        @flow
        def etl():
            die()

        if __name__ == "__main__":
            record("main")

            @etl.on_crashed
            def defined(flow, run, state):
                record("defined", state.name)

            etl.on_crashed(added)
            hook(run_type="flow", state="Crashed")(added)

            @flow(on_crashed=[defined])
            def local():
                etl()

            local()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [
        ["main"],
        *(["defined", "Crashed"], ["added", "Crashed"], ["added", "Crashed"]),
        *(["defined", "Crashed"], ["added", "Crashed"]),
    ], program.output
    sandbox.assert_clean()


def test_a_module_of_a_package(sandbox: Sandbox) -> None:
    """`python -m package.module`, which imports from its own package."""
    sandbox.write("deep/pack/__init__.py", "", head="")
    sandbox.write("deep/pack/hooks.py", "")
    sandbox.write("deep/pack/job.py", f"from .hooks import *\n{ETL}{CALLED}", head="")
    path = f"{sandbox.folder / 'deep'}:{sandbox.env['PYTHONPATH']}"
    program = sandbox.start("-m", "pack.job", PYTHONPATH=path)
    assert_recovered(sandbox, program)


def test_a_package_with_a_main(sandbox: Sandbox) -> None:
    """`python -m package`, whose `__main__` calls what another module defines."""
    sandbox.write("pack/__init__.py", "", head="")
    sandbox.write("pack/job.py", ETL)
    sandbox.write("pack/__main__.py", "from .job import etl\n\netl()\n", head="")
    assert_recovered(sandbox, sandbox.start("-m", "pack"))


def test_a_script_in_another_folder_that_changes_its_own(sandbox: Sandbox) -> None:
    """Started by a relative path; modules beside the script are still imported."""
    sandbox.write("job/flow.py", f"from beside import word\nos.chdir('elsewhere')\n{ETL}{CALLED}")
    sandbox.write("job/beside.py", "word = 'found'\n", head="")
    (sandbox.folder / "elsewhere").mkdir()
    program = sandbox.start("job/flow.py")
    assert program.end() == -signal.SIGKILL
    (sandbox.folder / "elsewhere" / "records").rename(sandbox.folder / "records")
    assert sandbox.records() == RECORDS, program.output
    sandbox.assert_clean()


def test_the_command_line(sandbox: Sandbox) -> None:
    """`eventflow run file.py:flow` is an owner like any other."""
    sandbox.write("flow.py", ETL)
    program = sandbox.start("-m", "eventflow.cli", "run", "flow.py:etl")
    assert_recovered(sandbox, program)


def test_a_test_run(sandbox: Sandbox) -> None:
    """If a flow kills pytest, the hooks of the test file are loaded."""
    sandbox.write("test_it.py", f"{ETL}\ndef test_it():\n    etl()\n")
    program = sandbox.start("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
    # pytest captures the output of the test, and that of the recovery, in a file.
    program.popen.wait()
    sandbox.wait_until_recovered()
    assert_recovered(sandbox, program)


# -- code without a file: hooks are handed over by value --------------------------------------


def test_code_on_the_command_line(sandbox: Sandbox) -> None:
    """`python -c` has no file to load."""
    assert_recovered(sandbox, sandbox.start("-c", FLOW + CALLED))


@pytest.mark.parametrize("options", [["-i"], ["-"]])
def test_code_from_standard_input(sandbox: Sandbox, options: list[str]) -> None:
    """Interactive or not, there is no file to load."""
    program = sandbox.start(*options)
    assert program.popen.stdin is not None
    program.popen.stdin.write(FLOW + "\netl()\n")
    program.popen.stdin.flush()
    if options == ["-"]:
        program.popen.stdin.close()
        program.popen.stdin = None
    assert_recovered(sandbox, program)


NOTEBOOK: Final = """
# As in IPython: the cells are executed in a `__main__` of their own, without a file.
import sys, types

def execute(cells):
    user = sys.modules["__main__"] = types.ModuleType("__main__")
    for number, cell in enumerate(cells):
        exec(compile(cell, f"<ipython-input-{number}>", "exec"), vars(user))

if __name__ == "__main__":
    with open("cells") as cells:
        execute(cells.read().split("# cell"))
"""


def test_the_cells_of_a_notebook(sandbox: Sandbox) -> None:
    """The hooks are in one cell, the flow in another, its call in a third."""
    sandbox.write("kernel.py", NOTEBOOK, head="")
    (sandbox.folder / "cells").write_text(f"{HEAD}# cell{ETL}# cell\netl()\n")
    assert_recovered(sandbox, sandbox.start("-m", "kernel"))


def test_an_archive(sandbox: Sandbox) -> None:
    """A program in one zip file is loaded from there."""
    import zipapp

    sandbox.write("app/__main__.py", ETL + CALLED)
    zipapp.create_archive(sandbox.folder / "app", sandbox.folder / "app.pyz")
    assert_recovered(sandbox, sandbox.start("app.pyz"))


def test_the_options_of_the_interpreter(sandbox: Sandbox) -> None:
    """Arguments, environment and options are the same where the file is loaded again."""
    source = """
    import argparse

    def record_state(flow, run, state):
        record(sys.argv[1:], os.environ["WORD"], sys.flags.optimize, state.name)

    parser = argparse.ArgumentParser()
    parser.add_argument("--word", required=True)
    word = parser.parse_args().word

    @flow(on_crashed=[record_state])
    def etl():
        die()

    if __name__ == "__main__":
        etl()
    """
    sandbox.write("flow.py", source)
    program = sandbox.start("-O", "flow.py", "--word", "said", WORD="whole sentence")
    assert program.end() == -signal.SIGKILL
    assert sandbox.records() == [[["--word", "said"], "whole sentence", 1, "Crashed"]], (
        program.output
    )
    assert sys.flags.optimize == 0
    sandbox.assert_clean()
