"""Finding the definitions and hooks of a dead owner: in its files, and in what it handed over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from eventflow.definitions.definition import Definition
from eventflow.eventbus.bus import EventBus, current_bus
from eventflow.eventbus.subscriptions import Phase
from eventflow.hooks.declaration import KINDS, Hook
from eventflow.hooks.handover import FOR_ALL, HandedOver
from eventflow.hooks.receiver import HookReceiver
from eventflow.journal.recorder import Recorder
from eventflow.journal.rows import RunRow
from eventflow.recovery.finishing import stand_in
from eventflow.recovery.loading import Reloader, Wanted

__all__ = ["DefinitionLookup"]


class DefinitionLookup:
    """Finds definitions and hooks in the owner's files, and what it handed over by value."""

    def __init__(self, account: Recorder, reloader: Reloader, given: Mapping[str, bytes]) -> None:
        self._account = account
        self._reloader = reloader
        self._parcels = HandedOver(given, reloader.function)
        self._found: dict[str, Definition[Any, Any]] = {}

    def definition(self, row: RunRow, hooks: Iterable[str]) -> Definition[Any, Any] | None:
        """Give the definition of a run, some of whose hooks are known."""
        self._reloader.load_main()
        given = self._parcels.ids(row.reference)
        wanted = Wanted(row.run_type, row.reference, row.definition, given or frozenset(hooks))
        found = self._reloader.definition(wanted)
        declared = () if found is None else found.hooks
        if given is not None and given != [one.id for one in declared]:
            base: Any = stand_in(row) if found is None else found
            exact = self._parcels.hooks(row.reference, declared)
            none = dict.fromkeys(KINDS, ())
            found = base.with_options(name=row.definition, hooks=exact, **none)
        if found is not None:
            self._found[row.reference] = found

        return found

    def all_found(self) -> None:
        """Declare what else the owner declared, and hand all on to a guardian of our own."""
        bus = current_bus()
        known = [one.id for one in _hooks_for_all(bus)]
        for hook in self._parcels.hooks(FOR_ALL, ()):
            if hook.id in known:
                known.remove(hook.id)
            else:
                bus.attach(hook.fn, HookReceiver(hook), hook.filter(), phase=Phase.HOOK)
        # Only now: a file that ends the process while it is loaded would do so again for ever.
        self._account.sink.guard(FOR_ALL, _hooks_for_all(bus))
        for reference, definition in self._found.items():
            self._account.sink.guard(reference, definition.hooks)

    def hook(self, hook_id: str) -> Hook | None:
        """Give a hook that no definition and no bus has."""
        given = self._parcels.hook(hook_id)
        if given is not None:
            return given
        function = self._reloader.function(hook_id)

        return None if function is None else Hook(function, id=hook_id)


def _hooks_for_all(bus: EventBus) -> list[Hook]:
    receivers = [one.receiver for one in bus.subscriptions]

    return [one.hook for one in receivers if isinstance(one, HookReceiver)]
