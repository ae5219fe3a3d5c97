"""The note of a guardian: how its owner ended, and the hooks that were handed over.

It is a file without a name, in memory where the system supports that, which owner and guardian
have open. The system frees it when both processes and the recovery have ended.

It begins with four bytes, `bye` and a newline after a clean end, and with the places where the
entries begin and end. Two times follow, after which the guardian looks whether the owner delivers
what is due; see there. (Each of these has eight bytes, big-endian.) An entry has the lengths of key
and data (four bytes each), the key in UTF-8, and a packed hook. The two places are written at once
and last: whenever the owner is killed, there are whole entries between them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

__all__ = [
    "CLEAN_END",
    "ENTRY_BYTES",
    "HEADER",
    "Note",
    "above_standard",
    "read_handed_over",
    "set_next_due",
]

ENTRY_BYTES: Final = 2**20
"""How large one hook may be."""

TOTAL_BYTES: Final = 16 * 2**20
"""How much may be handed over at the same time."""

CLEAN_END: Final = b"bye\n"
PLACE_BYTES: Final = 8
LENGTH_BYTES: Final = 4
DUE: Final = len(CLEAN_END) + 2 * PLACE_BYTES
FIRST_ENTRY: Final = DUE + 2 * PLACE_BYTES
FIRST_FREE: Final = 3
"""The lower descriptors are the standard streams: output to those must not end up elsewhere."""


def _places(start: int, end: int) -> bytes:
    return start.to_bytes(PLACE_BYTES) + end.to_bytes(PLACE_BYTES)


HEADER: Final = bytes(len(CLEAN_END)) + _places(FIRST_ENTRY, FIRST_ENTRY) + _places(0, 0)


class Note:
    """The note as its owner writes it."""

    def __init__(self) -> None:
        self.descriptor = _anonymous_file()
        os.pwrite(self.descriptor, HEADER, 0)
        self._start = self._end = FIRST_ENTRY
        # By key, where its entry is, and how long.
        self._entries: dict[str, tuple[int, int]] = {}
        self._bytes = 0

    def write(self, key: str, data: bytes) -> str | None:
        """Write a packed hook; return the reason if that is impossible."""
        name = key.encode("utf-8", "surrogatepass")
        size = len(name) + len(data)
        if size > ENTRY_BYTES:
            return f"its {size} bytes are more than the {ENTRY_BYTES} that may be handed over"
        entry = b"".join((_length(name), _length(data), name, data))
        if self._bytes + len(entry) > TOTAL_BYTES:
            return f"with its {size} bytes it would be more than {TOTAL_BYTES} in all"
        try:
            if self._end - self._start > 2 * self._bytes + ENTRY_BYTES:
                self._compact()
            self._put(self._end, entry)
            self._set_places(self._start, self._end + len(entry))
        except OSError as error:
            return f"it cannot be written down: {error}"
        self._entries[key] = (self._end - len(entry), len(entry))
        self._bytes += len(entry)

        return None

    def remove(self, key: str) -> None:
        """Have the room of an entry used again; a key that is not there is ignored."""
        _, size = self._entries.pop(key, (0, 0))
        self._bytes -= size

    def _compact(self) -> None:
        """Write what has not been removed once more, where nothing of it is overwritten."""
        content = {
            key: os.pread(self.descriptor, size, place)
            for key, (place, size) in self._entries.items()
        }
        start = FIRST_ENTRY if FIRST_ENTRY + self._bytes <= self._start else self._end
        self._put(start, b"".join(content.values()))
        place = start
        for key, entry in content.items():
            self._entries[key] = (place, len(entry))
            place += len(entry)
        self._set_places(start, place)
        os.ftruncate(self.descriptor, place)

    def _put(self, place: int, data: bytes) -> None:
        if os.pwrite(self.descriptor, data, place) < len(data):
            raise OSError("there is not enough memory for it")

    def _set_places(self, start: int, end: int) -> None:
        os.pwrite(self.descriptor, _places(start, end), len(CLEAN_END))
        self._start, self._end = start, end

    def set_due(self, seconds: float | None) -> None:
        """Note when the guardian is to look whether this process delivers; None for never.

        By `time.monotonic`, which all processes of this host have in common.
        """
        with suppress(OSError):
            os.pwrite(self.descriptor, _time(seconds), DUE)

    def end_cleanly(self) -> None:
        """Record that the owner ended cleanly."""
        with suppress(OSError):
            os.pwrite(self.descriptor, CLEAN_END, 0)

    def close(self) -> None:
        """Close the note in this process."""
        with suppress(OSError):
            os.close(self.descriptor)


def read_handed_over(note: int) -> dict[str, bytes]:
    """Return the packed hooks in a note by key.

    `note` is a descriptor, as `--blobs` names it; it stays open.
    """
    places = os.pread(note, 2 * PLACE_BYTES, len(CLEAN_END))
    start, end = int.from_bytes(places[:PLACE_BYTES]), int.from_bytes(places[PLACE_BYTES:])
    # A note of an earlier version has no places: nothing in it can be read.
    is_valid = FIRST_ENTRY <= start <= end <= os.fstat(note).st_size
    content = _read(note, start, end) if is_valid else b""
    handed_over: dict[str, bytes] = {}
    at = 0
    while at + 2 * LENGTH_BYTES <= len(content):
        key = at + 2 * LENGTH_BYTES
        data = key + int.from_bytes(content[at : at + LENGTH_BYTES])
        at = data + int.from_bytes(content[at + LENGTH_BYTES : key])
        handed_over[content[key:data].decode("utf-8", "surrogatepass")] = content[data:at]

    return handed_over


def set_next_due(note: int, seconds: float | None) -> None:
    """Note when the guardian is to look again, if the owner has not gone on by then."""
    os.pwrite(note, _time(seconds), DUE + PLACE_BYTES)


def _time(seconds: float | None) -> bytes:
    return (0 if seconds is None else max(1, int(seconds * 1e6))).to_bytes(PLACE_BYTES)


def _read(note: int, start: int, end: int) -> bytes:
    content = b""
    while start + len(content) < end and (
        part := os.pread(note, end - start - len(content), start + len(content))
    ):
        content += part

    return content


def _length(part: bytes) -> bytes:
    return len(part).to_bytes(LENGTH_BYTES)


def _anonymous_file() -> int:
    """Create a file in memory, or one whose name is removed; return its descriptor."""
    if hasattr(os, "memfd_create"):
        return above_standard(os.memfd_create("eventflow", os.MFD_CLOEXEC))
    import tempfile  # noqa: PLC0415 - slow to import, and needed on macOS only

    with tempfile.TemporaryFile() as file:
        return above_standard(os.dup(file.fileno()))


def above_standard(descriptor: int) -> int:
    """Move a descriptor above those of the standard streams."""
    if descriptor >= FIRST_FREE:
        return descriptor
    import fcntl  # noqa: PLC0415 - not on every system

    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE)
    os.close(descriptor)

    return moved
