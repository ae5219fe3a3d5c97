"""What a definition has to do with hooks: those given as options, and those declared later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from threading import RLock
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar, cast, overload

import eventflow.eventbus
import eventflow.hooks
from eventflow.eventbus.watchers import hooks_changed
from eventflow.hooks.declaration import KINDS, Hook, HookFunction
from eventflow.primitives.durations import read_seconds
from eventflow.primitives.forks import renewed
from eventflow.states import StateType

if TYPE_CHECKING:
    from eventflow.eventbus.subscriptions import Subscription
    from eventflow.runs.run import RunType

__all__ = ["HookList", "Hooked"]

H = TypeVar("H", bound=HookFunction)

OVERDUE: Final = "on_overdue"

HookList: TypeAlias = "Iterable[HookFunction | Hook] | None"
"""Hooks of one kind; any iterable, which is copied."""


_changing = RLock()
renewed(globals(), "_changing", RLock)


class _Declared:
    """Makes the subscriptions of a definition's hooks when they are first asked for: by a run.

    They are kept as an attribute of the definition until its hooks change.
    """

    def __get__(self, definition: Hooked, _: object) -> tuple[Subscription, ...]:
        subscribe, receive = eventflow.eventbus.Subscription, eventflow.hooks.HookReceiver
        with _changing:
            made = tuple(
                subscribe(hook.fn, receive(hook), hook.filter(), serial=0, hook=hook)
                for hook in definition.hooks
            )
            # By its identity the bus knows that it must compile routes again.
            vars(definition)["declared"] = made

        return made


class Hooked:
    """Has hooks, of the named kinds and of others. A bound method has those of its `origin`."""

    run_type: ClassVar[RunType]
    name: str
    overdue_seconds: float | None
    origin: Any
    hooks_by_kind: tuple[tuple[str, Hook], ...] = ()
    declared: tuple[Subscription, ...] = cast("Any", _Declared())

    def _set_hooks(self, kind: str, given: Any) -> None:
        """Replace the hooks of a kind; None leaves them."""
        if given is None:
            return
        hooks = tuple((kind, self._hook(kind, hook)) for hook in self._checked(kind, given))
        self._declare((*(pair for pair in self.hooks_by_kind if pair[0] != kind), *hooks))

    def _checked(self, kind: str, given: Any) -> tuple[HookFunction | Hook, ...]:
        advice = (
            f"Please provide a list of hooks to '{kind}':\n\n"
            f"@{self.run_type}({kind}=[hook1, hook2])\ndef my_{self.run_type}():\n\tpass"
        )
        if not isinstance(given, Iterable):
            got = type(given).__name__
            raise TypeError(f"Expected iterable for '{kind}'; got {got} instead. {advice}")
        hooks = tuple(given)
        for hook in hooks:
            if not callable(hook) and not isinstance(hook, Hook):
                got = type(hook).__name__
                raise TypeError(f"Expected callables in '{kind}'; got {got} instead. {advice}")

        return hooks

    def _hook(self, kind: str, given: HookFunction | Hook) -> Hook:
        if kind not in KINDS:
            return given if isinstance(given, Hook) else Hook(given)
        hook = given if isinstance(given, Hook) else Hook(given)
        if kind != OVERDUE:
            return hook.on(KINDS[kind])

        return hook if hook.overdue_seconds is not None else hook.on()

    def timed_hook(self, kind: str, hook: Hook) -> Hook:
        """Return the hook as it is declared: without a time of its own, with the definition's."""
        if kind != OVERDUE or hook.overdue_seconds is not None:
            return hook
        seconds: float | None = self.origin.overdue_seconds
        if seconds is None:
            raise TypeError(
                f"The hook {hook.id} of the {self.run_type} {self.name!r} is for runs that are "
                "overdue, but nothing says when: give overdue_seconds=..., or declare it by "
                f"@{self.name}.on_overdue(after=...)."
            )

        return hook.on(overdue_seconds=seconds)

    def _declare(self, hooks_by_kind: tuple[tuple[str, Hook], ...]) -> None:
        for kind, hook in hooks_by_kind:
            self.timed_hook(kind, hook)
        with _changing:
            self.hooks_by_kind = hooks_by_kind
            vars(self).pop("declared", None)

    def _add(self, kind: str, hook: Hook) -> None:
        origin = self.origin
        origin._declare((*origin.hooks_by_kind, (kind, hook)))  # noqa: SLF001 - its own kind
        hooks_changed(origin)
        if kind == OVERDUE or hook.lasting is not None:
            eventflow.eventbus.set_for_present_runs(origin.declared[-1], origin=origin)

    def _add_kind(self, kind: str, fn: H) -> H:
        self._add(kind, self._hook(kind, self._checked(kind, [fn])[0]))

        return fn

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """The hooks declared on this definition, in the order of their declaration."""
        return tuple(self.origin.timed_hook(*pair) for pair in self.origin.hooks_by_kind)

    def _functions(self, kind: str) -> list[HookFunction]:
        return [hook.fn for of_kind, hook in self.origin.hooks_by_kind if of_kind == kind]

    @property
    def on_running_hooks(self) -> list[HookFunction]:
        """The functions that run before every attempt."""
        return self._functions("on_running")

    @property
    def on_completion_hooks(self) -> list[HookFunction]:
        """The functions that run when a run completes."""
        return self._functions("on_completion")

    @property
    def on_failure_hooks(self) -> list[HookFunction]:
        """The functions that run when a run fails."""
        return self._functions("on_failure")

    @property
    def on_cancellation_hooks(self) -> list[HookFunction]:
        """The functions that run when a run is being cancelled."""
        return self._functions("on_cancellation")

    @property
    def on_crashed_hooks(self) -> list[HookFunction]:
        """The functions that run when a run is ended from outside."""
        return self._functions("on_crashed")

    @property
    def on_end_hooks(self) -> list[HookFunction]:
        """The functions that run when a run has ended, however."""
        return self._functions("on_end")

    @property
    def on_overdue_hooks(self) -> list[HookFunction]:
        """The functions that run when a run has not ended in time."""
        return self._functions("on_overdue")

    def on_running(self, fn: H) -> H:
        """Run the decorated function before every attempt."""
        return self._add_kind("on_running", fn)

    def on_completion(self, fn: H) -> H:
        """Run the decorated function when a run completes."""
        return self._add_kind("on_completion", fn)

    def on_failure(self, fn: H) -> H:
        """Run the decorated function when a run fails, after its last retry."""
        return self._add_kind("on_failure", fn)

    def on_cancellation(self, fn: H) -> H:
        """Run the decorated function when a run is being cancelled."""
        return self._add_kind("on_cancellation", fn)

    def on_crashed(self, fn: H) -> H:
        """Run the decorated function when a run is ended from outside."""
        return self._add_kind("on_crashed", fn)

    def on_end(self, fn: H) -> H:
        """Run the decorated function when a run has ended, in whichever terminal state."""
        return self._add_kind("on_end", fn)

    @overload
    def on_overdue(self, fn: H) -> H: ...

    @overload
    def on_overdue(self, *, after: float | timedelta) -> Callable[[H], H]: ...

    def on_overdue(
        self, fn: HookFunction | None = None, *, after: float | timedelta | None = None
    ) -> Any:
        """Run the decorated function when a run has not ended so long after its first Running.

        Args:
            fn: the function, for runs that are overdue after the definition's `overdue_seconds`.
            after: after how many seconds instead.

        Raises:
            TypeError: nothing says after how long, or it is no number of seconds.
            ValueError: it is not longer than 0 seconds.
        """
        if after is None:
            return self._add_kind(OVERDUE, cast("HookFunction", fn))
        seconds = read_seconds("after", after)

        def declare(fn: H) -> H:
            hook = self._hook(OVERDUE, self._checked(OVERDUE, [fn])[0])
            self._add(OVERDUE, hook.on(overdue_seconds=seconds))
            return fn

        return declare if fn is None else declare(fn)

    def on(
        self, *states: str | StateType, lasting: float | timedelta | None = None
    ) -> Callable[[H], H]:
        """Run the decorated function when a run enters any of these states.

        With `lasting`, in seconds or as a timedelta, once it has been in that state for so long.

        Raises:
            TypeError: no state was given, or something that is no state's name or type.
            ValueError: `lasting` is not longer than 0 seconds.
        """
        if not states or any(not isinstance(state, str) for state in states):
            raise TypeError(
                f'{self.name}.on(...) takes states, such as {self.name}.on("Failed", '
                f"StateType.CRASHED), but got {states!r}."
            )

        def declare(fn: H) -> H:
            checked = self._checked("on", [fn])[0]
            assert not isinstance(checked, Hook)  # noqa: S101 - for the type checker
            self._add("on", Hook(checked, state=states, lasting=lasting))
            return fn

        return declare
