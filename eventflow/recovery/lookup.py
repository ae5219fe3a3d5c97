"""Find the definitions and hooks of a dead owner: in its files, and in what it handed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eventflow.definitions.definition import Definition
from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.flows import Flow
from eventflow.hooks.declaration import KINDS, Hook
from eventflow.hooks.handover import FOR_ALL, HandedOver
from eventflow.hooks.receiver import HookReceiver
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import RunRow
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.loading import Reloader, Wanted
from eventflow.tasks import Task

__all__ = ["DefinitionLookup", "stand_in"]


class DefinitionLookup:
    """Finds definitions and hooks in the owner's files and among the hooks it handed over.

    `handed_over` holds the packed hooks of each definition, by its reference.
    """

    def __init__(
        self, recorder: Recorder, reloader: Reloader, handed_over: Mapping[str, bytes]
    ) -> None:
        self._sink = recorder.sink
        self._reloader = reloader
        self._handed_over = HandedOver(handed_over, reloader.function)
        self._definitions: dict[str, Definition[Any, Any]] = {}

    def definition(self, row: RunRow, hooks: Iterable[str]) -> Definition[Any, Any]:
        """Return the definition of a run, some of whose hooks are known, or a stand-in for it."""
        self._reloader.load_main()
        hook_ids = self._handed_over.ids(row.reference)
        wanted = Wanted(row.run_type, row.reference, row.definition, hook_ids or frozenset(hooks))
        definition = self._reloader.definition(wanted)
        declared = () if definition is None else definition.hooks
        if hook_ids is not None and hook_ids != [hook.id for hook in declared]:
            base: Any = definition or stand_in(row)
            own_hooks = self._handed_over.hooks(row.reference, declared)
            no_others = dict.fromkeys(KINDS, ())
            definition = base.with_options(name=row.definition, hooks=own_hooks, **no_others)
        if definition is None:
            return stand_in(row)
        self._definitions[row.reference] = definition

        return definition

    def guard_hooks(self) -> None:
        """Attach the hooks for all runs to the bus, and hand every hook to this process's guardian.

        Called once all definitions were looked up: a file that ends the process while it is loaded
        would do so in every recovery that follows.
        """
        bus = current_bus()
        attached = [hook.id for hook in _hooks_for_all(bus)]
        for hook in self._handed_over.hooks(FOR_ALL, ()):
            if hook.id in attached:
                attached.remove(hook.id)
            else:
                bus.attach(hook.fn, HookReceiver(hook), hook.filter(), hook=hook)
        self._sink.guard(FOR_ALL, _hooks_for_all(bus))
        for reference, definition in self._definitions.items():
            self._sink.guard(reference, definition.hooks)

    def hook(self, hook_id: str) -> Hook | None:
        """Return a hook that neither a definition nor the bus has; None if it is not found."""
        handed_over = self._handed_over.hook(hook_id)
        if handed_over is not None:
            return handed_over
        function = self._reloader.function(hook_id)

        try:
            return None if function is None else Hook(function, id=hook_id)
        except TypeError as error:  # it takes other arguments by now
            get_logger("recovery").error(str(error))
            return None

    def problem(self, hook_id: str) -> str | None:
        """Return why the module of a hook was not loaded to its end; None if it was."""
        return self._reloader.problem(hook_id)


def stand_in(row: RunRow) -> Definition[Any, Any]:
    """Make a definition with the name of one that cannot be loaded, without hooks."""

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError(f"{row.reference} could not be loaded again.")

    kind = Flow if row.run_type == "flow" else Task

    return kind(lost, {"name": row.definition})


def _hooks_for_all(bus: EventBus) -> list[Hook]:
    hooks = [subscription.hook for subscription in bus.subscriptions]

    return [hook for hook in hooks if hook is not None]
