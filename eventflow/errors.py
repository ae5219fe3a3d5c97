"""Every error that eventflow raises; each message names the values and what to do.

BaseException
├── SystemExit
│   └── TerminationSignal
└── Exception
    └── EventflowError
        ├── RunError
        │   ├── FailedRun
        │   ├── CrashedRun
        │   ├── CancelledRun
        │   ├── PausedRun
        │   └── UnfinishedRun
        ├── IllegalTransition
        ├── MissingContextError
        ├── ParameterError
        │   ├── HiddenFutureError
        │   ├── IteratorEndedError
        │   ├── ParameterBindError
        │   └── ParameterTypeError
        ├── SignatureMismatchError
        ├── ReservedArgumentError
        ├── InvalidNameError
        ├── MappingError
        │   ├── MappingLengthMismatch
        │   └── MappingMissingIterable
        ├── CacheKeyError
        ├── UnavailableError
        ├── DeadlockError
        ├── EventLoopError
        ├── HookTimeout
        ├── HookUnavailable
        ├── ConfigurationError
        │   ├── SettingError
        │   ├── HomeError
        │   └── MissingExtraError
        ├── BlockError
        │   ├── BlockNotFoundError
        │   ├── BlockTypeError
        │   ├── BlockExistsError
        │   └── NotificationError
        ├── StoreError
        └── JournalError

Many are a built-in error as well, by which they can be caught: a call that does not fit its
function is a TypeError, and what needs a run where there is none is a RuntimeError.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "BlockError",
    "BlockExistsError",
    "BlockNotFoundError",
    "BlockTypeError",
    "CacheKeyError",
    "CancelledRun",
    "ConfigurationError",
    "CrashedRun",
    "DeadlockError",
    "EventLoopError",
    "EventflowError",
    "FailedRun",
    "HiddenFutureError",
    "HomeError",
    "HookTimeout",
    "HookUnavailable",
    "IllegalTransition",
    "InvalidNameError",
    "IteratorEndedError",
    "JournalError",
    "MappingError",
    "MappingLengthMismatch",
    "MappingMissingIterable",
    "MissingContextError",
    "MissingExtraError",
    "NotificationError",
    "ParameterBindError",
    "ParameterError",
    "ParameterTypeError",
    "PausedRun",
    "ReservedArgumentError",
    "RunError",
    "SettingError",
    "SignatureMismatchError",
    "StoreError",
    "TerminationSignal",
    "UnavailableError",
    "UnfinishedRun",
]


class EventflowError(Exception):
    """The base class of every ordinary error of eventflow."""


class TerminationSignal(SystemExit):
    """The process was asked to end (SIGTERM).

    A `SystemExit`: a program that does not catch it exits with what a shell reports for the signal.
    """

    def __init__(self, signum: int = 15) -> None:
        super().__init__(128 + signum)
        self.signum = signum

    def __str__(self) -> str:
        return f"The process received signal {self.signum} and is ending with status {self.code}."


class RunError(EventflowError):
    """A run's result was asked for, and the run has none."""


class FailedRun(RunError):
    """The run ended Failed and left no exception to raise in its place."""


class CrashedRun(RunError):
    """The run was ended from outside: an exit, a signal, an interrupt, a vanished process."""


class CancelledRun(RunError):
    """The run was cancelled through eventflow."""


class PausedRun(RunError):
    """The run is paused, so there is no result."""


class UnfinishedRun(RunError):
    """The run has not reached a terminal state, so there is no result yet."""


class IllegalTransition(EventflowError):
    """A run cannot enter that state from its present one."""

    def __init__(self, run: str, present: str, wanted: str, legal: Iterable[str]) -> None:
        super().__init__(
            f"{run} is {present} and cannot enter {wanted}; from {present} it may enter: "
            f"{', '.join(sorted(legal)) or 'nothing, the state is terminal'}."
        )


class MissingContextError(EventflowError, RuntimeError):
    """Something that needs a run in force was used where there is none."""

    def __init__(self, what: str, advice: str = "Call it inside a flow or a task.") -> None:
        super().__init__(f"{what} needs a run, and no flow or task is running here. {advice}")


class ParameterError(EventflowError):
    """The arguments of a call do not fit the definition's parameters."""


class ParameterBindError(ParameterError, TypeError):
    """The arguments of a call cannot be bound to the function's signature."""

    def __init__(
        self, name: str, reason: str, signature: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        super().__init__(
            f"{name}{signature} cannot be called with {len(args)} positional argument(s) and "
            f"keywords {sorted(kwargs) or 'none'}: {reason}."
        )


class HiddenFutureError(ParameterError, TypeError):
    """An argument is an object that holds a future, in an attribute that is not looked into."""

    def __init__(self, name: str, attributes: Iterable[str]) -> None:
        super().__init__(
            f"{name} was given an object with a future in {', '.join(attributes)}, which is not "
            "replaced by its result: only collections, dataclasses, attrs classes and pydantic "
            "models are looked into. Pass the future itself, its result, or `quote(the object)`."
        )


class IteratorEndedError(ParameterError):
    """An iterator among the arguments was ended while an earlier attempt went through it."""

    def __init__(self, count: int, reason: str) -> None:
        super().__init__(
            f"An earlier attempt was stopped in an iterator that it was given, after {count} "
            f"item(s), by {reason}: there is no telling what would have followed. Give a list, or "
            "something else that can be iterated over again."
        )


class ParameterTypeError(ParameterError, TypeError):
    """An argument does not validate against its parameter's annotation."""

    def __init__(self, name: str, problems: Mapping[str, str]) -> None:
        listed = "\n".join(f" - {parameter}: {problem}" for parameter, problem in problems.items())
        super().__init__(
            f"{name} was called with parameters that do not fit their annotations:\n{listed}\n"
            "Pass values that fit, or switch the check off with validate_parameters=False."
        )
        self.problems = dict(problems)


class SignatureMismatchError(ParameterError, TypeError):
    """A name or key function asks for parameters that the definition does not have."""

    def __init__(self, name: str, expected: Iterable[str], given: Iterable[str]) -> None:
        super().__init__(
            f"{name} takes the parameters {sorted(expected)}, but was given {sorted(given)}."
        )


class UnavailableError(EventflowError):
    """A value was used that is not available in this process."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The value is not available here: {reason}. Look with isinstance(value, Unavailable) "
            "before using it."
        )


class ReservedArgumentError(EventflowError, TypeError):
    """A function declares a parameter whose name eventflow keeps for the call itself."""

    def __init__(self, name: str, argument: str) -> None:
        super().__init__(
            f"{name} has a parameter named {argument!r}, which is reserved for the call "
            f"({name}(..., {argument}=...)); give the parameter another name."
        )


class InvalidNameError(EventflowError, ValueError):
    """A flow or a task was given a name that it cannot have."""


class MappingError(EventflowError):
    """The arguments of a `map` cannot be spread over task runs."""


class MappingMissingIterable(MappingError):
    """No argument of a `map` can be iterated over."""

    def __init__(self, name: str, given: Mapping[str, str]) -> None:
        listed = ", ".join(f"{key}: {kind}" for key, kind in given.items()) or "no argument"
        super().__init__(
            f"{name}.map() needs at least one iterable to map over, but got {listed}; "
            "pass a list, or call the task itself."
        )


class MappingLengthMismatch(MappingError):
    """The iterables of a `map` are not equally long."""

    def __init__(self, name: str, lengths: Mapping[str, int]) -> None:
        listed = ", ".join(f"{key}: {length}" for key, length in lengths.items())
        super().__init__(
            f"{name}.map() needs iterables of one length, but got {listed}; "
            "wrap what should not be mapped over in unmapped(...)."
        )
        self.lengths = dict(lengths)


class CacheKeyError(EventflowError):
    """A `cache_key_fn` returned something that cannot be a key, or raised."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"The cache_key_fn of {name} {reason}; it must return a string, or None for no cache."
        )


class DeadlockError(EventflowError, RuntimeError):
    """A blocking wait was made on the very event loop that has to produce the result."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Waiting for {name} here would wait for ever: this event loop has to run it. Write "
            "`await future`, not `future.result()` or `.wait()`, and before `map` goes over it."
        )


class EventLoopError(EventflowError, RuntimeError):
    """Something async was used where no event loop of asyncio is running."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs an event loop of asyncio, and none is running here. Run the program "
            "with asyncio.run(...); eventflow's async code does not run under trio, where "
            "`await trio.to_thread.run_sync(asyncio.run, main())` gives it a loop of its own."
        )


class HookTimeout(EventflowError):
    """A hook took longer than its own `timeout_seconds`, or than a recovery allows it."""

    def __init__(self, hook: str, seconds: float, *, is_own: bool = True) -> None:
        limit = f"its timeout of {seconds:g} s"
        if not is_own:
            limit = f"the {seconds:g} s that a recovery allows a hook without a timeout; give it "
            limit += "`timeout_seconds`, or set EVENTFLOW_RECOVERY_HOOK_SECONDS"
        super().__init__(f"The hook {hook} did not end within {limit}.")


class HookUnavailable(EventflowError):
    """A hook that a dead process owes cannot be had in the process that recovers it."""

    def __init__(self, hook: str, reason: str) -> None:
        super().__init__(
            f"The hook {hook} is not available: {reason}. Once it is, have it run by `eventflow "
            "deliveries redrive` and `eventflow recover`."
        )


class ConfigurationError(EventflowError):
    """The configuration of the environment is wrong, and eventflow cannot go on."""


class SettingError(ConfigurationError, ValueError):
    """A setting has a value that it cannot have."""

    def __init__(self, name: str, value: object, allowed: str, source: str = "") -> None:
        origin = f" (from {source})" if source else ""
        super().__init__(f"{name} is {value!r}{origin}, but it must be {allowed}.")


class HomeError(ConfigurationError):
    """The folder named by EVENTFLOW_HOME cannot be used."""

    def __init__(self, home: object, reason: str) -> None:
        super().__init__(
            f"The home {str(home)!r} cannot be used: {reason}. "
            "Make it writable, or set EVENTFLOW_HOME to a folder that is."
        )


class MissingExtraError(ConfigurationError, ImportError):
    """A feature was used whose optional packages are not installed."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'eventflow-runtime[{extra}]'"
        )


class BlockError(EventflowError):
    """Something is wrong with a block."""


class BlockNotFoundError(BlockError, ValueError):
    """No block is saved under that name."""

    def __init__(self, slug: str, name: str, existing: Sequence[str]) -> None:
        near = difflib.get_close_matches(name, existing, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(
            f"There is no block {name!r} of type {slug!r}.{meant} "
            f"Saved blocks of that type: {', '.join(map(repr, existing)) or 'none'}."
        )


class BlockTypeError(BlockError, TypeError):
    """A block is of another type than the one asked for, or its type is not known."""

    def __init__(self, wanted: str, found: str, known: Iterable[str] = ()) -> None:
        listed = ", ".join(sorted(known))
        advice = f" Known block types: {listed}." if listed else ""
        super().__init__(f"Wanted a block of type {wanted!r}, but got {found!r}.{advice}")


class BlockExistsError(BlockError, ValueError):
    """A block of that name exists already."""

    def __init__(self, slug: str, name: str) -> None:
        super().__init__(
            f"A block {name!r} of type {slug!r} exists already; "
            "choose another name, or save with overwrite=True."
        )


class NotificationError(BlockError):
    """A notification could not be delivered to its service."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"The notification through {service} was not accepted: {reason}.")
        self.reason = reason


class StoreError(EventflowError):
    """The embedded store cannot be read or written."""

    def __init__(self, path: object, reason: str, advice: str) -> None:
        super().__init__(f"The store {str(path)!r} cannot be used: {reason}. {advice}")


class JournalError(EventflowError):
    """The journal cannot be read or written."""
