"""Listens on a port, and says which process has it where it is in use."""

from __future__ import annotations

import errno
import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventflow.errors import ConfigurationError
from eventflow.primitives.escapes import escaped_line

__all__ = ["listen"]

LISTENING: Final = "0A"
"""The state of a socket that listens, in the tables of Linux."""

LONGEST: Final = 120
MASK: Final = "********"
_TOKEN: Final = re.compile(r"(?<=--token[ =])\S+")


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one.

    Raises:
        ConfigurationError: it cannot listen there.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _refused(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        made.close()
        raise _refused(host, port, error) from error

    return made


def _refused(host: str, port: int, error: OSError) -> ConfigurationError:
    if error.errno == errno.EADDRINUSE:
        by = _user_of(port)
        return ConfigurationError(
            f"Port {port} of {host} is in use{f' by {by}' if by else ''}. Choose another one by "
            "--port, or a free one by --port 0."
        )

    return ConfigurationError(
        f"The page cannot listen on {host}, port {port}: {error.strerror or error}. "
        "Choose another address by --host, or another port by --port."
    )


def _user_of(port: int) -> str | None:
    """Return the process that listens on a port, where this system shows it."""
    wanted = {f"socket:[{inode}]" for inode in _inodes_of(port)}
    for process in Path("/proc").glob("[0-9]*") if wanted else ():
        # Of another user, or gone by now.
        with suppress(OSError):
            if any(os.readlink(each) in wanted for each in (process / "fd").iterdir()):  # noqa: PTH115 - no path
                words = (
                    (process / "cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode("utf-8", "replace")
                )
                return f"process {process.name} ({escaped_line(words.strip()[:LONGEST])})"

    return None


def _command(process: Path) -> str:
    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")

    return escaped_line(_TOKEN.sub(MASK, words.strip())[:LONGEST])


def _inodes_of(port: int) -> set[str]:
    found: set[str] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text("ascii").splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(f":{port:04X}") and fields[3] == LISTENING:
                    found.add(fields[9])

    return found
