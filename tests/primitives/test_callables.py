"""Callables: which of them are async, and what they are called."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import AsyncMock, Mock

from eventflow import Event, flow, task
from eventflow.primitives.callables import is_async, qualified_name


class AsyncCaller:
    async def __call__(self, event: Event) -> None: ...


async def afunction(event: Event) -> None: ...


def test_async_callables_are_recognised_through_wrappers() -> None:
    """Partials, objects, mocks and definitions; what cannot be called is not async."""

    @flow
    async def aflow() -> None: ...

    @task
    def plain() -> None: ...

    callables: list[Any] = [afunction, partial(afunction), AsyncCaller(), AsyncMock(), aflow]
    assert all(map(is_async, callables))
    assert not any(map(is_async, [print, plain, Mock(), partial(print), 3, None]))


def test_names_of_callables() -> None:
    """Module and qualified name of the function, or of the type of an object."""
    assert qualified_name(partial(partial(afunction))) == f"{__name__}:afunction"
    assert qualified_name(AsyncCaller()) == f"{__name__}:AsyncCaller"
    assert qualified_name(len) == "builtins:len"


def test_the_main_module_of_another_process_has_its_own_name() -> None:
    """What multiprocessing loads as `__mp_main__` is named as in the process it comes from."""

    def function() -> None: ...

    function.__module__ = "__mp_main__"
    assert qualified_name(function).startswith("__main__:")
