"""Handover: packs hooks that no other process can import for the guardian, and unpacks them."""

from __future__ import annotations

import pickle
from typing import Any

from eventflow.hooks.declaration import Hook

__all__ = ["pack", "unpack"]


def pack(hook: Hook) -> bytes:
    """Pack a hook with the code of its function, and the values that this refers to.

    Raises:
        Exception: whatever an object that the function holds raises because it cannot be packed.
    """
    import cloudpickle  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and rarely needed

    packed: bytes = cloudpickle.dumps(hook)

    return packed


def unpack(packed: bytes) -> Hook:
    """Unpack a hook that this process's own owner has packed.

    Raises:
        TypeError: it is no hook.
        Exception: whatever the user's code, which this executes, raises.
    """
    hook: Any = pickle.loads(packed)  # noqa: S301 - from our own owner, over a pipe
    if not isinstance(hook, Hook):
        raise TypeError(f"what was handed over is no hook, but {type(hook).__qualname__}")

    return hook
