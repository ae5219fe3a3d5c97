"""Callables: which of them are async, and what they are called."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from eventflow import Event, flow, task
from eventflow.primitives.callables import is_async, qualified_name, refuse_await


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


def plain(result: Any = 3, **_: Any) -> Any:
    refuse_await(result, "plain()", "`await other()`")
    return result


def test_an_await_before_a_plain_call_is_refused() -> None:
    """Whatever its arguments are, and also once Python has adapted to the place of the call."""

    given, named = [3], {"some": 1}

    async def asking() -> None:
        for _ in range(100):
            with pytest.raises(TypeError, match=r"plain\(\) .* leave the .* or `await other\(\)`"):
                await plain()
            with pytest.raises(TypeError, match=r"plain\(\)"):
                await plain(3, some=1)
            with pytest.raises(TypeError, match=r"plain\(\)"):
                await plain(*given, **named)

    asyncio.run(asking())


def test_other_calls_of_a_plain_function_are_as_ever() -> None:
    """In sync and in async code, in an expression that is awaited, and with no caller in Python."""
    results: list[Any] = []

    async def asking() -> None:
        results.append(plain())
        results.extend([plain(number) for number in range(2)])
        results.append(await asyncio.to_thread(plain))
        results.append(await asyncio.sleep(0, plain(4)))
        results.append(await plain(asyncio.sleep(0, 5)))

    asyncio.run(asking())
    thread = threading.Thread(target=plain)
    thread.start()
    thread.join()
    assert [plain(), *map(plain, [1]), *results] == [3, 1, 3, 0, 1, 3, 4, 5]
