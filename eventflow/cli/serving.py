"""`eventflow serve`: show runs, hooks and deliveries in a browser."""

from __future__ import annotations

import webbrowser
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from urllib.parse import quote

import click

from eventflow.errors import MissingExtraError
from eventflow.settings import (
    EVENTFLOW_API_URL,
    EVENTFLOW_UI_HOST,
    EVENTFLOW_UI_PORT,
    EVENTFLOW_UI_TOKEN,
    FROM_DEFAULT,
    temporary_settings,
)

__all__ = ["serve"]

PACKAGES = ("jinja2", "starlette", "uvicorn")


@click.command(short_help="Show all of it in a browser.")
@click.option("--host", help="Where to listen; EVENTFLOW_UI_HOST, by default 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 2**16 - 1),
    help="The port; 0 takes a free one. EVENTFLOW_UI_PORT, by default 4200.",
)
@click.option("--token", help="What to ask for; EVENTFLOW_UI_TOKEN, by default made anew.")
@click.option("--open", "opened", is_flag=True, help="Open it in a browser.")
def serve(*, host: str | None, port: int | None, token: str | None, opened: bool) -> None:
    """Serve a page with every run, hook and delivery in the journal, until Ctrl-C.

    The address that is printed lets a browser in once and for all; scripts send the token as
    `Authorization: Bearer TOKEN`.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError("The page", package, "ui")
    host = EVENTFLOW_UI_HOST.value() if host is None else host
    port = EVENTFLOW_UI_PORT.value() if port is None else port
    with temporary_settings({} if token is None else {EVENTFLOW_UI_TOKEN: token}):
        token = EVENTFLOW_UI_TOKEN.value()

    def tell(address: str, token: str) -> None:
        page = f"{address}/?token={quote(token, safe='')}"
        click.echo(f"The page is at {page}")
        if EVENTFLOW_API_URL.value() != address and EVENTFLOW_API_URL.source() == FROM_DEFAULT:
            click.echo(
                f"Links in messages lead to {EVENTFLOW_API_URL.value()}. To lead here, set for the "
                f"flows EVENTFLOW_API_URL={address}"
            )
        if opened:
            webbrowser.open(page)

    # By name: its packages may not be installed. Ctrl-C is how it is meant to end.
    with suppress(KeyboardInterrupt):
        import_module("eventflow.dashboard.server").serve(host, port, token, tell)
