"""Methods that answer yes or no, and raise where they are taken for the answer without a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

__all__ = ["Checked", "checked"]

S = TypeVar("S")


class _Check(partial[bool]):
    """A method that is bound and not called yet."""

    def __bool__(self) -> bool:
        """Refuse to be taken for the answer: a method is always true.

        Raises:
            TypeError: always.
        """
        name = self.func.__name__
        raise TypeError(f"{self.func.__qualname__} is a method: call it, as in `.{name}()`.")


class Checked:
    """A descriptor that binds such a method."""

    def __init__(self, method: Callable[[Any], bool]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: object, _: object = None) -> Any:
        return self if instance is None else _Check(self._method, instance)


def checked(method: Callable[[S], bool]) -> Callable[[S], bool]:
    """Have a method raise TypeError where it is used as a truth value without being called."""
    return Checked(method)  # type: ignore[return-value]
