"""A value that is not available raises on every use, and says why in its repr."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import operator
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from eventflow import Unavailable
from eventflow.errors import UnavailableError

gone: Any = Unavailable("it was a socket")

USES: dict[str, Callable[[], object]] = {
    "str": lambda: str(gone),
    "format": lambda: f"{gone}",
    "format with a spec": lambda: f"{gone:>10}",
    "percent": lambda: "%s" % gone,  # noqa: UP031 - what is tested
    "str.format": lambda: "{}".format(gone),  # noqa: UP032 - what is tested
    "bool": lambda: bool(gone),
    "not": lambda: not gone,
    "len": lambda: len(gone),
    "iteration": lambda: list(gone),
    "unpacking": lambda: [*gone],
    "keywords": lambda: dict(**gone),
    "dict": lambda: dict(gone),
    "next": lambda: next(gone),
    "reversed": lambda: reversed(gone),
    "contains": lambda: 1 in gone,
    "item": lambda: gone[0],
    "set item": lambda: operator.setitem(gone, 0, 1),
    "delete item": lambda: operator.delitem(gone, 0),
    "attribute": lambda: gone.name,
    "reason": lambda: gone.reason,
    "private": lambda: gone._reason,
    "hasattr": lambda: hasattr(gone, "name"),
    "set attribute": lambda: setattr(gone, "name", 1),
    "delete attribute": lambda: delattr(gone, "name"),
    "call": lambda: gone(1),
    "equal": lambda: gone == 1,
    "equal, from the right": lambda: 1 == gone,  # noqa: SIM300 - what is tested
    "unequal": lambda: gone != 1,
    "less": lambda: gone < 1,
    "sorted": lambda: sorted([gone, 1]),
    "hash": lambda: hash(gone),
    "in a set": lambda: {gone},
    "int": lambda: int(gone),
    "float": lambda: float(gone),
    "complex": lambda: complex(gone),
    "bytes": lambda: bytes(gone),
    "index": lambda: range(gone),
    "round": lambda: round(gone),
    "floor": lambda: math.floor(gone),
    "negative": lambda: -gone,
    "inverted": lambda: ~gone,
    "abs": lambda: abs(gone),
    "path": lambda: os.fspath(gone),
    "join": lambda: os.path.join("a", gone),  # noqa: PTH118 - what is tested
    "isinstance": lambda: isinstance(1, gone),
    "copy": lambda: copy.copy(gone),
    "deepcopy": lambda: copy.deepcopy({"a": gone}),
}
BINARY = "add sub mul matmul truediv floordiv mod pow lshift rshift and_ xor or_".split()  # noqa: SIM905


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_a_use_raises(use: Callable[[], object]) -> None:
    """With the reason."""
    with pytest.raises(UnavailableError, match="it was a socket"):
        use()


@pytest.mark.parametrize("name", [*BINARY, *(f"i{name.rstrip('_')}" for name in BINARY)])
def test_arithmetic_raises(name: str) -> None:
    """From the left, from the right and in place."""
    calculate = getattr(operator, name)
    for pair in ((gone, 2), (2, gone)):
        with pytest.raises(UnavailableError):
            calculate(*pair)


def test_a_use_in_async_code_raises() -> None:
    """It can be neither awaited nor entered nor iterated over."""

    async def awaited() -> None:
        await gone

    async def entered() -> None:
        async with gone:
            pass

    async def iterated() -> None:
        async for _ in gone:
            pass

    for use in (awaited, entered, iterated):
        with pytest.raises(UnavailableError):
            asyncio.run(use())


@pytest.mark.parametrize("write", [pickle.dumps, json.dumps])
def test_it_cannot_be_written(write: Callable[[object], object]) -> None:
    """So that nobody reads it as a value elsewhere."""
    with pytest.raises((pickle.PicklingError, TypeError, UnavailableError)):
        write(gone)


def test_it_can_be_recognised_and_shown() -> None:
    """By its type; its repr says why, also within a container."""
    assert isinstance(gone, Unavailable)
    assert repr([gone]) == "[<Unavailable: it was a socket>]"
    assert getattr(gone, "__rich__", None) is None
