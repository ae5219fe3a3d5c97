"""A connection to PostgreSQL that does not wait for ever where nobody answers.

Whoever is in between may take in everything and say nothing, of which the system knows nothing:
its own timeouts are for packets that are lost.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg

__all__ = ["Connection", "NoAnswer"]


class NoAnswer(psycopg.OperationalError):
    """The server was silent for too long."""


class Connection(psycopg.Connection[Any]):
    """A connection that is closed when the server does not answer for `patience` seconds."""

    patience: float | None = None

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """Wait for whatever was asked; every request of psycopg comes by here."""
        if self.patience is None:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_answered(gen, self.patience), *args, **options)
        except NoAnswer:
            self.close()
            raise


def _answered(gen: Any, patience: float) -> Generator[Any, Any, Any]:
    """Wait as psycopg does, which looks up ten times a second while nothing comes."""
    end = time.monotonic() + patience
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise NoAnswer(f"the server did not answer within {patience:g} s")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value
