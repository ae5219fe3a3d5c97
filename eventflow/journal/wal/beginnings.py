"""Notes that a run has begun: for other processes, which may have to tell that it lasts too long.

Such a note is a record of kind B. It is there from the run's first moment on, so that others know
of the run even if its body keeps the interpreter's lock, or the process, from going on at once. The
owner itself records all that is in it later, with the end of the run or before the next commit. It
skips the note then, or writes over it. Only who reads what another process has not committed takes
it for a record of the run, unless that follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Final
from zlib import crc32

from eventflow.journal.contract import Group
from eventflow.journal.records import (
    BEGUN,
    CONTENT,
    EIGHT,
    FIELDS,
    Record,
    pack_head,
    pack_run,
    scan,
)

__all__ = ["left", "pack_begun"]

# Where it is in the record of a run too: its id. Then the id of its parent, or zeros, the number of
# its definition, when it was created and when it began, and how long the name is: that and the
# facts follow, as in the record of a run.
_FIXED: Final = Struct(">16s16sIQQH")
_LETTER: Final = BEGUN.encode()
_KIND: Final = crc32(_LETTER)
_pack_fixed: Final = _FIXED.pack
_RUN: Final = slice(FIELDS["run"][0], sum(FIELDS["run"]))


def pack_begun(  # noqa: PLR0917 - for each run: by keyword they would cost more
    run: int, parent: int, number: int, created: int, started: int, texts: bytes, name: int = 0
) -> bytes:
    """Make the note that a run was Pending, then Running.

    The texts are its name, which has so many bytes, and the facts. These are not left out even if
    they are as usual: a record that ended with zeros could not be told from what follows it.
    """
    ids = run.to_bytes(16), parent.to_bytes(16)
    content = _pack_fixed(*ids, number, created, started, name) + texts
    length, crc = EIGHT[len(content) + CONTENT], crc32(content, _KIND)

    return pack_head(length, _LETTER, crc, 0, 0, 0, 0) + content


def left(data: bytes) -> Group:
    """Return all whole records of what another process has not committed.

    For each note there is one of its run, unless such a one follows.
    """
    records = [*scan(data)]
    if any(each.kind == BEGUN for each in records):
        data = b"".join(_told(data, records))

    return Group.read(data)


def _told(data: bytes, records: Iterable[Record]) -> Iterator[bytes]:
    told = {data[each.start : each.end][_RUN] for each in records if each.kind == "R"}
    for kind, start, end in records:
        record = data[start:end]
        if kind != BEGUN:
            yield record
        elif record[_RUN] not in told:
            yield _run_record(record)


def _run_record(note: bytes) -> bytes:
    run, parent, number, created, started, length = _FIXED.unpack_from(note, CONTENT)
    name = CONTENT + _FIXED.size
    facts = name + length

    return pack_run(
        int.from_bytes(run),
        int.from_bytes(parent),
        number,
        created,
        0,
        1,
        0,
        b"R",
        note[name:facts],
        note[facts:],
        b"P0R%d" % (started - created),
    )
