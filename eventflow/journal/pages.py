"""The page of one run: what the lines of its transitions have in common, and how they are made.

The lines are those of `eventflow.journal.lines`, put together as text here: this is on the way of
every transition, and nearly all that is in them is numbers and ids.
"""

from __future__ import annotations

import reprlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from pydantic_core import to_json

from eventflow.errorinfo import ErrorInfo, printable
from eventflow.hooks import Hook
from eventflow.ids import delivery_number
from eventflow.journal.reach import reference_of, unreachable
from eventflow.journal.rows import DeliveryStatus, micros
from eventflow.runs import Run, Transition

__all__ = ["Page", "settlement_line"]

LONGEST: Final = 10_000
"""How many characters of a message, or of what a hook failed with, are kept."""

NULL: Final = "null"


class Page:
    """What the journal knows of one run so far; kept with the run."""

    __slots__ = ("_begun", "_fixed", "_head", "_name", "_started", "_tail", "key")

    def __init__(self, run: Run, owner: str) -> None:
        self.key = f"{run.id.int:032x}"
        self._begun = False
        self._started = _moment(run.start_time)
        self._name: str | None = None
        self._head = ""
        above = ",".join(map(_id, (run.parent_run_id, run.flow_run_id, run.root_flow_run_id)))
        self._tail = f"{above},{_known_text(owner)},"
        self._fixed = ""

    def _fix(self, run: Run, parameters: str, created: int) -> None:
        """Put together what stays as it is from one transition to the next."""
        name = run.name
        if name != self._name:
            self._name = name
            self._head = f'"{self.key}","{run.run_type}",{_text(name)},{_of_definition(run)},'
        self._fixed = f"{self._head}{parameters},{self._tail}{created}"

    def _keep_up(self, fact: Transition, at: int) -> None:
        """Take note of what is new: the name and parameters are final when the body begins."""
        run = fact.run
        if run.run_count or run.end_time is not None:
            self._begun = True
            self._fix(
                run,
                _text(_parameters(run.parameters)),
                at if run.created is None else micros(run.created),
            )
            if self._started is NULL:
                self._started = _moment(run.start_time)
        elif not self._fixed:
            self._fix(run, NULL, at)

    def line(
        self, fact: Transition, hooks: Sequence[Hook] = (), before: Transition | None = None
    ) -> bytes:
        """Make the line of a transition, and of the deliveries that it owes to these hooks.

        `before` is the transition before it, where that has no line of its own.
        """
        run, state = fact.run, fact.to_state
        at = micros(state.timestamp)
        if not self._begun:
            self._keep_up(fact, at)
        key = f"{state.id.int:032x}"
        message = NULL if state.message is None else _text(state.message[:LONGEST])
        what = f'"{state.type._value_}",{_known_text(state.name)},{at}'
        ended = NULL if run.end_time is None else at
        events = self._event(fact, key, what, message)
        if before is not None:
            events = f"{self._past(before)},{events}"
        line = (
            f'{{"runs":[[{self._fixed},{self._started},{ended},{run.seconds:.6f},'
            f'{fact.run_count},{fact.sequence},"{key}",{what},{message}]],"events":[{events}]'
        )
        if hooks:
            owed = ",".join(
                f'["{_delivery(state.id, place)}","{key}","{self.key}",{place},{_owed(hook)}]'
                for place, hook in enumerate(hooks)
            )
            line += f',"deliveries":[{owed}]'

        return (line + "}").encode()

    def _past(self, fact: Transition) -> str:
        state = fact.to_state
        message = NULL if state.message is None else _text(state.message[:LONGEST])
        what = f'"{state.type._value_}",{_known_text(state.name)},{micros(state.timestamp)}'

        return self._event(fact, f"{state.id.int:032x}", what, message)

    def _event(self, fact: Transition, key: str, what: str, message: str) -> str:
        error = fact.to_state.error
        told = NULL if error is None else _text(_bounded(error).model_dump_json())

        return (
            f'["{key}","{self.key}",{fact.sequence},{what},{fact.run_count},{message},{told},'
            f"{_id(fact.follows)}]"
        )


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


def _moment(moment: datetime | None) -> str:
    return NULL if moment is None else str(micros(moment))


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
