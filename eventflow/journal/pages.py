"""The page of one run: what the lines of its transitions have in common, and how they are made.

The lines are those of `eventflow.journal.lines`, put together as text here: this is on the way of
every transition, and nearly all that is in them is numbers and ids.
"""

from __future__ import annotations

import reprlib
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic_core import to_json

from eventflow.errorinfo import ErrorInfo, printable
from eventflow.hooks import Hook
from eventflow.ids import delivery_number
from eventflow.journal.reach import reference_of, unreachable
from eventflow.journal.rows import DeliveryStatus, micros
from eventflow.runs import Run, Transition
from eventflow.states import StateType

__all__ = ["Entry", "Page", "line", "page_of", "settlement_line"]

LONGEST: Final = 10_000
"""How many characters of a message, or of what a hook failed with, are kept."""

NULL: Final = "null"

Row: TypeAlias = tuple[int | str, float, int, int, str, str, str]
"""What changes in the row of a run: its end, seconds, attempts, the last transition's number, the
state's id, what it is, its message."""

Entry: TypeAlias = "tuple[Page, str, Row]"
"""A transition put down: where, its own row, the row of the run."""

# Python 3.11 looks a member up by calling Python code.
_RUNNING: Final = StateType.RUNNING


class Page:
    """What the journal knows of one run so far; kept with the run."""

    __slots__ = (
        "_begun",
        "_created",
        "_head",
        "_last",
        "_last_key",
        "_name",
        "_parameters",
        "_started",
        "_tail",
        "key",
    )

    def __init__(self, run: Run, owner: str) -> None:
        self.key = f"{run.id.int:032x}"
        self._begun = False
        self._created = self._started = self._parameters = NULL
        self._name: str | None = None
        self._head = ""
        self._tail = f"{_above(run)},{_known_text(owner)}"
        self._last: UUID | None = None
        self._last_key = NULL

    def _keep_up(self, run: Run) -> None:
        """Take note of what is new: the name and parameters are final when the body begins."""
        if run.run_count or run.end_time is not None:
            self._begun = True
            self._parameters = _text(_parameters(run.parameters))
        name = run.name
        if name != self._name:
            self._name = name
            self._head = f'"{self.key}","{run.run_type}",{_text(name)},{_of_definition(run)}'

    def entry(self, fact: Transition) -> Entry:
        """Put down a transition, with the row of the run as of it."""
        run, state = fact.run, fact.to_state
        if not self._begun:
            self._keep_up(run)
        at = micros(state.timestamp)
        if self._created is NULL:
            # A run that another process has begun is older than its first line here.
            self._created = _moment(None if fact.sequence == 0 else run.created, at)
        if self._started is NULL and fact.run_count:
            self._started = _moment(None if state.type is _RUNNING else run.start_time, at)
        follows = self._last_key if fact.follows is self._last else _id(fact.follows)
        key = f'"{state.id.int:032x}"'
        self._last, self._last_key = state.id, key
        what = f'"{state.type._value_}",{_known_text(state.name)},{at}'
        message = NULL if state.message is None else _text(state.message[:LONGEST])
        told = NULL if state.error is None else _text(_bounded(state.error).model_dump_json())
        ended = NULL if run.end_time is None else at
        event = (
            f'[{key},"{self.key}",{fact.sequence},{what},{fact.run_count},{message},'
            f"{told},{follows}]"
        )
        row = (ended, run.seconds, fact.run_count, fact.sequence, key, what, message)

        return self, event, row

    def row(self, row: Row) -> str:
        """Give the row of the run as of an entry."""
        ended, seconds, count, sequence, key, what, message = row

        return (
            f"[{self._head},{self._parameters},{self._tail},{self._created},{self._started},{ended},"
            f"{seconds:.6f},{count},{sequence},{key},{what},{message}]"
        )

    def deliveries(self, fact: Transition, hooks: Iterable[Hook]) -> str:
        """Give the rows of what a transition owes to hooks."""
        state = fact.to_state.id

        return ",".join(
            f'["{_delivery(state, place)}","{state.int:032x}","{self.key}",{place},{_owed(hook)}]'
            for place, hook in enumerate(hooks)
        )


def line(entries: Iterable[Entry], deliveries: str = "") -> bytes:
    """Make one line of some entries, and of what the last of them owes to hooks.

    Those of one run must be in their order.
    """
    events = []
    rows: dict[Page, Row] = {}
    for page, event, row in entries:
        events.append(event)
        rows[page] = row
    runs = ",".join([page.row(row) for page, row in rows.items()])
    owed = f',"deliveries":[{deliveries}]' if deliveries else ""

    return f'{{"runs":[{runs}],"events":[{",".join(events)}]{owed}}}'.encode()


def page_of(run: Run, owner: str) -> Page:
    """Give the page of a run, which it keeps from its first on."""
    page: Page | None = run.journalled
    if page is None:
        page = run.journalled = Page(run, owner)

    return page


def _above(run: Run) -> str:
    """Give the ids of the run above, of its flow run and of the first flow run."""
    above = run.parent_run_id
    if above is run.flow_run_id is run.root_flow_run_id:
        # A task of a flow that nobody called.
        key = _id(above)
        return f"{key},{key},{key}"

    return ",".join(map(_id, (above, run.flow_run_id, run.root_flow_run_id)))


def _of_definition(run: Run) -> str:
    """Give what a run's row says of its definition, and the tags behind it."""
    definition = run.definition
    version = getattr(definition, "version", None)
    tags = '"[]"' if not run.labels else _text(to_json([*map(printable, run.tags)]).decode())

    return (
        f"{_known_text(run.definition_name)},{_known_text(reference_of(definition))},"
        f"{NULL if version is None else _text(str(version))},{tags}"
    )


def _bounded(error: ErrorInfo) -> ErrorInfo:
    if len(error.message) <= LONGEST:
        return error

    return error.model_copy(update={"message": error.message[:LONGEST]})


def settlement_line(
    key: tuple[UUID, UUID, int],
    status: DeliveryStatus,
    attempts: int,
    error: str | None,
    delay: float,
) -> bytes:
    """Make the line that says what came of an attempt, or that it begins.

    `key` is the run, the event and the hook's place; `delay` is in how many seconds the next
    attempt may begin.
    """
    run_id, event_id, place = key
    now = time.time_ns() // 1000
    due = now + int(delay * 1e6) if delay else NULL
    why = NULL if error is None else _text(printable(error)[:LONGEST])

    return (
        f'{{"settlements":[["{run_id.int:032x}","{_delivery(event_id, place)}",'
        f'"{status._value_}",{attempts},{now},{due},{why}]]}}'
    ).encode()


def _delivery(event_id: UUID, place: int) -> str:
    return f"{delivery_number(event_id.int, place):032x}"


def _id(key: UUID | None) -> str:
    return NULL if key is None else f'"{key.int:032x}"'


def _moment(moment: datetime | None, otherwise: int) -> str:
    return str(otherwise if moment is None else micros(moment))


def _text(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'

    return to_json(printable(text)).decode()


_known_text: Final = lru_cache(maxsize=1024)(_text)


@lru_cache(maxsize=1024)
def _owed(hook: Hook) -> str:
    """Give what a delivery to this hook begins with, from its identity on."""
    importable = int(unreachable(hook) is None)

    return f'{_text(hook.id)},{importable},"{DeliveryStatus.PENDING}",0,null,null,null'


# -- parameters ----------------------------------------------------------------------------------

_PLAIN: Final = frozenset({float, bool, type(None)})
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
