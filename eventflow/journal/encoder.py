"""The encoder of a run: turns the transitions that no record holds yet into one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import to_json

from eventflow.journal.plans import HookList
from eventflow.journal.records import LETTERS, pack_run, pack_usual_run, run_hex, state_text
from eventflow.journal.rows import micros
from eventflow.journal.wal.beginnings import pack_begun
from eventflow.primitives.texts import printable
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Run
from eventflow.states.records import ErrorInfo
from eventflow.values.recording import record_parameters

__all__ = ["RunEncoder", "cut"]

MAX_TEXT: Final = 10_000
"""How many characters of a message, or of the error of a hook, are recorded."""

MAX_NAME: Final = 200
"""How many characters of the name of a state are recorded."""

_NO_PARAMETERS: Final = "[{}]"


class RunEncoder:
    """Encodes the transitions of one run, in the name of one owner; kept with the run.

    `next` is the sequence of the first transition that no record holds. `number` is that of the
    definition in the last record, which is in `segment` from `offset` on; `sequence` its last
    transition, and `owed`, `begun` and `done` count the hooks that this is owed to: `hooks` has the
    identity and the importability of each, `owed_to` its subscription, `settled` by ordinal the
    records of those that have one of their own. `updated` is when one of them began, or was done.
    `parameters` is their record, once they are final, and `created` when the run was, in
    microseconds. `is_usual` says that the run was Pending, then Running, and that the ids of the
    runs above follow from that of its parent, `is_left` that a commit may record its beginning.
    `note` is where that is noted until then, if it is: its segment, its start and its end.
    """

    # Most runs have one record, and few hooks: class attributes, and no slots, are set up faster.
    owner = ""
    parameters: str | None = None
    created = 0
    is_usual = False
    is_left = False
    note: tuple[Any, int, int] | None = None
    next = 0
    number = 0
    segment: Any = None
    offset = 0
    sequence = -1
    owed = begun = done = updated = 0
    hooks: Sequence[tuple[str, int]] = ()
    settled: Mapping[int, bytes] = MappingProxyType({})
    owed_to: tuple[Any, ...] = ()
    # Whether the run is another owner's: what it owes may have records of its own already.
    adopted = False
    # Whether a record told of everything, so that it need not be told again.
    _described = False

    def describe(self, run: Run) -> None:
        """Encode the parameters as they are now: the body may change them."""
        parameters = getattr(run.definition, "parameters", None)
        secrets: frozenset[str] = getattr(parameters, "secret_names", frozenset())
        receiver = getattr(parameters, "receiver", None)
        self.parameters = record_parameters(run.parameters, secrets, receiver) or "null"

    def begin(self, run: Run, started: LazyState, number: int) -> bytes | None:
        """Make the note that a run of a definition has begun; None if that takes a record."""
        text, parent = self.parameters, run.parent_run_id
        if not self.created or text is None:
            return None
        self.number = number
        name, facts = b"", b"[%b]" % text.encode()
        if run.given_name is not None or not self.is_usual:
            name = cut(run.name).encode()
            if above := _above(run):
                facts = b"[%b,%b]" % (text.encode(), above)

        return pack_begun(
            run.number,
            0 if parent is None else parent.int,
            number,
            self.created,
            started.at // 1000,
            name + facts,
            len(name),
        )

    def encode(self, run: Run, last: int, entered: LazyState, listed: HookList) -> bytes:
        """Make the record of all transitions up to `last`, which entered a state.

        That one is owed to the hooks of a list, the first of which begins next.
        """
        at, hooks = entered.at // 1000, listed.hooks
        owed = len(hooks)
        if (
            entered.name == "Completed"
            and self.is_usual
            and last == _USUAL_LAST
            and not (self.next or entered.message or entered.error or entered.own_number)
            and listed.usual is not None
            and run.given_name is None
        ):
            parent, text = run.parent_run_id, self.parameters
            started: Any = run.started_at
            record = pack_usual_run(
                listed.usual,
                owed,
                run.number,
                0 if parent is None else parent.int,
                self.created,
                started.at // 1000,
                at,
                b"" if text == _NO_PARAMETERS else b"[%b]" % text.encode(),  # type: ignore[union-attr]
            )
        else:
            record = self._encode(run, last, entered, listed.suffix, owed)
        self.next, self.sequence = last + 1, last
        if owed or self.owed:
            self.owed, self.hooks = owed, hooks
            self.begun, self.done, self.updated = 1 if owed else 0, 0, at
            if self.settled:
                self.settled = {}

        return record

    def take_back(self, first: int) -> None:
        """Have the next record tell of all transitions from a sequence on, and the parameters."""
        self.next, self.segment, self._described = first, None, False

    def _encode(self, run: Run, last: int, entered: LazyState, suffix: bytes, owed: int) -> bytes:
        at, parent, name, first = entered.at // 1000, run.parent_run_id, run.given_name, self.next
        state = _letter(entered)
        if state is None:
            state, events = _state(entered), self._events(run, last, entered)
        # What most flow runs come to: below it takes twice as long.
        elif self.is_usual and last == 1 and not first:
            events = b"P0R%d" % (at - self.created)
        elif self.is_usual and last == first == _USUAL_LAST and not self.owed:
            events = b"!2\n%b%d" % (state, at - self.created)
        else:
            events = self._events(run, last, entered)

        return pack_run(
            run.number,
            0 if parent is None else parent.int,
            self.number,
            self.created,
            first,
            last,
            at if run.ended_at is entered else 0,
            state,
            b"" if name is None and run.run_type == "task" else cut(run.name).encode(),
            b"" if self._described else self._facts(run),
            events + suffix,
            owed,
            at,
        )

    def _events(self, run: Run, last: int, entered: LazyState) -> bytes:
        """Return the lines of the transitions that no record holds, of any kind."""
        if not self.created:
            moment = run.created_at
            self.created = (
                (entered if moment is None else moment).at // 1000
                if moment is None or isinstance(moment, LazyState)
                else micros(moment)
            )
        first = self.next
        states = _states(run, first, last, entered)
        before = b"+%d\n" % self.updated if self.owed else b""
        if first or len(states) <= last - first:
            before += b"!%d\n" % (last + 1 - len(states))

        return before + _lines(states, self.created)

    def _facts(self, run: Run) -> bytes:
        """Encode the parameters, and the ids of the runs above where they are not as usual."""
        parameters = b"null"
        if run.run_count or run.ended_at is not None:
            if self.parameters is None:
                self.describe(run)
            text = self.parameters or "null"
            self.parameters, self._described = None, True
            # The first transition alone may have been recorded with other facts before.
            parameters = b"" if text == _NO_PARAMETERS and not self.next else text.encode()
        above = b"" if self.is_usual else _above(run)
        if not above:
            return parameters and b"[%b]" % parameters

        return b"[%b,%b]" % (parameters or _NO_PARAMETERS.encode(), above)


_LETTERS: Final = {kind: letter.encode() for kind, letter in LETTERS.items()}
_USUAL: Final = {kind.capitalize(): letter for kind, letter in _LETTERS.items()}
"""The letters of the states that have the usual name of their type."""

_USUAL_LAST: Final = 2
"""The sequence of the last transition of most runs: Pending, Running, and their end."""


def _states(run: Run, first: int, last: int, entered: LazyState) -> list[LazyState]:
    """Return the states from a sequence on, as far as the run has them still."""
    if last == first:
        return [entered]
    states = [entered]
    created, started = run.created_at, run.started_at
    if isinstance(started, LazyState) and started.sequence == last - 1:
        states.insert(0, started)
    if isinstance(created, LazyState) and created.sequence == last - len(states) >= first:
        states.insert(0, created)

    return states


def _lines(states: Sequence[LazyState], created: int) -> bytes:
    """Return the lines of transitions: those of which there is nothing to tell are in one line."""
    lines = b""
    for state in states:
        letter = _letter(state)
        if letter is None:
            lines += b"%b%b\n" % (b"\n" if lines[-1:].isdigit() else b"", _event(state, created))
        else:
            lines += b"%b%d" % (letter, state.at // 1000 - created)

    return lines.removesuffix(b"\n")


def _letter(state: LazyState) -> bytes | None:
    """Return the letter of a state, if there is nothing to tell of it but that and its time."""
    if state.message is not None or state.error is not None or state.own_number:
        return None
    letter = _USUAL.get(state.name)

    return letter if letter is _LETTERS[state.type] else None


def _event(state: LazyState, created: int) -> bytes:
    offset = state.at // 1000 - created
    message = None if state.message is None else cut(printable(state.message))
    error = None if state.error is None else _encode_error(state.error)
    own = run_hex(state.own_number) if state.own_number else None
    content = [_state(state).decode(), offset, None, message, error, own]
    while content[-1] is None:
        content.pop()

    return to_json(content)


def _state(state: LazyState) -> bytes:
    # No database can store a NUL.
    name = printable(state.name).replace("\0", "\\x00")[:MAX_NAME]

    return state_text(state.type, name).encode()


def _above(run: Run) -> bytes:
    """Return the ids of the flow run and of the root flow run, as far as they are not as usual."""
    parent = run.parent_run_id
    flow_run, root = run.flow_run_id, run.root_flow_run_id
    is_flow = run.run_type == "flow"
    usual_flow = run.id if is_flow else parent
    usual_root = parent or run.id if is_flow else parent
    if flow_run is usual_flow and root is usual_root:
        return b""
    own_flow = None if flow_run == usual_flow else "" if flow_run is None else flow_run.hex
    own_root = None if root == usual_root else "" if root is None else root.hex
    if own_flow is None and own_root is None:
        return b""
    if own_root is None:
        return to_json(own_flow)

    return b"%b,%b" % (to_json(own_flow), to_json(own_root))


def cut(text: str) -> str:
    """Shorten a text to what is recorded of it."""
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _encode_error(error: ErrorInfo) -> str:
    """Encode an error as its model would, which may fail: it opens files the first time."""
    facts = {**vars(error), "message": cut(error.message)}

    return to_json(facts).decode()
