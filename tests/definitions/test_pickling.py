"""Pickled and copied definitions: by reference, bound ones with their object, others refused."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from eventflow import flow, task

pytestmark = pytest.mark.usefixtures("eventflow_isolated")


@task
def add(number: int) -> int:
    return number + 1


add_often = add.with_options(name="add-often", retries=2)


@flow
def double(number: int) -> int:
    return 2 * number


@task
async def fetch(number: int) -> int:
    return number


@dataclass
class Shop:
    factor: int

    @task
    def price(self, number: int) -> int:
        return self.factor * number

    @task
    @classmethod
    def standard(cls, number: int) -> int:
        return cls(3).factor * number

    @task
    @staticmethod
    def rounded(number: int) -> int:
        return number - number % 10


class Store(Shop):
    pass


@pytest.mark.parametrize("definition", [add, add_often, double, fetch, Shop.price])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_definition_of_a_module_is_found_again(definition: Any, protocol: int) -> None:
    """It is the very same, with the options of its copy."""
    assert pickle.loads(pickle.dumps(definition, protocol)) is definition
    assert copy.copy(definition) is definition
    assert copy.deepcopy([definition])[0] is definition


def test_what_is_bound_keeps_what_it_is_bound_to() -> None:
    """An object is pickled and copied with its method, as with a function's."""
    price: Any = Shop(7).price

    for other in (pickle.loads(pickle.dumps(price)), copy.deepcopy(price)):
        assert other(2) == 14
        assert other.origin is Shop.price
        assert other.fn.__self__ == Shop(7)
        assert other.fn.__self__ is not price.fn.__self__
    assert copy.copy(price) is price


@pytest.mark.parametrize(
    ("method", "result"),
    [
        (Shop.standard, 60),
        (Store.standard, 60),
        (Shop(1).standard, 60),
        (Shop.rounded, 20),
        (Shop(1).rounded, 20),
        (Store(4).price, 80),
    ],
)
def test_methods_of_every_kind(method: Any, result: int) -> None:
    """Class methods keep their class; static methods have none."""
    other = pickle.loads(pickle.dumps(method))

    assert other(20) == copy.deepcopy(method)(20) == result
    assert other.origin is method.origin
    assert getattr(other.fn, "__self__", None) == getattr(method.fn, "__self__", None)


@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_pools_of_processes_map_definitions(way: str) -> None:
    """A task, a flow and a bound method are called in other processes, with their options."""
    with multiprocessing.get_context(way).Pool(1) as pool:
        assert pool.map(add, [1, 2]) == [2, 3]
        assert pool.map(add_often, [1]) == [2]
        assert pool.map(double, [4]) == [8]
        assert pool.map(Shop(5).price, [3]) == [15]


def nested() -> Any:
    @task
    def inner() -> None:
        pass

    return inner


@pytest.mark.parametrize("make", [nested, add.with_options, Shop(1).price.with_options])
def test_what_no_name_leads_to_is_refused(make: Any) -> None:
    """The error says what is wrong and what to do; a copy needs no name."""
    definition = make()

    with pytest.raises(pickle.PicklingError, match=r"Task\(name=.*top level of a module"):
        pickle.dumps(definition)
    assert copy.copy(definition) is copy.deepcopy(definition) is definition


def test_another_process_may_lack_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the name leads to by then is never taken for the definition."""
    packed = pickle.dumps(add)
    monkeypatch.setattr(sys.modules[__name__], "add", len)

    with pytest.raises(pickle.UnpicklingError, match=r"test_pickling:add"):
        pickle.loads(packed)


def test_a_name_that_leads_elsewhere_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A definition whose name was given to another one is refused."""
    old = add
    monkeypatch.setattr(sys.modules[__name__], "add", task(len))
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(old)


PROGRAM = """
import os
import sys

import cloudpickle

from eventflow import flow, task

seen = []

@task(on_completion=[lambda task, run, state: seen.append(state.name)])
def clean(name):
    return f"cleaned {name}"

@flow
def sweep(names):
    return [clean(name) for name in names]

def hook(*_):
    return [*sweep(["a"]), *seen]

if __name__ == "__main__":
    assert hook() == ["cleaned a", "Completed"]
    sys.stdout.buffer.write(cloudpickle.dumps([hook, clean, sweep]))
"""


def test_cloudpickle_packs_a_program_s_definitions_by_value(tmp_path: Path) -> None:
    """Another process, whose main module is another, gets functions and hooks."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    packed = subprocess.run(
        [sys.executable, program], capture_output=True, check=True, cwd=tmp_path
    ).stdout

    hook, clean, sweep = pickle.loads(packed)

    assert sweep(["b"]) == ["cleaned b"]
    assert clean("c") == "cleaned c"
    assert hook()[0] == "cleaned a"
    assert hook()[-1] == "Completed"


def test_cloudpickle_packs_what_no_name_leads_to() -> None:
    """A nested definition is packed whole, and not as a reference."""
    definition = nested().with_options(name="other", retries=3)
    other = pickle.loads(cloudpickle.dumps(definition))

    assert other is not definition
    assert (other.name, other.retry.retries, other()) == ("other", 3, None)
