"""Guards the page: who may read it, which host it is asked under, what may change something."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from hashlib import sha256
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import URL, Headers, MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventflow.dashboard.rendering import render

__all__ = ["CSRF_HEADER", "HEALTH", "Guard", "is_loopback"]

CSRF_HEADER: Final = "X-Eventflow"
"""Every change has this header, which no form and no link of another site can send."""

HEALTH: Final = "/healthz"
STATIC: Final = "/static/"
LOCAL: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names of this host that a browser has without asking anybody."""

READING: Final = frozenset({"GET", "HEAD"})

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not `no-referrer`: with that, a browser names no origin either.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_loopback(host: str) -> bool:
    """Return whether only this host can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Answers what may not reach the page, and sets the headers of every answer.

    `names` are those of this host under which it may be asked, besides the local ones.
    """

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._token = token
        self._names = LOCAL | {name.casefold().strip("[]") for name in names}
        self._ticket = hmac.new(token.encode(), b"cookie", sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answer(HTTPConnection(scope), scope["method"])

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (answer or self._app)(scope, receive, guarded)

    def _answer(self, asked: HTTPConnection, method: str) -> Response | None:
        """Return the answer to a request that may not pass; None if it may."""
        url = asked.url
        if not self._is_known(asked.headers):
            text = "This page is not served under that host name; see EVENTFLOW_API_URL."
            return PlainTextResponse(text, 400)
        if url.path == HEALTH or url.path.startswith(STATIC):
            return None
        given = asked.query_params.get("token")
        if given is not None and method in READING and self._is_token(given):
            return self._let_in(url, asked.query_params)
        if not self._may_read(asked, url):
            return self._turn_away(asked.headers)
        if method not in READING and not _is_own(asked.headers, url):
            text = f"A change needs the header {CSRF_HEADER}, and comes from this page only."
            return PlainTextResponse(text, 403)

        return None

    def _is_known(self, headers: Headers) -> bool:
        try:
            host = urlsplit(f"//{headers.get('host', '')}").hostname
        except ValueError:
            return False

        return (host or "").casefold() in self._names

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _may_read(self, asked: HTTPConnection, url: URL) -> bool:
        kind, _, given = asked.headers.get("authorization", "").partition(" ")
        if kind.casefold() == "bearer" and self._is_token(given.strip()):
            return True
        ticket = asked.cookies.get(_cookie(url), "")

        return hmac.compare_digest(ticket.encode(), self._ticket.encode())

    def _let_in(self, url: URL, query: QueryParams) -> Response:
        """Set the cookie, and lead to the page that was asked for, without the token."""
        rest = QueryParams([(name, text) for name, text in query.multi_items() if name != "token"])
        # Two slashes at its beginning would name another host.
        path = "/" + quote(url.path.lstrip("/\\"))
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        secure = url.scheme == "https"
        answer.set_cookie(
            _cookie(url), self._ticket, httponly=True, samesite="strict", secure=secure
        )

        return answer

    def _turn_away(self, headers: Headers) -> Response:
        # A link on another site sends no strict cookie; the page that reloads itself does.
        again = headers.get("sec-fetch-site") == "cross-site"
        text = render("turned_away.html", again=again)

        return Response(text, 401, {"WWW-Authenticate": "Bearer"}, "text/html")


def _cookie(url: URL) -> str:
    """Return the name of the cookie: two servers on one host differ in their port."""
    return f"eventflow-{url.port or 80}"


def _is_own(headers: Headers, url: URL) -> bool:
    """Return whether a change was asked for by this page, or by no browser."""
    origin = headers.get("origin")
    own = origin is None or urlsplit(origin).netloc == url.netloc

    return own and CSRF_HEADER in headers and headers.get("sec-fetch-site") != "cross-site"
