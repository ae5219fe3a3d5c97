"""What the guardian is told: that it is needed, and the hooks as they are in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from eventflow.hooks.declaration import Hook
from eventflow.hooks.handover import PackedHook, by_name, by_value, pack
from eventflow.hooks.importability import unreachable
from eventflow.owners.lifeline import BLOB_BYTES, Lifeline
from eventflow.primitives.loggers import get_logger
from eventflow.settings import EVENTFLOW_GUARDIAN

__all__ = ["Guarding"]


class Guarding:
    """Has one guardian for this process, from the first run with hooks to guard on."""

    def __init__(self, folder: Path, url: str) -> None:
        self._lifeline = Lifeline(folder, url)
        self._wanted = EVENTFLOW_GUARDIAN.value()
        # A signal handler, or the pickling of a hook's own objects, may run flows.
        self._lock = threading.RLock()
        self._said: set[str] = set()

    def guard(self, key: str, hooks: Iterable[Hook]) -> None:
        """Have hooks run even if this process dies; `key` names the definition they belong to."""
        with self._lock:
            # One that was killed is started anew.
            self._wanted = self._wanted and self._start()
            if not self._wanted:
                return
            problem = self._lifeline.hand_over(key, pack([self._item(hook) for hook in hooks]))
            if problem is not None:
                get_logger("guardian").warning(
                    f"The hooks of {key} cannot be handed to the guardian: {problem}."
                )

    def _start(self) -> bool:
        problem = self._lifeline.start()
        if problem is not None:
            get_logger("guardian").warning(
                f"There is no guardian ({problem}): if this process is killed, the hooks it owes "
                "run when the next eventflow process starts, or by `eventflow recover`."
            )

        return problem is None

    def _item(self, hook: Hook) -> PackedHook:
        """Give a hook as it is handed over, by name where that is enough."""
        reason = unreachable(hook)
        if reason is None:
            try:
                return PackedHook(hook.id, by_name(hook))
            except Exception as error:  # noqa: BLE001 - an option of the hook's may refuse
                reason = f"cannot be handed over by name: {error}"
        packed, problem = _packed(hook)
        if hook.id not in self._said:
            self._said.add(hook.id)
            log = get_logger("guardian")
            if packed is None:
                log.warning(
                    "The hook %s cannot be guaranteed: it %s, and %s. If this process is killed, "
                    "it does not run.",
                    hook.id,
                    reason,
                    problem,
                )
            else:
                log.debug("The hook %s is handed over by value: it %s.", hook.id, reason)

        return PackedHook(hook.id, packed)

    def leave(self) -> None:
        """Tell the guardian that all is well: it ends."""
        self._lifeline.bye()

    def forget(self) -> None:
        """Be in a forked child: the guardian is the parent's."""


def _packed(hook: Hook) -> tuple[bytes | None, str]:
    """Give a hook by value, or the reason why it cannot be handed over so."""
    try:
        packed = by_value(hook)
    except Exception as error:  # noqa: BLE001 - a user's object may refuse in any way
        return None, f"it cannot be handed over by value: {type(error).__name__}: {error}"
    if len(packed) > BLOB_BYTES // 2:
        return None, f"its {len(packed)} bytes are too many to hand it over by value"

    return packed, ""
