"""The parameters of methods: what they are called on is among them, by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from eventflow import flow, runtime, task
from eventflow.errors import SignatureMismatchError
from eventflow.settings import MASK

pytestmark = pytest.mark.usefixtures("eventflow_isolated")

both = pytest.mark.parametrize("decorate", [flow, task])


def named(decorate: Any, template: str | Callable[[], str]) -> Any:
    """Return the decorator with a name for its runs."""
    return decorate(**{f"{'flow' if decorate is flow else 'task'}_run_name": template})


def facts() -> tuple[str | None, dict[str, Any]]:
    """Return the name and the parameters of the run in force."""
    run = runtime.task_run if runtime.task_run.id else runtime.flow_run

    return run.name, run.parameters


@both
def test_run_names(decorate: Any) -> None:
    """A template has `self` and `cls`, in sync and async methods, bound or not."""

    class Table:
        def __init__(self, name: str) -> None:
            self.name = name

        @named(decorate, "load-{self.name}-{day}")
        def load(self, day: str) -> Any:
            return facts()

        @named(decorate, "load-{self.name}-{day}")
        async def aload(self, day: str) -> Any:
            return facts()

        @named(decorate, "{cls.__name__}-{day}")
        @classmethod
        def load_all(cls, day: str) -> Any:
            return facts()

        @classmethod
        @named(decorate, "{cls.__name__}-{day}")
        def around(cls, day: str) -> Any:
            return facts()

        @staticmethod
        @named(decorate, "{day}")
        def free(day: str) -> Any:
            return facts()

    table = Table("crm")
    expected = ("load-crm-monday", {"self": table, "day": "monday"})
    assert table.load("monday") == table.load(day="monday") == expected
    assert Table.load(table, "monday") == table.load.with_options(retries=1)("monday") == expected
    assert asyncio.run(table.aload("monday")) == expected
    of_class = ("Table-monday", {"cls": Table, "day": "monday"})
    assert table.load_all("monday") == Table.load_all("monday") == of_class
    assert table.around("monday") == Table.around("monday") == of_class
    assert table.free("monday") == Table.free("monday") == ("monday", {"day": "monday"})


def test_submitted_and_mapped_methods() -> None:
    """Each task run is named by what it was submitted on, and upstream results fit in."""

    class Table:
        def __init__(self, name: str) -> None:
            self.name = name

        @task(task_run_name="{self.name}-{day}")
        def load(self, day: Any) -> Any:
            return facts()[0]

        @task(task_run_name="{self.name}-{day}")
        async def aload(self, day: int) -> Any:
            return facts()[0]

    @task
    def day() -> int:
        return 7

    @flow
    def main() -> list[Any]:
        a, b = Table("a"), Table("b")
        return [
            a.load.submit(1).result(),
            b.load.submit(day.submit()).result(),
            *a.load.map([1, 2]).result(),
            *b.aload.map([3]).result(),
        ]

    assert main() == ["a-1", "b-7", "a-1", "a-2", "b-3"]


def test_cache_keys() -> None:
    """The function of the cache key gets the very instance, or the class."""
    seen: list[Any] = []

    def key(_: object, parameters: dict[str, Any]) -> str:
        seen.append(parameters)
        return "-".join(getattr(value, "key", str(value)) for value in parameters.values())

    class Table:
        def __init__(self, name: str) -> None:
            self.key = name

        @task(cache_key_fn=key)
        def load(self, day: int) -> list[str]:
            return [self.key]

        @task(cache_key_fn=key)
        async def aload(self, day: int) -> list[str]:
            return [self.key]

        @task(cache_key_fn=key)
        @classmethod
        def load_all(cls, day: int) -> list[str]:
            return [cls.__name__]

    first, second = Table("first"), Table("second")
    assert first.load(1) is first.load(1)
    assert first.load(1) is not first.load(2)
    assert [first.load(3), second.load(3)] == [["first"], ["second"]]
    assert asyncio.run(second.aload(3)) == ["second"]
    of_class: Any = Table.load_all
    assert of_class(1) is of_class(1)
    assert seen[0] == {"self": first, "day": 1}
    assert seen[-1] == {"cls": Table, "day": 1}


@both
def test_secrets_in_names(decorate: Any) -> None:
    """What is secret in an instance, or computed by it, reaches no name of a run."""

    class Login:
        shared_token = "of-class"

        def __init__(self) -> None:
            self.user = "me"
            self.password = "in-instance"
            self.code = SecretStr("in-code")

        def __repr__(self) -> str:
            return f"Login({self.user}, {self.password}, {self.code.get_secret_value()})"

        @property
        def api_key(self) -> str:
            return f"computed for {self.user}"

        @named(decorate, "{self} {self.user} {self.password} {self.api_key} {self.shared_token}")
        def load(self) -> Any:
            return facts()[0]

        @named(decorate, lambda: str(facts()[1].get("self")))
        def called(self) -> Any:
            return facts()[0]

        @named(decorate, "{cls.shared_token}")
        @classmethod
        def load_all(cls) -> Any:
            return facts()[0]

    shown = f"Login(me, {MASK}, {MASK})"
    assert Login().load() == f"{shown} me {MASK} {MASK} {MASK}"
    assert Login.load_all() == MASK
    assert "in-" not in Login().called()


@both
def test_secrets_in_attributes_of_any_parameter(decorate: Any) -> None:
    """An attribute or an item that is called like a secret is masked, whatever object has it."""

    class Connection:
        password = "hunter2"

    @named(decorate, "{connection.password} {options[token]} {options[day]}")
    def load(connection: Any, options: dict[str, str]) -> Any:
        return facts()[0]

    assert load(Connection(), {"token": "hunter2", "day": "monday"}) == f"{MASK} {MASK} monday"


def test_a_template_with_another_parameter() -> None:
    """Of a method a template may ask for `self`, bound or not, and of a function for none."""
    with pytest.raises(SignatureMismatchError, match="self"):
        task(task_run_name="{self}")(len)

    class Table:
        name = "crm"

        @task(task_run_name="fixed")
        def load(self) -> Any:
            return facts()[0]

    assert Table().load.with_options(task_run_name="{self.name}")() == "crm"
    with pytest.raises(SignatureMismatchError, match="self"):
        Table().load.with_options(task_run_name="{day}")


def test_a_plain_parameter_that_is_called_self() -> None:
    """It is a parameter like any other, and a first parameter may have another name."""

    @task(task_run_name="{self}")
    def free(self: int) -> Any:
        return facts()

    class Table:
        @task(task_run_name="{this.name}-{more}")
        def load(this, *more: int) -> Any:  # noqa: N805 - any name will do
            return facts()

        @task
        def spread(*every: Any) -> Any:
            return facts()[1]

        name = "crm"

    table: Any = Table()
    assert free(3) == ("3", {"self": 3})
    assert table.load(1, 2) == ("crm-(1, 2)", {"this": table, "more": (1, 2)})
    assert table.spread(1) == {"every": (1,)}


def test_hooks_see_the_instance() -> None:
    """In its own process, a hook has the instance among the run's parameters."""
    seen: list[Any] = []

    class Table:
        @task(on_completion=[lambda task, run, state: seen.append(run.parameters)])
        def load(self, day: int = 1) -> None: ...

    table = Table()
    table.load()

    assert seen == [{"self": table, "day": 1}]
