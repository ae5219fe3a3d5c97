"""A receiver of CloudEvents that fails in every way.

`python -m tests.crash.receiver LOG PORT FAULTS` prints its port, which it chooses if given 0. It
appends what it accepts to a log before it answers. With faults it answers 500, answers late, or
accepts and does not answer; in any case it refuses the events that are poison.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from typing import Any, Final

__all__ = ["is_poison"]

REFUSED: Final = 400
FAILED: Final = 500
ACCEPTED: Final = 204


def is_poison(sequence: int, number: int) -> bool:
    """Return whether an event is refused: of one run in a thousand, that it is Running."""
    return sequence == 1 and number % 1000 == 7


class Receiver(asyncio.Protocol):
    """One connection, which is kept open."""

    def __init__(self, log: int, chance: random.Random | None) -> None:
        self._log = log
        self._chance = chance
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._data += data
        head, separator, rest = self._data.partition(b"\r\n\r\n")
        if not separator:
            return
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if len(rest) >= int(fields[b"content-length"]):
            self._data = b""
            self._take(json.loads(rest))

    def _take(self, content: Any) -> None:
        events = content if isinstance(content, list) else [content]
        chance = 1.0 if self._chance is None else self._chance.random()
        if chance < 0.01:
            self._answer(FAILED)
        elif any(is_poison(int(each["sequence"]), _number(each)) for each in events):
            self._answer(REFUSED)
        else:
            lines = "".join(f"{each['runid']} {each['sequence']}\n" for each in events)
            os.write(self._log, lines.encode())
            if chance < 0.015:
                self._transport.abort()
            elif chance < 0.02:
                asyncio.get_running_loop().call_later(0.05, self._answer, ACCEPTED)
            else:
                self._answer(ACCEPTED)

    def _answer(self, status: int) -> None:
        length = "" if status == ACCEPTED else "Content-Length: 0\r\n"
        self._transport.write(f"HTTP/1.1 {status} Said\r\n{length}\r\n".encode())


def _number(event: dict[str, Any]) -> int:
    return int(event["data"]["run_name"].rpartition("-")[2])


async def main(path: str, port: int, faults: str) -> None:
    """Serve for ever, and print the port."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    chance = random.Random() if faults == "faults" else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Receiver(log, chance), "127.0.0.1", port, reuse_address=True
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
