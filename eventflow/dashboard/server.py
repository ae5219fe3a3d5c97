"""Serves the page: the address it is at, and the token it asks for."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette

from eventflow.dashboard.app import create_app
from eventflow.dashboard.guard import is_loopback
from eventflow.dashboard.listening import listen
from eventflow.errors import ConfigurationError
from eventflow.settings import EVENTFLOW_API_URL
from eventflow.settings.parsing import served_at

__all__ = ["serve"]

TOKEN_BYTES: Final = 24

NETWORK_TOKEN: Final = 8
"""How many characters a token has at least where others can try."""

EVERYWHERE: Final = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not listened on


def serve(host: str, port: int, token: str | None, tell: Callable[[str, str], None]) -> None:
    """Serve the page until the process is told to end; `tell` gets its address and the token.

    Raises:
        ConfigurationError: it cannot listen there, or would be open to the network without a token.
    """
    if len(token or "") < NETWORK_TOKEN and not is_loopback(host):
        raise ConfigurationError(
            f"Listening on {host} opens the page to the network: give it a token of at least "
            f"{NETWORK_TOKEN} characters, by --token or EVENTFLOW_UI_TOKEN, or listen on 127.0.0.1."
        )
    listening = listen(host, port)
    given = token or secrets.token_urlsafe(TOKEN_BYTES)
    app = create_app(given, _names(host))
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    app.state.prepare()
    tell(served_at(host, listening.getsockname()[1]), given)
    _Server(config, app).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the streams first: otherwise it would wait for the browsers to end them."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._app.state.end_streams()
        await super().shutdown(sockets)


def _names(host: str) -> set[str]:
    """Return the names of this host, besides the local ones."""
    names = {host, urlsplit(EVENTFLOW_API_URL.value()).hostname or ""}
    if host in EVERYWHERE:
        names |= {socket.gethostname(), socket.getfqdn()}

    return names - EVERYWHERE
