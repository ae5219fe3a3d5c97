"""What a hook gets of the parameters of a run whose process was killed: the value, or an error."""

from __future__ import annotations

import signal

from tests.guarantee.sandbox import Sandbox


def test_parameters_after_a_kill(sandbox: Sandbox) -> None:
    """Each has its own type, types of the script included; what cannot come back says why."""
    program = sandbox.python(
        """
        import datetime, enum, pathlib
        from dataclasses import dataclass
        from pydantic import BaseModel, SecretStr
        from eventflow import task
        from eventflow.errors import UnavailableError

        class Colour(enum.Enum):
            RED = 1

        @dataclass
        class Point:
            x: int

        class Source(BaseModel):
            name: str
            days: tuple[datetime.date, ...]

        DAY = datetime.date(2026, 1, 31)
        GIVEN = {
            "folders": [pathlib.Path("/a"), pathlib.Path("/b")],
            "source": Source(name="crm", days=(DAY,)),
            "colour": Colour.RED,
            "rest": ((1, Point(2)), {DAY: b"x"}),
            "options": {"n": {1, 2}, "point": Point(3)},
        }

        def check(flow, run, state):
            given = run.parameters
            for name, value in GIVEN.items():
                same = given[name] == value and type(given[name]) is type(value)
                record(name, same)
            for name in ("client", "token", "code"):
                try:
                    bool(given[name])
                except UnavailableError as error:
                    record(name, "".join(str(error).split(": ", 2)[2:]).split(".")[0])

        @flow(on_crashed=[check])
        def etl(folders: list[pathlib.Path], source: Source, colour: Colour, client, token: str,
                code: SecretStr, *rest: object, **options: object):
            die()

        if __name__ == "__main__":
            etl(["/a", "/b"], {"name": "crm", "days": ["2026-01-31"]}, 1, object(), "hunter2",
                "hunter2", *GIVEN["rest"], **GIVEN["options"])
        """
    )
    assert program.end() == -signal.SIGKILL
    records = [list(record) for record in sandbox.records()]
    assert records == [
        *([name, True] for name in ("folders", "source", "colour", "rest", "options")),
        ["client", "a builtins"],
        ["token", "it is called like a secret, and was masked"],
        ["code", "it is a secret, and no secret is recorded"],
    ], program.output
    sandbox.assert_clean()


def test_what_a_method_was_called_on_after_a_kill(sandbox: Sandbox) -> None:
    """Of an instance or a class a hook gets no more than its name; the rest as of a function."""
    program = sandbox.python(
        """
        from eventflow import task
        from eventflow.errors import UnavailableError

        def check(task, run, state):
            given = dict(run.parameters)
            record(run.name, given.pop("day"))
            for name in given:
                try:
                    given[name].table
                except UnavailableError as error:
                    record(name, "only the class is recorded" in str(error))

        class Loader:
            def __init__(self):
                self.password = "hunter2"
                self.table = "crm"

            @task(on_crashed=[check], task_run_name="{self.table}-{day}")
            def load(self, day):
                self.load_all(day)

            @task(on_crashed=[check], task_run_name="{cls.__name__}-{day}")
            @classmethod
            def load_all(cls, day):
                die()

        @flow
        def etl():
            Loader().load(1)

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    records = [list(record) for record in sandbox.records()]
    assert records == [["Loader-1", 1], ["cls", True], ["crm-1", 1], ["self", True]], program.output
    sandbox.assert_clean()


def test_the_data_of_a_state_after_a_kill(sandbox: Sandbox) -> None:
    """The result stays in its process: it is unavailable, and not None."""
    program = sandbox.python(
        """
        def check(flow, run, state):
            from eventflow import Unavailable
            if isinstance(state.data, Unavailable):
                record(repr(state.result())[:24])
            else:
                die()

        @flow(on_completion=[check])
        def etl():
            return [1]

        if __name__ == "__main__":
            etl()
        """
    )
    assert program.end() == -signal.SIGKILL
    assert [list(record) for record in sandbox.records()] == [["<Unavailable: the result"]]
    sandbox.assert_clean()
