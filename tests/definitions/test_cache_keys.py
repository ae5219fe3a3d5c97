"""`task_input_hash`: one key for equal arguments of one function, and others for all else."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from eventflow import Task, flow, task
from eventflow.tasks import task_input_hash

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


def key(value: Any, fn: Callable[..., Any] = len) -> str | None:
    """Return the key of a run of a function with one argument."""
    context: Any = SimpleNamespace(task=SimpleNamespace(fn=fn))

    return task_input_hash(context, {"value": value})


class Model(BaseModel):
    """A pydantic model."""

    days: list[date]
    code: SecretStr = SecretStr("a")


@dataclass
class Point:
    """A dataclass."""

    x: Any


class Slotted:
    """An object without a `__dict__`."""

    __slots__ = ("x",)

    def __init__(self, x: int) -> None:
        self.x = x


class Named(list[int]):
    """A list that has attributes as well."""

    name = ""


class Table:
    """An object with methods that are tasks."""

    def __init__(self, name: str) -> None:
        self.name = name

    @task(cache_key_fn=task_input_hash, task_run_name="{self.name}")
    def load(self, day: int) -> list[int]:
        return [day]


VALUES: list[Callable[[], Any]] = [
    lambda: 1,
    lambda: 1.0,
    lambda: True,
    lambda: "1",
    lambda: b"1",
    lambda: None,
    lambda: "\ud800",
    lambda: [1, 2],
    lambda: (1, 2),
    lambda: [(1, 2)],
    lambda: [[1], 2],
    lambda: {1, 2},
    lambda: {"a": 1, "b": [2]},
    lambda: {1: "a"},
    lambda: {"1": "a"},
    lambda: date(2026, 1, 31),
    lambda: Decimal("1.0"),
    lambda: Path("/a"),
    lambda: deque([1, 2]),
    lambda: OrderedDict(a=1),
    lambda: Named([1]),
    lambda: Named([2]),
    lambda: Point({"a": [1]}),
    lambda: Point({"a": [2]}),
    lambda: Slotted(1),
    lambda: Slotted(2),
    lambda: Model(days=[date(2026, 1, 31)]),
    lambda: Model(days=[date(2026, 1, 31)], code=SecretStr("b")),
    lambda: Table("a"),
    lambda: Table("b"),
    lambda: Table,
    lambda: len,
]


def test_equal_values_have_one_key_and_others_have_others() -> None:
    """By their types and contents, whichever objects they are."""
    first = [key(make()) for make in VALUES]
    assert None not in first
    assert [key(make()) for make in VALUES] == first
    assert len(set(first)) == len(VALUES)
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    shared = [1]
    assert key([shared, shared]) == key([[1], [1]])


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_a_copy_has_the_same_key(value: Any) -> None:
    """However it is nested, and whatever text is in it."""
    copied: Any = [*value] if isinstance(value, list) else value
    assert key(copied) == key(value)
    assert key([value]) != key(value)


def test_what_has_no_key() -> None:
    """What cannot be pickled, or holds itself, or raises meanwhile, is not cached."""
    cyclic: list[Any] = []
    cyclic.append(cyclic)

    class Refusing:
        def __reduce__(self) -> Any:
            raise ValueError("never")

    for value in (threading.Lock(), (n for n in [1]), cyclic, Refusing()):
        assert key(value) is None


def test_another_function_has_another_key() -> None:
    """Also one of the same name that was defined anew, as in a notebook."""

    def defined(number: int) -> Callable[[Any], int]:
        space: dict[str, Any] = {}
        exec(f"def work(value): return {number} + (lambda: {number})()", space)
        work: Callable[[Any], int] = space["work"]
        return work

    assert key(1, defined(1)) == key(1, defined(1))
    assert len({key(1, len), key(1, max), key(1, defined(1)), key(1, defined(2))}) == 4


def test_what_a_function_is_called_with_besides() -> None:
    """What a partial holds, what a method is bound to, and what an object holds that is called."""

    class Adder:
        def __init__(self, number: int) -> None:
            self.number = number

        def add(self, value: int) -> int:
            return self.number + value

        __call__ = add

    def functions(number: int) -> list[Callable[..., Any]]:
        return [Adder(number), Adder(number).add, partial(pow, number), partial(pow, exp=number)]

    keys = [key(1, fn) for number in (1, 2) for fn in functions(number)]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert [key(1, fn) for number in (1, 2) for fn in functions(number)] == keys


def test_cached_results() -> None:
    """As `cache_key_fn`, of sync and async tasks and of methods, called and submitted."""

    @task(cache_key_fn=task_input_hash)
    def load(day: Any, *more: Any, **options: Any) -> list[Any]:
        return [day, more, options]

    @task(cache_key_fn=task_input_hash)
    async def aload(day: Any) -> list[Any]:
        return [day]

    @flow
    def main() -> list[bool]:
        tasks: list[Task[..., Any]] = [load, aload]
        keep: list[Any] = [single.submit([1]).result() for single in tasks]
        again: list[Any] = [single.submit([1]).result() for single in tasks]
        return [one is other for one, other in zip(keep, again, strict=True)]

    assert main() == [True, True]
    assert load(1, 2, a=3) is load(1, 2, a=3)
    assert load(1, 2, a=3) is not load(1, 2, a=4)
    assert asyncio.run(aload([1])) is asyncio.run(aload([1]))
    assert load(threading.Lock(), 1) is not load(threading.Lock(), 1)
    assert Table("a").load(1) is Table("a").load(1)
    assert Table("a").load(1) is not Table("b").load(1)
