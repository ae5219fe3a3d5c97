"""Marks around an argument, which say how it is passed on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Mark", "allow_failure", "opaque", "quote", "unmapped"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mark(Generic[T]):
    """A value, marked."""

    value: T

    def unwrap(self) -> T:
        """Return the value without its mark."""
        return self.value


class unmapped(Mark[T]):  # noqa: N801 - used like a function, as in Prefect
    """Marks an argument of `map` that is passed whole to every task run."""

    __slots__ = ()


class allow_failure(Mark[T]):  # noqa: N801 - used like a function, as in Prefect
    """Marks an argument whose upstream may fail: the task run is then passed its exception."""

    __slots__ = ()


class quote(Mark[T]):  # noqa: N801 - used like a function, as in Prefect
    """Marks an argument that is passed as it is: futures and states in it are values.

    It is not looked into, which saves time for large data, and `map` passes it whole to every task
    run. A body that returns a quoted state returns a value; `unquote` gives the state.
    """

    __slots__ = ()

    def unquote(self) -> T:
        """Return the value that was quoted."""
        return self.value


class opaque(Mark[T]):  # noqa: N801 - used like a function, as in Prefect
    """Marks an argument that is not looked into, but is replaced by its result if it is a future.

    Otherwise it is passed as it is, like a `quote`: futures within it are values, and `map` passes
    it whole to every task run.
    """

    __slots__ = ()
