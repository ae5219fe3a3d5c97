"""The format of records: what a process appends to a segment, and how that is read again.

A record begins with a head of fixed width, which SQL can read as well as Python:

| bytes | what |
|---|---|
| 0 to 7 | the length of the whole record, in digits |
| 8 | its kind, a letter |
| 9 to 12 | the CRC-32 of the kind and of all bytes from the 24th on |
| 13 to 15 | how many hooks are owed the transition, how many have begun, how many are done |
| 16 to 23 | when the last of them began or was done, in microseconds since 1970 |
| 24 to the end | the content |

Numbers without digits are big-endian. The bytes from 13 to 23 are written in place while the hooks
run; they are all zero but in the record of a run. Of more hooks than a byte can count, the others
have a record of kind S each.

The content of a record of a run (kind R) is what all of `RunRecord` but its acknowledgement tells:
first the fields of fixed width, see `_WIDTHS`, then four texts. Every other content is JSON:

| kind | content |
|---|---|
| D | a definition: number, run type, name, reference, version, tags, hooks, global hooks, retries |
| L | a list of hooks that are owed transitions: its id, then `[identity, importability]` of each, |
|   | with a third item for those that a worker runs: then the id begins with `~` |
| H | a set of hooks: its id, its text |
| C | that runs which have not ended have other hooks: numbers of the definition before, after |
| S | the status of one delivery, if no acknowledgement in place tells it: see `Settled` |
| A | an acknowledgement that came too late to be written in place: see `Acknowledged` |
| E | an event of the user's own: its id, its type, when it occurred, its JSON |
| B | no JSON, but bytes: that a run has begun, see `eventflow.journal.wal.beginnings` |
| G | a line that was logged in a run: see `rows.LogLine` |
| O | the owner: its description |

The events of a run are a text of lines:

- `P0R12C300`: transitions one after the other, each with the letter of its state and the
  microseconds since the run was created; for states without a message and with their usual name
- a JSON list: one transition as state, microseconds, run count, message, error, id; what is null at
  the end is left out. The id is only there if it is not the one derived from the run.
- `@` and the id of a list of hooks, at the end of such a line: its last transition is owed to them
- `+` and microseconds since 1970: by then the hooks that were owed the last such transition were
  all done, at their first attempt
- `!` and a number: the next line begins with this sequence. The first line begins with 0.

A state is written as the letter of its type and, if it is not the usual one, its name, with `=`
before one that is empty or begins so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from struct import Struct
from typing import Any, Final, NamedTuple
from uuid import UUID
from zlib import crc32

from pydantic_core import from_json, to_json

from eventflow.states import StateType

__all__ = [
    "ACKNOWLEDGED",
    "BEGUN",
    "CONTENT",
    "COUNTED",
    "EIGHT",
    "FIELDS",
    "LETTERS",
    "TEXTS",
    "Acknowledged",
    "Record",
    "RunRecord",
    "Settled",
    "content_of",
    "pack",
    "pack_head",
    "pack_run",
    "pack_usual_run",
    "run_hex",
    "scan",
    "state_text",
    "state_words",
    "usual_run",
]

LENGTH: Final = 8
"""How many digits the length of a record has."""

ACKNOWLEDGED: Final = 13
"""Where the acknowledgement begins: owed, begun, done, and the time."""

COUNTED: Final = 255
"""How many of the hooks that are owed a transition are counted there: what a byte can hold."""

BEGUN: Final = "B"
"""The kind of a note that a run has begun."""

CONTENT: Final = 24
"""Where the content begins."""

_WIDTHS: Final = {
    "run": 16,
    "parent": 16,
    "number": 9,
    "created": 16,
    "first": 7,
    "last": 7,
    "ended": 16,
    "state": 3,
    "name": 6,
    "facts": 8,
}
"""Of a record of a run: its id, and that of its parent or zeros; the number of its definition; when
it was created, in microseconds; the first and the last sequence in it; when it ended, or zeros; the
lengths of state, name and facts, which follow in this order, before the events."""

_STARTS: Final = accumulate(_WIDTHS.values(), initial=CONTENT)

FIELDS: Final = {name: (next(_STARTS), width) for name, width in _WIDTHS.items()}
"""Where each of these fields begins in the record of a run, and how wide it is."""

TEXTS: Final = next(_STARTS)
"""Where the texts begin."""

LETTERS: Final = {
    StateType.SCHEDULED: "S",
    StateType.PENDING: "P",
    StateType.RUNNING: "R",
    StateType.COMPLETED: "C",
    StateType.FAILED: "F",
    StateType.CANCELLED: "K",
    StateType.CRASHED: "X",
    StateType.PAUSED: "U",
    StateType.CANCELLING: "L",
}
"""The letter of each type of state."""

_TYPES: Final = {letter: kind for kind, letter in LETTERS.items()}
_KIND_R: Final = crc32(b"R")
_CANDIDATE: Final = re.compile(rb"[0-9]{8}[A-Z]")


class Record(NamedTuple):
    """Where a whole record is in the bytes that were read, and its kind."""

    kind: str
    start: int
    end: int


class Settled(NamedTuple):
    """The status of one delivery: of the hook number `ordinal` that a transition is owed to.

    Times are microseconds since 1970.
    """

    run: str
    sequence: int
    ordinal: int
    hook: str
    importable: int
    status: str
    attempts: int
    updated: int | None
    due: int | None = None
    error: str | None = None


class Acknowledged(NamedTuple):
    """How far the hooks are that are owed the transition `sequence` of a run."""

    run: str
    sequence: int
    owed: int
    begun: int
    done: int
    at: int


class RunRecord(NamedTuple):
    """A part of the life of a run: its transitions from the sequence `first` to `last`.

    `parent` is 0 if there is none; `ended` is 0 unless it has ended. `name` is empty if it is the
    usual one. `facts` is a JSON list: the recorded parameters, and the ids of the flow run and of
    the root flow run as hex digits, empty for none; what is as usual is null, or left out at the
    end. Parameters that are not recorded yet are null. Empty: it is as usual, or as told before.
    """

    run: int
    parent: int
    number: int
    created: int
    first: int
    last: int
    ended: int
    state: str
    name: str
    facts: str
    events: str
    owed: int = 0
    begun: int = 0
    done: int = 0
    at: int = 0

    @classmethod
    def read(cls, data: bytes, start: int, end: int) -> RunRecord:
        """Read the record that is there."""
        at = start + CONTENT
        run, parent = (int.from_bytes(data[place : place + 16]) for place in (at, at + 16))
        number, created, first, last, ended, state, name, facts = (
            int(data[start + place : start + place + width])
            for place, width in [*FIELDS.values()][2:]
        )
        texts = []
        at = start + TEXTS
        for length in (state, name, facts, end - start - TEXTS - state - name - facts):
            texts.append(data[at : at + length].decode("utf-8", "replace"))
            at += length
        fixed = (run, parent, number, created, first, last, ended)
        owed, begun, done = data[start + ACKNOWLEDGED : start + ACKNOWLEDGED + 3]
        time = int.from_bytes(data[start + ACKNOWLEDGED + 3 : start + CONTENT])

        return cls(*fixed, texts[0], texts[1], texts[2], texts[3], owed, begun, done, time)


class _Digits(dict[int, bytes]):
    """Numbers of a width as they are written: to look one up is faster than to format it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._format = b"%%0%dd" % width

    def __missing__(self, number: int) -> bytes:
        digits = self._format % number
        if number < _SMALL:
            self[number] = digits

        return digits


_SMALL: Final = 10_000
_NINE, EIGHT, _SEVEN, _SIX, _THREE = map(_Digits, (9, 8, 7, 6, 3))
_TIME: Final = 10 ** (_WIDTHS["created"] - 1)
"""From this moment on, in 2001, a time has all its digits."""
pack_head: Final = Struct(">8scIBBBQ").pack


def pack_run(  # noqa: PLR0917 - for each run: by keyword they would cost more
    run: int,
    parent: int,
    number: int,
    created: int,
    first: int,
    last: int,
    ended: int,
    state: bytes,
    name: bytes,
    facts: bytes,
    events: bytes,
    owed: int = 0,
    at: int = 0,
) -> bytes:
    """Make the record of a part of a run's life; the first of the hooks it is owed to has begun."""
    content = b"%b%b%b%b%b%b%b%b%b%b%b%b%b%b" % (
        run.to_bytes(16),
        parent.to_bytes(16),
        _NINE[number],
        b"%d" % created if created >= _TIME else b"%016d" % created,
        _SEVEN[first],
        _SEVEN[last],
        b"%d" % ended if ended >= _TIME else b"%016d" % ended,
        _THREE[len(state)],
        _SIX[len(name)],
        EIGHT[len(facts)],
        state,
        name,
        facts,
        events,
    )
    length, crc = EIGHT[len(content) + CONTENT], crc32(content, _KIND_R)

    return pack_head(length, b"R", crc, owed, owed and 1, 0, owed and at) + content


_USUAL: Final = b"%%b%%b%09d%%d00000000000002%%d001000000%%bC%%bP0R%%dC%%d%b"


def usual_run(number: int, suffix: bytes) -> bytes:
    """Return what the usual runs of a definition share, for `pack_usual_run`.

    These have the usual name and were Pending, then Running, and have completed; `suffix` ends the
    line of their events.
    """
    return _USUAL % (number, suffix)


def pack_usual_run(  # noqa: PLR0917 - the same
    shared: bytes,
    owed: int,
    run: int,
    parent: int,
    created: int,
    started: int,
    ended: int,
    facts: bytes,
) -> bytes:
    """Do what `pack_run` does for the whole life of such a run, in half the time."""
    content = shared % (
        run.to_bytes(16),
        parent.to_bytes(16),
        created,
        ended,
        EIGHT[len(facts)],
        facts,
        started - created,
        ended - created,
    )
    length, crc = EIGHT[len(content) + CONTENT], crc32(content, _KIND_R)

    return pack_head(length, b"R", crc, owed, owed and 1, 0, owed and ended) + content


def pack(kind: str, content: Any) -> bytes:
    """Make a record of any other kind, of a content that is JSON."""
    letter, text = kind.encode(), to_json(content)
    crc = crc32(text, crc32(letter))

    return pack_head(EIGHT[len(text) + CONTENT], letter, crc, 0, 0, 0, 0) + text


def content_of(data: bytes, record: Record) -> Any:
    """Read the content of a record that is not one of a run.

    Raises:
        ValueError: it is not JSON.
    """
    return from_json(data[record.start + CONTENT : record.end])


def scan(data: bytes, start: int = 0) -> Iterator[Record]:
    """Find all whole records, also behind bytes that are none: what was never finished."""
    end = len(data)
    while start + CONTENT <= end:
        record = _record_at(data, start)
        if record is None:
            start = _next_whole(data, start + 1)
            if start < 0:
                return
            continue
        yield record
        start = record.end


def _next_whole(data: bytes, start: int) -> int:
    for candidate in _CANDIDATE.finditer(data, start):
        if _record_at(data, candidate.start()) is not None:
            return candidate.start()

    return -1


def _record_at(data: bytes, start: int) -> Record | None:
    head = data[start : start + LENGTH + 1]
    if _CANDIDATE.fullmatch(head) is None:
        return None
    end = start + int(head[:LENGTH])
    if not start + CONTENT <= end <= len(data):
        return None
    kind = head[LENGTH:]
    crc = crc32(data[start + CONTENT : end], crc32(kind))
    if crc.to_bytes(4) != data[start + LENGTH + 1 : start + ACKNOWLEDGED]:
        return None

    return Record(kind.decode(), start, end)


# -- states and ids ------------------------------------------------------------------------------


def state_text(kind: StateType, name: str) -> str:
    """Return a state as it is written: the letter of its type, and an unusual name."""
    if name == kind.capitalize():
        return LETTERS[kind]

    return f"{LETTERS[kind]}{'' if name and name[0] != '=' else '='}{name}"


def state_words(text: str) -> tuple[StateType, str]:
    """Return the type and the name of a state that is written so."""
    kind, name = _TYPES[text[0]], text[1:]

    return kind, name.removeprefix("=") if name else kind.capitalize()


def run_hex(run: int | UUID) -> str:
    """Return the id of a run as it is written in JSON."""
    return f"{run if isinstance(run, int) else run.int:032x}"
