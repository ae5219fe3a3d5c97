"""The four kinds of run: a flow or a task, sync or async."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from eventflow import flow, task
from eventflow.states import AnyState


class Kind(NamedTuple):
    """A kind of run: how to declare its definition, and how to execute it."""

    run_type: str
    is_async: bool

    def declare(self, body: Callable[..., Any], **options: Any) -> Any:
        """Make a definition named `work` of a body."""
        options.setdefault("name", "work")
        decorate = flow if self.run_type == "flow" else task
        if not self.is_async or inspect.iscoroutinefunction(body):
            return decorate(**options)(body)

        async def abody(number: int = 0) -> Any:
            result = body(number) if inspect.signature(body).parameters else body()
            return await result if inspect.isawaitable(result) else result

        return decorate(**options)(abody)

    def execute(self, definition: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the definition."""
        called = definition(*args, **kwargs)
        return asyncio.run(_awaited(called)) if self.is_async else called

    def state(self, definition: Any, *args: Any, **kwargs: Any) -> AnyState:
        """Call the definition; return the final state."""
        state: AnyState = self.execute(definition, *args, return_state=True, **kwargs)
        return state

    def wait_forever(self) -> Awaitable[None] | None:
        """Wait, in a body, without end."""
        if self.is_async:
            return asyncio.sleep(3600)
        threading.Event().wait(3600)
        return None


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


KINDS = [Kind(run_type, is_async) for run_type in ("flow", "task") for is_async in (False, True)]


def raising(error: BaseException) -> Callable[[], Any]:
    """Return a body that raises an error."""

    def body() -> Any:
        raise error

    return body
