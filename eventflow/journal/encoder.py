"""The page of one run: what the lines of its transitions have in common, and how they are made.

The rows are those of `eventflow.journal.format`. This is on the way of every transition: what stays
as it is from one to the next is made once.
"""

from __future__ import annotations

import reprlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic_core import to_json

from eventflow.hooks.declaration import Hook
from eventflow.hooks.importability import reference_of, unreachable
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.format import JournalLine, Tables, Values
from eventflow.journal.rows import RunRow, micros
from eventflow.primitives.ids import delivery_number
from eventflow.primitives.records import ErrorInfo, printable
from eventflow.runs.run import Run, Transition
from eventflow.states import RUNNING

__all__ = ["Entry", "RunEncoder", "encoder_of", "has_plain_parameters", "line", "settlement"]

LONGEST: Final = 10_000
"""How many characters of a message, or of what a hook failed with, are kept."""

MANY_HOOKS: Final = 1024
"""Of how many hooks it is remembered what their rows say of them."""

Entry: TypeAlias = "tuple[RunEncoder, Values, Run, bool]"
"""A transition put down: where, its own row, its run, and whether that has ended with it."""


_NAME: Final = RunRow._fields.index("name")

_PENDING: Final = (str(DeliveryStatus.PENDING), 0, None, None, None)
"""What a delivery's row ends with, from its status on, before the first attempt."""

_BEGUN: Final = (str(DeliveryStatus.RUNNING), 1, None, None)
"""The same, but for the time, for the first of an event's hooks: its turn is next."""


class RunEncoder:
    """What the journal knows of one run so far; kept with the run."""

    __slots__ = (
        "_above",
        "_begun",
        "_created",
        "_head",
        "_parameters",
        "_started",
        "key",
    )

    def __init__(self, run: Run, owner: str) -> None:
        self.key = f"{run.number:032x}"
        self._above = _above.of(run, owner)
        self._begun = False
        self._parameters: str | None = None
        self._created: int | None = None
        self._started: int | None = None
        self._head: Values = []

    def keep_up(self, run: Run) -> None:
        """Take note of what is new: the name and parameters are final when the body begins."""
        if self._begun:
            return
        if self._head:
            self._head[_NAME] = printable(run.name)
        else:
            self._head = [self.key, run.run_type, printable(run.name), *_of_definition(run)]
        if run.run_count or run.ended_at is not None:
            self._parameters = _parameters(run.parameters)
            # Last: if anything here cannot be done, it is tried again, and no row is without it.
            self._begun = True

    def entry(self, fact: Transition) -> Entry:
        """Put down a transition, with what the row of the run needs beside it."""
        run, state = fact.run, fact.entered
        self.keep_up(run)
        at = state.at // 1000
        count, sequence = fact.run_count, fact.sequence
        if self._created is None:
            # A run that another process has begun is older than its first line here.
            self._created = at if sequence == 0 or run.created is None else micros(run.created)
        if self._started is None and count:
            before = None if state.type is RUNNING else run.start_time
            self._started = at if before is None else micros(before)
        follows, key = _before(fact), f"{fact.number:032x}"
        kind, name = state.type._value_, printable(state.name)
        message = None if state.message is None else printable(state.message[:LONGEST])
        told = None if state.error is None else _told(state.error)
        event = [key, self.key, sequence, kind, name, at, count, message, told, follows]

        return self, event, run, run.ended_at is state

    def row(self, event: Values, run: Run, *, ended: bool) -> Values:
        """Give the row of the run as of an entry; how long it has been executed is as of now."""
        key, _, sequence, kind, name, at, count, message, _, _ = event

        return [
            *(*self._head, self._parameters, *self._above, self._created, self._started),
            *(at if ended else None, round(run.seconds, 6), count, sequence),
            *(key, kind, name, at, message),
        ]

    def deliveries(self, fact: Transition, hooks: Iterable[Hook]) -> list[Values]:
        """Give the rows of what a transition owes to hooks, the first of which is begun with it."""
        event = fact.number
        key = f"{event:032x}"
        begun = (*_BEGUN, fact.entered.at // 1000)

        return [
            [
                *(_delivery(event, place), key, self.key, place, *_identity(hook)),
                *(_PENDING if place else begun),
            ]
            for place, hook in enumerate(hooks)
        ]


def line(
    entries: Sequence[Entry],
    owed: list[Values] | None = None,
    settlements: list[Values] | None = None,
) -> JournalLine:
    """Make one line of some entries, of what the last of them owes to hooks, and of settlements.

    Those of one run, or of one delivery, must be in their order.
    """
    rows: Tables = {}
    # Of each run the last, in the order in which they came first.
    last = {entry[0]: entry for entry in entries}
    if last:
        rows["runs"] = [
            page.row(event, run, ended=ended) for page, event, run, ended in last.values()
        ]
        rows["events"] = [entry[1] for entry in entries]
    if owed:
        rows["deliveries"] = owed
    if settlements:
        rows["settlements"] = settlements

    return JournalLine.of(rows)


def encoder_of(run: Run, owner: str) -> RunEncoder:
    """Give the page of a run, which it keeps from its first on."""
    page: RunEncoder | None = run.journalled
    if page is None:
        page = run.journalled = RunEncoder(run, owner)

    return page


class _Above:
    """The ids of the runs above a run, with its owner: shared by those that have the same."""

    def __init__(self) -> None:
        self._last: tuple[object, object, str, Values] = (None, None, "", [None, None, None, ""])

    def of(self, run: Run, owner: str) -> Values:
        """Give the ids of the run above, of its flow run and of the first flow run; the owner."""
        above, flow = run.parent_run_id, run.flow_run_id
        parent, around, before, known = self._last
        # The first flow run is told by the flow run.
        if above is not parent or flow is not around or owner != before:
            known = [_id(above), _id(flow), _id(run.root_flow_run_id), owner]
            self._last = (above, flow, owner, known)

        return known


_above: Final = _Above()


def _before(fact: Transition) -> str | None:
    """Give the id of the run's transition before."""
    left = fact.left

    return _id(fact.follows) if left is None else f"{left.number:032x}"


def _of_definition(run: Run) -> Values:
    """Give what a run's row says of its definition, and the tags behind it."""
    definition = run.definition
    version = getattr(definition, "version", None)
    tags = "[]" if not run.labels else to_json([*map(printable, run.tags)]).decode()

    return [
        printable(run.definition_name),
        printable(reference_of(definition)),
        None if version is None else printable(str(version)),
        tags,
    ]


def _told(error: ErrorInfo) -> str:
    """Write an error as its model would, which may be unable to: it opens files the first time."""
    facts = {**vars(error), "message": error.message[:LONGEST]}

    return to_json(facts).decode()


def settlement(
    key: tuple[UUID, UUID, int],
    status: DeliveryStatus,
    attempts: int,
    error: str | None,
    delay: float,
) -> Values:
    """Give the row that says what came of an attempt, or that it begins.

    `key` is the run, the event and the hook's place; `delay` is in how many seconds the next
    attempt may begin.
    """
    run_id, event_id, place = key
    now = time.time_ns() // 1000
    due = now + int(delay * 1e6) if delay else None
    why = None if error is None else printable(error)[:LONGEST]
    delivery = _delivery(event_id.int, place)

    return [f"{run_id.int:032x}", delivery, status._value_, attempts, now, due, why]


def _delivery(event: int, place: int) -> str:
    return f"{delivery_number(event, place):032x}"


def _id(key: UUID | None) -> str | None:
    return None if key is None else f"{key.int:032x}"


# By the number of the object, which lives as long as it is here: its own hash is slow, and a
# function that it cannot be made of is no reason to record nothing.
_identities: Final[dict[int, tuple[Hook, tuple[str, int]]]] = {}


def _identity(hook: Hook) -> tuple[str, int]:
    known = _identities.get(id(hook))
    if known is None:
        if len(_identities) >= MANY_HOOKS:
            _identities.clear()
        known = (hook, (printable(hook.id), int(unreachable(hook) is None)))
        _identities[id(hook)] = known

    return known[1]


# -- parameters ----------------------------------------------------------------------------------

_PLAIN: Final = frozenset({float, bool, type(None)})
_UNCHANGED: Final = _PLAIN | {int, str, bytes}
"""The types of values that nobody can change."""
_SHORT: Final = 200
_WORD: Final = 64
"""How many bits of a number are told as a number: longer ones not everybody can read back."""
_HUGE: Final = 8192
"""How many bits a number may have that is told in digits; Python refuses from 4300 digits on."""


class _Brief(reprlib.Repr):
    """Describes a value for people: as long as a line, whatever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _SHORT
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 10
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= _HUGE else "<a huge int>"

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002 - as reprlib calls it
        # Cut first: all of it, described, would be four times as long.
        return repr(x) if len(x) <= _SHORT else f"{x[:_SHORT]!r}... ({len(x)} bytes)"

    repr_bytearray = repr_bytes


_brief: Final = _Brief()


def has_plain_parameters(run: Run) -> bool:
    """Whether no parameter can be changed by the body: then they can be put down later."""
    for value in run.parameters.values():  # noqa: SIM110 - for each run
        if type(value) not in _UNCHANGED:
            return False

    return True


def _parameters(values: Mapping[str, Any]) -> str:
    """Write parameters for people: plain values as they are, all others by a short description."""
    if not values:
        return "{}"
    shown = {name: _shown(value) for name, value in values.items()}

    return to_json(shown, inf_nan_mode="strings").decode()


def _shown(value: object) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, str) and kind is str and len(value) <= _SHORT:
        return printable(value)
    if isinstance(value, int) and kind is int and value.bit_length() <= _WORD:
        return value
    try:
        return printable(_brief.repr(value))
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"<{kind.__qualname__}, whose repr raised {type(error).__name__}>"
