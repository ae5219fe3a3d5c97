"""Frames on the line between home and a worker: JSON, each behind its length."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

__all__ = ["ANSWERS", "CANCEL", "GO", "NO", "Frames", "HomeAddress", "frame"]

Address: TypeAlias = "str | tuple[str, int]"

_LENGTH: Final = struct.Struct("!I")
ANSWERS: Final = struct.Struct("!cQ")
"""What home says: one of the following bytes, and the number of the attempt that it is about."""

# Made once: `json.dumps` makes an encoder for each call that is not a plain one.
_encode: Final = json.JSONEncoder(default=str).encode
_decode: Final = json.JSONDecoder().decode

GO: Final = b"g"
NO: Final = b"n"
CANCEL: Final = b"c"


class HomeAddress(NamedTuple):
    """How a worker reaches home, and what it has to know of it."""

    address: Address
    key: bytes
    pid: int
    level: int
    """The level of the root logger at home."""
    own_level: int
    """The level of eventflow's loggers at home."""


def frame(*values: Any) -> bytes:
    """Encode a frame; what JSON does not know is sent as its text."""
    text = _encode(values).encode()

    return _LENGTH.pack(len(text)) + text


class Frames:
    """Decodes the frames that arrive on a socket, however they are cut."""

    __slots__ = ("_bytes", "_socket")

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self._bytes = bytearray()

    def received(self) -> Iterator[list[Any]] | None:
        """Return the frames that can be read without waiting; None at the end of the line.

        Raises:
            ValueError: what arrived is no frame.
        """
        try:
            read = self._socket.recv(65_536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return iter(())
        except OSError:
            return None
        if not read:
            return None
        self._bytes += read

        return self._complete()

    def _complete(self) -> Iterator[list[Any]]:
        at, held = 0, self._bytes
        while len(held) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(held, at)
            end = at + _LENGTH.size + length
            if len(held) < end:
                break
            yield _decode(held[at + _LENGTH.size : end].decode())
            at = end
        del held[:at]
