"""The encoder of a run: turns its transitions into the rows of a line.

The rows are those of `eventflow.journal.format`. Every transition passes through here, so that
whatever is the same from one to the next is made once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias
from uuid import UUID

from pydantic_core import to_json

from eventflow.hooks.declaration import Hook
from eventflow.hooks.ledger import DeliveryStatus
from eventflow.hooks.references import reference_of
from eventflow.hooks.sets import HookSets, hook_columns
from eventflow.journal.format import JournalLine, Tables, Values
from eventflow.journal.rows import RunRow, micros
from eventflow.primitives.ids import delivery_number
from eventflow.primitives.records import ErrorInfo, printable
from eventflow.runs.run import Run, Transition
from eventflow.states.kinds import RUNNING
from eventflow.values.recording import record_parameters

__all__ = [
    "Entry",
    "RunEncoder",
    "encode_line",
    "encode_settlement",
    "encoder_of",
    "has_immutable_parameters",
]

MAX_TEXT: Final = 10_000
"""How many characters of a message, or of the error of a hook, are recorded."""

Entry: TypeAlias = "tuple[RunEncoder, Values, Run, bool]"
"""An encoded transition: its encoder, the row of its event, its run, and whether that has ended."""

_NAME: Final = RunRow._fields.index("name")

_PENDING: Final = (str(DeliveryStatus.PENDING), 0, None, None, None)
"""The last columns of a delivery, from its status on, before its first attempt."""

_BEGUN: Final = (str(DeliveryStatus.RUNNING), 1, None, None)
"""The same, but for the time, for the first of an event's hooks, which begins next."""


class RunEncoder:
    """Encodes the transitions of one run, in the name of one owner; kept with the run."""

    __slots__ = (
        "_ancestors",
        "_created",
        "_declared",
        "_head",
        "_hooks",
        "_is_final",
        "_parameters",
        "_started",
        "key",
        "owner",
    )

    def __init__(self, run: Run, owner: str) -> None:
        self.key = f"{run.number:032x}"
        self.owner = owner
        self._ancestors = _ancestors.of(run, owner)
        self._is_final = False
        self._parameters: str | None = None
        self._created: int | None = None
        self._started: int | None = None
        self._head: Values = []
        self._declared: object = ()
        self._hooks = ""

    def update(self, run: Run) -> None:
        """Encode the name and the parameters, which are final when the body begins."""
        if self._is_final:
            return
        if self._head:
            self._head[_NAME] = printable(run.name)
        else:
            self._head = [self.key, run.run_type, printable(run.name), *_definition_values(run)]
        if run.run_count or run.ended_at is not None:
            self._parameters = _encode_parameters(run)
            # Last: if anything above raises, it is tried again, and no row is without it.
            self._is_final = True

    def entry(self, fact: Transition) -> Entry:
        """Encode a transition, with what the row of the run needs beside it."""
        run, state = fact.run, fact.entered
        self.update(run)
        at = state.at // 1000
        count, sequence = fact.run_count, fact.sequence
        if self._created is None:
            # A run that another process has begun is older than its first line here.
            self._created = at if sequence == 0 or run.created is None else micros(run.created)
        if self._started is None and count:
            before = None if state.type is RUNNING else run.start_time
            self._started = at if before is None else micros(before)
        follows, key = _previous_id(fact), f"{fact.number:032x}"
        kind, name = state.type._value_, printable(state.name)
        message = None if state.message is None else _cut(printable(state.message))
        error = None if state.error is None else _encode_error(state.error)
        event = [key, self.key, sequence, kind, name, at, count, message, error, follows]

        return self, event, run, run.ended_at is state

    def row(self, event: Values, run: Run, sets: HookSets | None, *, ended: bool) -> Values:
        """Return the row of the run as of an event, with the time its body has taken so far.

        `sets` knows the hooks that it is subject to; None leaves them as they were recorded.
        """
        key, _, sequence, kind, name, at, count, message, _, _ = event
        hooks: Values = [None, None]
        if sets is not None:
            origin = run.definition.origin
            if origin.declared is not self._declared:
                self._declared, self._hooks = origin.declared, sets.of(origin)
            hooks = [self._hooks, sets.shared]

        return [
            *(*self._head, self._parameters, *self._ancestors, self._created, self._started),
            *(at if ended else None, round(run.seconds, 6), count, sequence),
            *(key, kind, name, at, message),
            *hooks,
        ]

    def deliveries(self, fact: Transition, hooks: Iterable[Hook]) -> list[Values]:
        """Return the rows of what a transition owes to hooks, the first of which has begun."""
        event = fact.number
        key = f"{event:032x}"
        begun = (*_BEGUN, fact.entered.at // 1000)

        return [
            [
                *(_delivery_key(event, ordinal), key, self.key, ordinal, *hook_columns(hook)),
                *(_PENDING if ordinal else begun),
            ]
            for ordinal, hook in enumerate(hooks)
        ]


def encode_line(
    entries: Sequence[Entry],
    owed: list[Values] | None = None,
    settlements: list[Values] | None = None,
    sets: HookSets | None = None,
) -> JournalLine:
    """Make one line of entries, of what the last of them owes to hooks, and of settlements.

    The entries of one run, and the settlements of one delivery, must be in their order. `sets` has
    the sets of hooks that the runs are subject to, those of them that no line holds yet among them.
    """
    rows: Tables = {}
    # The last entry of each run, in the order of the first ones.
    last = {entry[0]: entry for entry in entries}
    if last:
        rows["runs"] = [
            encoder.row(event, run, sets, ended=ended)
            for encoder, event, run, ended in last.values()
        ]
        rows["events"] = [entry[1] for entry in entries]
    if owed:
        rows["deliveries"] = owed
    if settlements:
        rows["settlements"] = settlements
    # Last: a row of a run may have found a new set.
    if sets is not None and sets.sets:
        rows["hook_sets"] = [*sets.sets]
    if sets is not None and sets.changes:
        rows["hook_changes"] = [*sets.changes]

    return JournalLine.of(rows)


def encoder_of(run: Run, owner: str) -> RunEncoder:
    """Return the encoder of a run, which is made once and kept with the run."""
    encoder: RunEncoder | None = run.encoder
    if encoder is None:
        encoder = run.encoder = RunEncoder(run, owner)

    return encoder


class _Ancestors:
    """The ids of the runs above a run, and its owner: one list for all runs that share them."""

    def __init__(self) -> None:
        self._last: tuple[object, object, str, Values] = (None, None, "", [None, None, None, ""])

    def of(self, run: Run, owner: str) -> Values:
        """Return the ids of the parent run, of the flow run and of the root flow run; the owner."""
        parent, flow = run.parent_run_id, run.flow_run_id
        last_parent, last_flow, last_owner, values = self._last
        # The flow run determines the root flow run.
        if parent is not last_parent or flow is not last_flow or owner != last_owner:
            values = [_hex(parent), _hex(flow), _hex(run.root_flow_run_id), owner]
            self._last = (parent, flow, owner, values)

        return values


_ancestors: Final = _Ancestors()


def _previous_id(fact: Transition) -> str | None:
    """Return the id of the run's previous transition."""
    previous = fact.previous

    return _hex(fact.follows) if previous is None else f"{previous.number:032x}"


def _definition_values(run: Run) -> Values:
    """Return the columns of a run's row that describe its definition, and its tags."""
    definition = run.definition
    version = getattr(definition, "declared_version", None)
    tags = "[]" if not run.tag_set else to_json([*map(printable, run.tags)]).decode()

    return [
        printable(run.definition_name),
        printable(reference_of(definition).text),
        None if version is None else printable(str(version)),
        tags,
    ]


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _encode_error(error: ErrorInfo) -> str:
    """Encode an error as its model would, which may fail: it opens files the first time."""
    facts = {**vars(error), "message": _cut(error.message)}

    return to_json(facts).decode()


def encode_settlement(
    key: tuple[UUID, UUID, int],
    status: DeliveryStatus,
    attempts: int,
    error: str | None,
    delay: float,
) -> Values:
    """Return the row of the beginning or the outcome of an attempt.

    `key` is the run, the event and the ordinal of the hook; `delay` is in how many seconds the next
    attempt may begin.
    """
    run_id, event_id, ordinal = key
    now = time.time_ns() // 1000
    due = now + int(delay * 1e6) if delay else None
    reason = None if error is None else _cut(printable(error))
    delivery = _delivery_key(event_id.int, ordinal)

    return [f"{run_id.int:032x}", delivery, status._value_, attempts, now, due, reason]


def _delivery_key(event: int, ordinal: int) -> str:
    return f"{delivery_number(event, ordinal):032x}"


def _hex(key: UUID | None) -> str | None:
    return None if key is None else f"{key.int:032x}"


# -- parameters ----------------------------------------------------------------------------------

_IMMUTABLE: Final = frozenset({float, bool, type(None), int, str, bytes})
"""The types of values that cannot be changed."""


def has_immutable_parameters(run: Run) -> bool:
    """Return whether the body cannot change any parameter, so that they may be encoded later."""
    for name, value in run.parameters.items():
        if type(value) not in _IMMUTABLE and name != _receiver(run):
            return False

    return True


def _receiver(run: Run) -> str | None:
    """Return the name of the parameter for what a method is called on, if the run is of one."""
    receiver: str | None = getattr(getattr(run.definition, "parameters", None), "receiver", None)

    return receiver


def _encode_parameters(run: Run) -> str | None:
    parameters = getattr(run.definition, "parameters", None)
    secrets: frozenset[str] = getattr(parameters, "secret_names", frozenset())

    return record_parameters(run.parameters, secrets, _receiver(run))
