"""Sets of hooks as texts, by which another process knows what a run is subject to.

A set is a JSON text, and its id a hash of that text. It holds for each hook, in their order, its
identity, what it selects, its options, and how it is had again: by the reference of its function,
by a configuration that it is made of, or by the key under which it was handed to the guardian by
value. The set of a bus also names the listeners there.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary, ref

from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.subscriptions import Subscription
from eventflow.hooks.configured import ConfiguredHook
from eventflow.hooks.declaration import Hook, HookFunction
from eventflow.hooks.importability import import_problem
from eventflow.hooks.listeners import recorded_listeners
from eventflow.hooks.references import function_reference
from eventflow.primitives.ids import new_id
from eventflow.primitives.texts import printable
from eventflow.states import StateType

__all__ = ["Guard", "HookSet", "HookSets", "RecordedHook", "Unfetched", "hook_columns"]

_ID_BYTES: Final = 8
_numbers: Final = itertools.count()

SETS_OF_LISTENERS: Final = 100
"""How many different sets of listeners of a bus are recorded for an owner."""


class Guard(Protocol):
    """What has the hooks of this process run if it dies."""

    def guard(self) -> None:
        """Have a guardian, unless there is one."""
        ...

    def hand_over(self, key: str, hook: Hook, reason: str) -> None:
        """Hand a hook to the guardian by value; `reason` is why it cannot be imported."""
        ...

    def let_go(self, key: str) -> None:
        """Take back what was handed over under a key."""
        ...

    def claim(self, delivery: str) -> bool:
        """Claim a delivery that is due because a state has lasted; False if it has it itself."""
        ...

    def release(self, delivery: str) -> None:
        """Give up the claim of such a delivery, as its outcome is recorded."""
        ...


class RunFacts(Protocol):
    """What hooks select a run by: `definition` is the name of its flow or task."""

    @property
    def run_type(self) -> str:
        """Which kind of run it is."""
        ...

    @property
    def definition(self) -> str:
        """The name of its flow or task."""
        ...

    @property
    def tags(self) -> Sequence[str]:
        """Its tags."""
        ...


class RecordedHook(NamedTuple):
    """A hook as a set describes it.

    `reference` is that of its function; where there is none, `problem` says why, and `value` is the
    key under which it was handed over. With a `configuration` the reference is that of the class
    which makes the function from it. `types` and `names` are the states that it selects.
    """

    id: str
    reference: str | None = None
    value: str | None = None
    problem: str | None = None
    types: Sequence[str] = ()
    names: Sequence[str] = ()
    run_type: Any = None
    name: str | None = None
    tags: Sequence[str] | None = None
    lasting: float | None = None
    overdue_seconds: float | None = None
    timeout_seconds: float | None = None
    retries: int = 0
    delays: Sequence[float] = ()
    configuration: Any = None
    where: Any = "owner"

    @classmethod
    def of(cls, hook: Hook) -> RecordedHook:
        """Describe a hook."""
        if isinstance(hook.fn, Unfetched):
            return hook.fn.recorded
        state: Any = hook.state
        states = () if state is None else (state,) if isinstance(state, str) else tuple(state)
        types = [state for state in states if isinstance(state, StateType)]
        problem = import_problem(hook)
        fn: Any = hook.fn
        is_configured = problem is None and isinstance(fn, ConfiguredHook)

        return cls(
            hook.id,
            reference=_reference(fn) if problem is None else None,
            configuration=fn.configuration() if is_configured else None,
            problem=problem,
            types=[state.value for state in types],
            names=[state for state in states if not isinstance(state, StateType)],
            run_type=hook.run_type,
            name=hook.name,
            tags=None if hook.tags is None else sorted(hook.tags),
            lasting=hook.lasting,
            overdue_seconds=hook.overdue_seconds,
            timeout_seconds=hook.timeout_seconds,
            retries=hook.policy.retries,
            delays=hook.policy.delays,
            where=hook.where,
        )

    @classmethod
    def read(cls, text: str) -> list[RecordedHook]:
        """Read the hooks of a set.

        Raises:
            ValueError: the text is not that of a set.
        """
        try:
            return [cls(**facts) for facts in json.loads(text)["hooks"]]
        except (TypeError, KeyError) as error:
            raise ValueError(f"{text[:200]!r} is no set of hooks: {error!r}") from error

    @property
    def is_timed(self) -> bool:
        """Whether it is told of a state that lasts, or of a run that is overdue."""
        return self.lasting is not None or self.overdue_seconds is not None

    def selects(self, run: RunFacts) -> bool:
        """Return whether it selects a run, in some of its states."""
        return (
            self.run_type in {None, run.run_type}
            and fnmatchcase(run.definition, self.name or "*")
            and set(self.tags or ()) <= set(run.tags)
        )

    def text(self) -> str:
        """Return the description as JSON, without what is as usual."""
        usual = self._field_defaults
        facts = {
            name: value
            for name, value in self._asdict().items()
            if name not in usual or (value != usual[name] and value != [])
        }

        return json.dumps(facts, separators=(",", ":"))

    def unfetched(self) -> Hook:
        """Return the hook with a function that only stands for its own."""
        return self.hook(Unfetched(self))

    def hook(self, fn: HookFunction) -> Hook:
        """Return the hook with its function, or with one that stands for it."""
        with warnings.catch_warnings():
            # Of a state's name that looks misspelt its own process has warned.
            warnings.simplefilter("ignore")
            return Hook(
                fn,
                state=(*map(StateType, self.types), *self.names) or None,
                run_type=self.run_type,
                name=self.name,
                tags=self.tags,
                lasting=self.lasting,
                overdue_seconds=self.overdue_seconds,
                id=self.id,
                timeout_seconds=self.timeout_seconds,
                retries=self.retries,
                retry_delay_seconds=self.delays or None,
                where=self.where,
            )


def _reference(fn: HookFunction) -> str:
    return function_reference(type(fn) if isinstance(fn, ConfiguredHook) else fn)


class Unfetched:
    """Stands for the function of a hook until its delivery has begun."""

    def __init__(self, recorded: RecordedHook) -> None:
        self.recorded = recorded

    def __call__(self, *_: object) -> None:
        """Refuse to be called.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError(f"The hook {self.recorded.id} was not fetched before its call.")


class _Described(NamedTuple):
    columns: tuple[str, int]
    recorded: RecordedHook
    text: str


# By `id`, weakly: a hook may hold much, and its function need not have a hash.
_described: Final[dict[int, tuple[ref[Hook], _Described]]] = {}


def _describe(hook: Hook) -> _Described:
    key = id(hook)
    cached = _described.get(key)
    if cached is None or cached[0]() is not hook:
        recorded = RecordedHook.of(hook)
        columns = (printable(hook.id), int(recorded.reference is not None))
        described = _Described(columns, recorded, recorded.text())
        cached = (ref(hook, lambda _: _described.pop(key, None)), described)
        _described[key] = cached

    return cached[1]


def hook_columns(hook: Hook) -> tuple[str, int]:
    """Return a hook's identity as it is recorded, and whether another process can import it."""
    return _describe(hook).columns


class HookSet(NamedTuple):
    """A set of hooks: its id and its text, both empty if it has none."""

    id: str = ""
    text: str = ""


def _hook_set(head: str, hooks: str, listeners: str = "[]") -> HookSet:
    tail = "" if listeners == "[]" else f',"listeners":{listeners}'
    text = f'{{{head}"hooks":{hooks}{tail}}}'

    return HookSet(blake2b(text.encode(), digest_size=_ID_BYTES).hexdigest(), text)


class HookSets:
    """The sets of hooks that the runs on one bus are subject to, as one owner records them.

    A definition has a set of its own hooks, the bus one of the hooks for all runs.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        # Another bus may have the same hooks, until one of the two changes.
        self._number = next(_numbers)
        self.begin("", None)

    def begin(self, owner: str, guard: Guard | None) -> None:
        """Begin anew, for another owner, which `guard` guards."""
        self.owner = owner
        self._guard = guard
        self._handed_over: dict[int, tuple[ref[Hook], str]] = {}
        self._known: WeakKeyDictionary[Any, tuple[int, HookSet]] = WeakKeyDictionary()
        self._hooks_of_bus = self._texts(self._bus.subscriptions) if owner else ""
        self._listening: list[int] | None = None
        self._listeners, self._described = "[]", 0
        self.shared = HookSet()
        """The set of the bus, as of the last call of `of_bus`."""
        if owner:
            self.of_bus(self._bus.subscriptions)

    def of(self, origin: Any) -> HookSet:
        """Return the set of a definition."""
        declared = origin.declared
        token, hooks = self._known.get(origin, (0, HookSet()))
        # Each change makes another tuple. It is not kept here: it may lead to the definition.
        if token != id(declared):
            hooks = self._make(declared) if declared else HookSet()
            self._known[origin] = (id(declared), hooks)

        return hooks

    def refresh(self, origin: Any) -> bool:
        """Return whether a definition, or, given None, the bus, has another set now."""
        if origin is None:
            subscriptions = self._bus.subscriptions
            hooks_before, self._hooks_of_bus = self._hooks_of_bus, self._texts(subscriptions)
            self._listening = None
            self.of_bus(subscriptions)
            return hooks_before != self._hooks_of_bus
        _, before = self._known.get(origin, (0, HookSet()))

        return before != self.of(origin)

    def of_bus(self, subscriptions: Sequence[Subscription]) -> HookSet:
        """Return the set of the bus, which has these subscriptions.

        Its hooks are those of the last `refresh`, its listeners the present ones: few programs
        change these often, and of one that does only the first so many sets are recorded.
        """
        listening = [each.serial for each in subscriptions if each.hook is None]
        if listening != self._listening:
            self._listening = listening
            if self._described < SETS_OF_LISTENERS:
                before, self._listeners = self._listeners, recorded_listeners(subscriptions)
                self._described += before != self._listeners
            head = f'"bus":{self._number},'
            self.shared = _hook_set(head, self._hooks_of_bus, self._listeners)

        return self.shared

    def _make(self, subscriptions: Iterable[Subscription]) -> HookSet:
        return _hook_set("", self._texts(subscriptions))

    def _texts(self, subscriptions: Iterable[Subscription]) -> str:
        hooks = [each.hook for each in subscriptions if each.hook is not None]
        if hooks and self._guard is not None:
            self._guard.guard()

        return f"[{','.join(map(self._text, hooks))}]"

    def _text(self, hook: Hook) -> str:
        described = _describe(hook)
        if described.recorded.reference is not None or hook.where == "worker":
            # The guardian does not run what is left to workers.
            return described.text

        return described.recorded._replace(value=self._hand_over(hook, described)).text()

    def _hand_over(self, hook: Hook, described: _Described) -> str:
        """Hand a hook over by value, once; return its key."""
        place, known = id(hook), self._handed_over.get(id(hook))
        if known is not None and known[0]() is hook:
            return known[1]
        handed_over, key, guard = self._handed_over, new_id().hex, self._guard

        def let_go(_: ref[Hook]) -> None:
            handed_over.pop(place, None)
            if guard is not None:
                guard.let_go(key)

        if guard is not None:
            guard.hand_over(key, hook, str(described.recorded.problem))
        handed_over[place] = (ref(hook, let_go), key)

        return key
