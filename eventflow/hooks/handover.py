"""Handover: packs the hooks of definitions for the guardian, and unpacks them there.

The files of the owner may not declare all of them: hooks are added at run time, or exist in one
process only. A hook that another process can import is packed by its name, any other by value.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from eventflow.hooks.declaration import Hook
from eventflow.hooks.references import function_reference
from eventflow.primitives.loggers import get_logger

__all__ = ["FOR_ALL", "HandedOver", "PackedHook", "by_name", "by_value", "pack"]

FOR_ALL: Final = "*"
"""The key of hooks that are subscribed on the bus itself, and not declared on a definition."""


class PackedHook(NamedTuple):
    """The identity of a hook, and the packed hook, or None if it cannot be handed over."""

    hook_id: str
    packed: bytes | None


def pack(hooks: Iterable[PackedHook]) -> bytes:
    """Pack the hooks of one definition, in their order."""
    return pickle.dumps([tuple(hook) for hook in hooks])


def by_name(hook: Hook) -> bytes:
    """Pack a hook by the name of its function, which another process can import.

    Raises:
        Exception: whatever an option of the hook raises because it cannot be packed.
    """
    # Not the function itself: pickle cannot import a module that only its file leads to.
    return pickle.dumps((function_reference(hook.fn), hook.options()))


def by_value(hook: Hook) -> bytes:
    """Pack a hook with the code of its function, and the values that this refers to.

    Raises:
        Exception: whatever an object that the function holds raises because it cannot be packed.
    """
    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and rarely needed

    packed: bytes = cloudpickle.dumps(hook)

    return packed


class HandedOver:
    """The hooks that an owner handed over, by the reference of the definition.

    They are unpacked on demand; `find` returns a function by its name, or None.
    """

    def __init__(self, given: Mapping[str, bytes], find: Callable[[str], Any]) -> None:
        self._packed = {key: tuple(_unpack_list(key, packed)) for key, packed in given.items()}
        self._find = find

    def ids(self, key: str) -> list[str] | None:
        """Return the identities of a definition's hooks; None if they were not handed over."""
        packed_hooks = self._packed.get(key)

        return None if packed_hooks is None else [packed.hook_id for packed in packed_hooks]

    def hooks(self, key: str, known: Iterable[Hook]) -> list[Hook]:
        """Return a definition's hooks; one that cannot be unpacked is taken from the known ones."""
        unused = list(known)
        hooks = []
        for packed in self._packed.get(key, ()):
            hook = self._unpack(packed) or next(
                (spare for spare in unused if spare.id == packed.hook_id), None
            )
            if hook is not None:
                hooks.append(hook)
            unused = [spare for spare in unused if spare is not hook]

        return hooks

    def hook(self, hook_id: str) -> Hook | None:
        """Return a hook by its identity, whatever definition it was declared on."""
        every = itertools.chain.from_iterable(self._packed.values())
        unpacked = (self._unpack(packed) for packed in every if packed.hook_id == hook_id)

        return next(filter(None, unpacked), None)

    def _unpack(self, packed: PackedHook) -> Hook | None:
        if packed.packed is None:
            return None
        try:
            hook: Any = pickle.loads(packed.packed)  # noqa: S301 - from our own owner
            if isinstance(hook, tuple):
                name, options = hook
                hook = Hook(self._function(name), **options)
        except Exception as error:  # noqa: BLE001 - it executes the user's own code
            get_logger("recovery").error(
                f"The hook {packed.hook_id} was handed over, but cannot be unpacked: {error!r}"
            )
            return None

        return hook if isinstance(hook, Hook) else None

    def _function(self, name: str) -> Any:
        function = self._find(name)
        if function is None:
            raise LookupError(f"there is no {name}")

        return function


def _unpack_list(key: str, packed: bytes) -> Iterator[PackedHook]:
    try:
        yield from (PackedHook(*fields) for fields in pickle.loads(packed))  # noqa: S301 - from our own owner
    except Exception as error:  # noqa: BLE001 - it may be of another version
        get_logger("recovery").error(f"The hooks of {key} cannot be unpacked: {error!r}")
