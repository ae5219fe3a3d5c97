"""HandedOver: the hooks of a definition as its owner has them, on their way to its guardian.

What the files of the owner declare may not be all: hooks are added at run time, or exist in one
process only. A hook that another process can import goes by its name, any other by value.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from eventflow.hooks.declaration import Hook
from eventflow.hooks.references import refer_to_function
from eventflow.primitives.loggers import get_logger

__all__ = ["FOR_ALL", "HandedOver", "PackedHook", "by_name", "by_value", "pack"]

FOR_ALL: Final = "*"
"""The key of hooks that are declared for every run that matches."""


class PackedHook(NamedTuple):
    """One hook: its identity, and itself, unless it cannot be handed over."""

    hook_id: str
    packed: bytes | None


def pack(items: Iterable[PackedHook]) -> bytes:
    """Give one parcel of several hooks, in their order."""
    return pickle.dumps([tuple(one) for one in items])


def by_name(hook: Hook) -> bytes:
    """Pack a hook whose function another process can load.

    Raises:
        Exception: whatever an option of the hook raises because it cannot be packed.
    """
    # Not the function itself: pickle knows no module that only a file's path leads to.
    return pickle.dumps((refer_to_function(hook.fn), hook.options()))


def by_value(hook: Hook) -> bytes:
    """Pack a hook with its function's code and what it holds.

    Raises:
        Exception: whatever an object that the function holds raises because it cannot be packed.
    """
    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and rarely needed

    packed: bytes = cloudpickle.dumps(hook)

    return packed


class HandedOver:
    """What an owner handed over, by the reference of the definition; unpacked when asked for.

    `find` gives a function by its name, or None.
    """

    def __init__(self, given: Mapping[str, bytes], find: Callable[[str], Any]) -> None:
        self._given = {key: tuple(_items(key, parcel)) for key, parcel in given.items()}
        self._find = find

    def ids(self, key: str) -> list[str] | None:
        """Give the identities of a definition's hooks; None if they were not handed over."""
        items = self._given.get(key)

        return None if items is None else [one.hook_id for one in items]

    def hooks(self, key: str, known: Iterable[Hook]) -> list[Hook]:
        """Give a definition's hooks; what was not handed over is looked for among the known."""
        spare = list(known)
        found = []
        for item in self._given.get(key, ()):
            hook = self._unpacked(item) or next(
                (one for one in spare if one.id == item.hook_id), None
            )
            if hook is not None:
                found.append(hook)
            spare = [one for one in spare if one is not hook]

        return found

    def hook(self, hook_id: str) -> Hook | None:
        """Give a hook by its identity, whatever it was declared on."""
        named = (one for items in self._given.values() for one in items if one.hook_id == hook_id)

        return next(filter(None, map(self._unpacked, named)), None)

    def _unpacked(self, item: PackedHook) -> Hook | None:
        if item.packed is None:
            return None
        try:
            found: Any = pickle.loads(item.packed)  # noqa: S301 - from our own owner
            if isinstance(found, tuple):
                name, options = found
                found = Hook(self._function(name), **options)
        except Exception as error:  # noqa: BLE001 - it executes the user's own code
            get_logger("recovery").error(
                f"The hook {item.hook_id} was handed over, but cannot be unpacked: {error!r}"
            )
            return None

        return found if isinstance(found, Hook) else None

    def _function(self, name: str) -> Any:
        found = self._find(name)
        if found is None:
            raise LookupError(f"there is no {name}")

        return found


def _items(key: str, parcel: bytes) -> Iterator[PackedHook]:
    try:
        yield from (PackedHook(*one) for one in pickle.loads(parcel))  # noqa: S301 - from our own owner
    except Exception as error:  # noqa: BLE001 - it may be of another version
        get_logger("recovery").error(f"The hooks of {key} cannot be unpacked: {error!r}")
