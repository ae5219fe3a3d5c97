"""A connection to PostgreSQL that fails if the server does not answer in time.

A proxy may accept every packet without an answer. The timeouts of the system do not help then: they
are for packets that are lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any

import psycopg

__all__ = ["Connection", "NoAnswer"]


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer within `answer_timeout()` seconds.

    It may change while an answer is waited for; None stands for no limit.
    """

    answer_timeout: Callable[[], float | None] = staticmethod(lambda: None)

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Wait for an answer; psycopg calls this for every request."""
        try:
            return super().wait(_answered(gen, self.answer_timeout), *args, **options)
        except NoAnswer:
            self.close()
            raise


def _answered(gen: Any, timeout: Callable[[], float | None]) -> Generator[Any, Any, Any]:
    """Wait as psycopg does, which resumes this ten times a second while there is no answer."""
    began = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            seconds = None if ready else timeout()
            if seconds is not None and time.monotonic() - began > seconds:
                raise NoAnswer(f"the server did not answer within {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
