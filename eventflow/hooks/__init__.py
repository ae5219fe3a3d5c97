"""Hooks: declared subscriptions to the transitions of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventflow.primitives.loading import lazily

if TYPE_CHECKING:
    from eventflow.hooks.declaration import Hook, HookFunction
    from eventflow.hooks.decorator import hook
    from eventflow.hooks.receiver import HookReceiver

__all__ = ["Hook", "HookFunction", "HookReceiver", "hook"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "eventflow.hooks.declaration": ("Hook", "HookFunction"),
            "eventflow.hooks.decorator": ("hook",),
            "eventflow.hooks.receiver": ("HookReceiver",),
        },
    )
