"""Iterators that can be gone through once: their items are kept, to be seen again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from itertools import islice
from threading import RLock
from typing import Any, Final

from eventflow.errors import IteratorEndedError

__all__ = ["AsyncReplay", "Replay", "from_the_first_item", "is_plain_iterator", "with_items_kept"]

_PLAIN: Final = frozenset({"builtins", "itertools", "pydantic_core._pydantic_core"})
"""The modules of iterators that are nothing else: generators, `map`, `zip`, views, pydantic's."""


def is_plain_iterator(value: Any) -> bool:
    """Return whether something is an iterator only; a file, for instance, is more."""
    return type(value).__module__ in _PLAIN and isinstance(value, Iterator)


class _Kept:
    """The items that an iterator has given so far, and what it raised."""

    __slots__ = ("error", "items", "lock", "source")

    def __init__(self, source: Any) -> None:
        self.source = source
        self.items: list[Any] = []
        self.error: BaseException | None = None
        # Reentrant: a generator that goes through itself is told so by Python.
        self.lock = RLock()

    def raise_error(self) -> None:
        """Raise again what the iterator raised, since it has ended with that."""
        if isinstance(self.error, Exception):
            raise self.error
        if self.error is not None:
            raise IteratorEndedError(len(self.items), type(self.error).__name__)


class Replay(Iterator[Any]):
    """Goes through the items of an iterator, kept ones first; `again` gives one from the first."""

    __slots__ = ("_kept", "_place")

    def __init__(self, source: Any) -> None:
        self._kept = _Kept(source)
        self._place = 0

    def __next__(self) -> Any:
        kept = self._kept
        with kept.lock:
            if self._place == len(kept.items):
                kept.raise_error()
                try:
                    # In one step of C code: an interrupt cannot lose an item that was taken.
                    kept.items.extend(islice(kept.source, 1))
                except BaseException as error:
                    kept.error = error
                    raise
            if self._place == len(kept.items):
                raise StopIteration
            self._place += 1

            return kept.items[self._place - 1]

    def again(self) -> Replay:
        """Return another one, which begins with the first item."""
        other = object.__new__(type(self))
        other._kept = self._kept
        other._place = 0

        return other


class AsyncReplay(AsyncIterator[Any]):
    """What `Replay` is, for an async generator."""

    __slots__ = ("_kept", "_place")

    def __init__(self, source: Any) -> None:
        self._kept = _Kept(source)
        self._place = 0

    async def __anext__(self) -> Any:
        kept = self._kept
        if self._place == len(kept.items):
            kept.raise_error()
            try:
                kept.items.append(await anext(kept.source))
            except StopAsyncIteration:
                raise
            except BaseException as error:
                kept.error = error
                raise
        self._place += 1

        return kept.items[self._place - 1]

    def again(self) -> AsyncReplay:
        """Return another one, which begins with the first item."""
        other = object.__new__(type(self))
        other._kept = self._kept
        other._place = 0

        return other


def with_items_kept(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with the iterators among them replaced by such as can be gone through again.

    Only iterators that are nothing else are replaced, and only arguments themselves: not what is
    in a collection.
    """
    return _mapped(_kept, args, kwargs)


def from_the_first_item(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments for another attempt, whose iterators begin with their first items."""
    return _mapped(_again, args, kwargs)


def _mapped(
    function: Callable[[Any], Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(map(function, args)), {name: function(value) for name, value in kwargs.items()}


def _kept(value: Any) -> Any:
    if is_plain_iterator(value):
        return Replay(value)

    return AsyncReplay(value) if isinstance(value, AsyncGenerator) else value


def _again(value: Any) -> Any:
    return value.again() if isinstance(value, Replay | AsyncReplay) else value
