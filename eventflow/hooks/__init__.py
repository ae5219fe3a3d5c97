"""Hooks: declared subscriptions to the transitions of runs."""

from eventflow.hooks.declaration import Hook, HookFunction
from eventflow.hooks.receiver import hook

__all__ = ["Hook", "HookFunction", "hook"]
