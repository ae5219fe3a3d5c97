"""Find again what the runs of a dead owner owe: the hooks, and the definitions they are given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

from eventflow.definitions.definition import Definition
from eventflow.errors import HookUnavailable
from eventflow.eventbus.bus import current_bus
from eventflow.flows import Flow
from eventflow.hooks.configured import ConfiguredHook
from eventflow.hooks.declaration import Hook
from eventflow.hooks.handover import unpack
from eventflow.hooks.references import (
    NUMBER_SEPARATOR,
    parse_reference,
    resolve,
    set_reference,
)
from eventflow.hooks.sets import RecordedHook, Unfetched
from eventflow.journal.rows import RunRow
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.loggers import get_logger
from eventflow.recovery.reloading.loading import Reloader, Wanted
from eventflow.tasks import Task

__all__ = ["Lookup", "stand_in"]

_log: Final = get_logger("recovery")


class Lookup:
    """Knows the hooks of each run by the sets in the journal, and fetches them.

    `sets` are those of the dead owner, as texts by their id; `handed_over` are the packed hooks
    that it handed to its guardian, by their key.
    """

    def __init__(
        self, sets: Mapping[str, str], reloader: Reloader, handed_over: Mapping[str, bytes]
    ) -> None:
        self._sets = {key: _read(key, text) for key, text in sets.items()}
        self._reloader = reloader
        self._handed_over = handed_over
        self._functions: dict[tuple[str | None, ...], Any] = {}
        self._definitions: dict[tuple[str, str, str], Definition[Any, Any]] = {}
        self._loaded_global_hooks: list[Hook] = []

    # -- what is owed -----------------------------------------------------------------------

    def hooks(self, row: RunRow) -> list[Hook]:
        """Return the hooks that a run is subject to, in order; none of them is fetched yet."""
        if row.hooks is None or row.global_hooks is None:
            return self._declared_again(row)
        recorded = [*self._set(row.hooks), *self._set(row.global_hooks)]

        return [each.unfetched() for each in recorded]

    def _set(self, key: str) -> Iterable[RecordedHook]:
        if not key:
            return ()

        return self._sets[key] if key in self._sets else [_lost(key, "the journal does not hold")]

    def _declared_again(self, row: RunRow) -> list[Hook]:
        """Return the hooks of a run that an earlier version recorded: those its files declare."""
        self._reloader.load_main()
        declared = self.definition(row).hooks
        self.withdraw_global_hooks()

        return [*declared, *self._loaded_global_hooks]

    def withdraw_global_hooks(self) -> None:
        """Take the hooks that loaded files declared for all runs off the bus: no run owes them."""
        for subscription in current_bus().subscriptions:
            if subscription.hook is not None:
                self._loaded_global_hooks.append(subscription.hook)
                subscription.cancel()

    def owed(self, hook_id: str, candidates: Iterable[Hook]) -> Hook:
        """Return a hook that is owed by its identity alone: of the candidates, else of any set.

        If there are several, or none, it is one that cannot be fetched.
        """
        every = [hook for hook in candidates if hook.id == hook_id]
        if not every:
            recorded = [each for hooks in self._sets.values() for each in hooks]
            every = [each.unfetched() for each in recorded if each.id == hook_id]
        if not every and not self._sets and parse_reference(hook_id).is_exact:
            # Recorded by an earlier version, and declared nowhere any more.
            every = [RecordedHook(hook_id, reference=hook_id).unfetched()]
        functions = {_function_of(hook) for hook in every}
        if len(functions) == 1:
            return every[0]
        problem = (
            f"is one of {len(functions)} hooks with this identity, and which one is not known"
            if functions
            else "is in no set of hooks that the owner recorded"
        )

        return RecordedHook(hook_id, problem=problem).unfetched()

    # -- fetching ---------------------------------------------------------------------------

    def fetch(self, recorded: RecordedHook) -> Hook:
        """Return a hook with its own function.

        Raises:
            HookUnavailable: it cannot be had in this process.
        """
        place = _place(recorded)
        if place not in self._functions:
            try:
                self._functions[place] = self._function(recorded)
            except HookUnavailable as error:
                self._functions[place] = error
        function = self._functions[place]
        if isinstance(function, HookUnavailable):
            raise function

        try:
            return recorded.hook(function)
        except TypeError as error:  # it takes other arguments by now
            raise HookUnavailable(recorded.id, str(error)) from error

    def _function(self, recorded: RecordedHook) -> Any:
        if recorded.reference is not None:
            found = self._imported(recorded.id, recorded.reference)
            return found if recorded.configuration is None else self._configured(recorded, found)
        packed = self._handed_over.get(recorded.value or "")
        if packed is None:
            gone = ", and nothing has it by value any more" if recorded.value else ""
            raise HookUnavailable(recorded.id, f"it {recorded.problem}{gone}")
        try:
            return unpack(packed).fn
        except Exception as error:
            reason = f"it was handed over by value, but cannot be unpacked: {error!r}"
            raise HookUnavailable(recorded.id, reason) from error

    def _configured(self, recorded: RecordedHook, kind: Any) -> Any:
        if not (isinstance(kind, type) and issubclass(kind, ConfiguredHook)):
            reason = f"{recorded.reference} makes no hook of a configuration"
            raise HookUnavailable(recorded.id, reason)
        try:
            return kind.restored(recorded.configuration, partial(self._imported, recorded.id))
        except HookUnavailable:
            raise
        except Exception as error:
            reason = f"it cannot be made again: {str(error).removesuffix('.')}"
            raise HookUnavailable(recorded.id, reason) from error

    def _imported(self, hook_id: str, reference: str) -> Any:
        at = parse_reference(reference)
        module = self._reloader.module(at.module, at.file)
        where = f"{at.module} ({at.file})" if at.file else at.module
        why = self._reloader.problem(at.module)
        if module is None:
            raise HookUnavailable(hook_id, f"{where} cannot be loaded: {why}")
        function = resolve(module, at.path)
        if not callable(function):
            early = f": its loading ended early, {why}" if why else ""
            raise HookUnavailable(hook_id, f"there is no {at.path} in {where}{early}")

        return function

    def value(self, name: str) -> object:
        """Return what a name `module:qualname` of the owner names, such as a type; else None."""
        return self._reloader.value(name)

    def definition(self, row: RunRow) -> Definition[Any, Any]:
        """Return the definition of a run as the argument of its hooks, else a stand-in for it."""
        key = (row.run_type, row.reference, row.definition)
        if key not in self._definitions:
            definition = self._loaded(row)
            if definition is None:
                _log.info(
                    f"{row.reference} cannot be loaded again: the hooks of {row.name!r} are given "
                    f"a stand-in, with the name, the version and the tags of the {row.run_type}."
                )
                definition = stand_in(row)
            elif definition.name != row.definition:
                definition = definition.restored(row.definition)
            set_reference(definition, row.reference)
            self._definitions[key] = definition

        return self._definitions[key]

    def _loaded(self, row: RunRow) -> Definition[Any, Any] | None:
        at = parse_reference(row.reference)
        # A copy has the function of its original, which has the name without the number.
        reference = row.reference.replace(f"{NUMBER_SEPARATOR}{at.number}", "", 1)
        found = self._reloader.definition(Wanted(row.run_type, reference, row.definition))
        # Another function of the same name is no argument for its hooks.
        same = found is not None and (
            at.is_exact or qualified_name(found.fn) == f"{at.module}:{at.path}"
        )

        return found if same else None


def stand_in(row: RunRow, hooks: Iterable[Hook] = ()) -> Definition[Any, Any]:
    """Make a definition with the name, version, tags and retries of a run, and with hooks."""

    def lost(*_: object, **__: object) -> None:
        raise RuntimeError(f"{row.reference} could not be loaded again.")

    kind = Flow if row.run_type == "flow" else Task
    made = kind(
        lost, version=row.version, tags=row.tags, retries=row.retries, hooks=hooks
    ).restored(row.definition)
    # That of the function above would be this module's.
    vars(made)["file_version"] = None

    return made


def _read(key: str, text: str) -> list[RecordedHook]:
    try:
        return RecordedHook.read(text)
    except ValueError as error:
        _log.error(f"The set of hooks {key} cannot be read: {error}")
        return [_lost(key, "this version cannot read")]


def _lost(key: str, why: str) -> RecordedHook:
    """Return what stands for the hooks of a set: owed every state, and never available."""
    return RecordedHook(f"set {key}", problem=f"is a set of hooks that {why}")


def _place(recorded: RecordedHook) -> tuple[str | None, ...]:
    """Return what tells where the function of a hook is had from another one."""
    configuration = recorded.configuration

    return (
        *(recorded.reference, recorded.value),
        None if configuration is None else json.dumps(configuration, sort_keys=True),
    )


def _function_of(hook: Hook) -> object:
    """Return what tells the functions of two hooks apart."""
    fn: Any = hook.fn

    return _place(fn.recorded) if isinstance(fn, Unfetched) else fn
