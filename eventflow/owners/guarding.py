"""Start the guardian, and hand it the hooks as they are in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from eventflow.hooks.declaration import Hook
from eventflow.hooks.handover import PackedHook, by_name, by_value, pack
from eventflow.hooks.importability import import_problem
from eventflow.owners.lifeline import Lifeline
from eventflow.owners.note import ENTRY_BYTES
from eventflow.primitives.loggers import get_logger
from eventflow.settings import EVENTFLOW_GUARDIAN

__all__ = ["Guarding"]


class Guarding:
    """The guardian of this process, started by its first run with hooks."""

    def __init__(self, lifeline: Lifeline) -> None:
        self._lifeline = lifeline
        self._enabled = EVENTFLOW_GUARDIAN.value()
        # Reentrant: a signal handler, or the pickling of a hook's objects, may run flows.
        self._lock = threading.RLock()
        self._logged: set[str] = set()
        self._kept = False

    def keep(self) -> None:
        """Replace the guardian if it was killed."""
        with self._lock:
            if self._kept:
                self._start()

    def guard(self, key: str, hooks: Iterable[Hook]) -> None:
        """Have hooks run even if this process dies; `key` is the reference of their definition."""
        with self._lock:
            self._enabled = self._enabled and self._start()
            if not self._enabled:
                return
            self._kept = True
            problem = self._lifeline.hand_over(key, pack([self._pack(hook) for hook in hooks]))
            if problem is not None:
                get_logger("guardian").warning(
                    f"The hooks of {key} cannot be handed to the guardian: {problem}."
                )

    def _start(self) -> bool:
        problem = self._lifeline.start()
        if problem is not None and problem not in self._logged:
            self._logged.add(problem)
            get_logger("guardian").warning(
                f"There is no guardian ({problem}): if this process is killed, the hooks it owes "
                "run when the next eventflow process starts, or by `eventflow recover`."
            )

        return problem is None

    def _pack(self, hook: Hook) -> PackedHook:
        """Pack a hook: by name where another process can import it, else by value."""
        reason = import_problem(hook)
        if reason is None:
            try:
                return PackedHook(hook.id, by_name(hook))
            except Exception as error:  # noqa: BLE001 - pickling an option of the hook may raise anything
                reason = f"cannot be handed over by name: {error}"
        packed, problem = _pack_by_value(hook)
        if hook.id not in self._logged:
            self._logged.add(hook.id)
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

    def dismiss(self) -> None:
        """Record a clean end, on which the guardian exits."""
        with self._lock:
            self._kept = False
            self._lifeline.dismiss()


def _pack_by_value(hook: Hook) -> tuple[bytes | None, str]:
    """Pack a hook by value; return None and the reason if that is impossible."""
    try:
        packed = by_value(hook)
    except Exception as error:  # noqa: BLE001 - pickling a user's object may raise anything
        return None, f"it cannot be handed over by value: {type(error).__name__}: {error}"
    if len(packed) > ENTRY_BYTES // 2:
        return None, f"its {len(packed)} bytes are too many to hand it over by value"

    return packed, ""
