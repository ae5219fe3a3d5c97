"""The note of a guardian: how its owner ended, and the hooks that were handed over.

It is a file without a name, in memory where the system supports that, which owner and guardian
have open. The system frees it when both processes and the recovery have ended.

It begins with four bytes, `bye` and a newline after a clean end. Then follow, for each definition,
the lengths of key and data (four bytes each, big-endian), the key in UTF-8, and its packed hooks.
An entry that the owner was killed while writing is the last one, shorter than its lengths say, and
is ignored.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

__all__ = ["CLEAN_END", "ENTRY_BYTES", "HEADER", "Note", "above_standard", "read_handed_over"]

ENTRY_BYTES: Final = 2**20
"""How large the hooks of one definition may be."""

TOTAL_BYTES: Final = 16 * 2**20
"""How much may be handed over in all."""

CLEAN_END: Final = b"bye\n"
HEADER: Final = bytes(len(CLEAN_END))
LENGTH_BYTES: Final = 4
FIRST_FREE: Final = 3
"""The lower descriptors are the standard streams: output to those must not end up elsewhere."""


class Note:
    """The note as its owner writes it."""

    def __init__(self) -> None:
        self.descriptor = _anonymous_file()
        os.pwrite(self.descriptor, HEADER, 0)
        self._end = len(HEADER)
        # By key, the hash of the data that was written last.
        self._written: dict[str, int] = {}

    def write(self, key: str, data: bytes) -> str | None:
        """Write packed hooks; return the reason if that is impossible.

        Later data replaces earlier data with the same key; equal data is not written again.
        """
        if self._written.get(key) == hash(data):
            return None
        name = key.encode("utf-8", "surrogatepass")
        size = len(name) + len(data)
        if size > ENTRY_BYTES:
            return f"its {size} bytes are more than the {ENTRY_BYTES} that may be handed over"
        if self._end + size > TOTAL_BYTES:
            return f"with its {size} bytes it would be more than {TOTAL_BYTES} in all"
        problem = self._append(b"".join((_length(name), _length(data), name, data)))
        if problem is None:
            self._written[key] = hash(data)

        return problem

    def _append(self, entry: bytes) -> str | None:
        try:
            written = os.pwrite(self.descriptor, entry, self._end)
            if written < len(entry):
                os.ftruncate(self.descriptor, self._end)
                return "there is not enough memory for it"
        except OSError as error:
            return f"it cannot be written down: {error}"
        self._end += len(entry)

        return None

    def end_cleanly(self) -> None:
        """Record that the owner ended cleanly."""
        with suppress(OSError):
            os.pwrite(self.descriptor, CLEAN_END, 0)

    def close(self) -> None:
        """Close the note in this process."""
        with suppress(OSError):
            os.close(self.descriptor)


def read_handed_over(note: int) -> dict[str, bytes]:
    """Return the packed hooks in a note by key, the last ones of each.

    `note` is a descriptor, as `--blobs` names it; it stays open.
    """
    handed_over: dict[str, bytes] = {}
    start, size = len(HEADER), os.fstat(note).st_size
    content = _read(note, size)
    while start + 2 * LENGTH_BYTES <= size:
        key = start + 2 * LENGTH_BYTES
        data = key + int.from_bytes(content[start : start + LENGTH_BYTES])
        end = data + int.from_bytes(content[start + LENGTH_BYTES : key])
        if end <= size:
            handed_over[content[key:data].decode("utf-8", "surrogatepass")] = content[data:end]
        start = end

    return handed_over


def _read(note: int, size: int) -> bytes:
    content = b""
    while len(content) < size and (part := os.pread(note, size - len(content), len(content))):
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
