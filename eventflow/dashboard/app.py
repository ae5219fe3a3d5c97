"""The application: which address shows which page, and what it may change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

import anyio
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from eventflow.dashboard.actions import ask_cancel, redrive
from eventflow.dashboard.guard import CSRF_HEADER, HEALTH, Guard
from eventflow.dashboard.live import Feed, mark_of
from eventflow.dashboard.reading import Source
from eventflow.dashboard.rendering import FOLDER, compile_templates, render
from eventflow.dashboard.timeline.rendering import STYLESHEET
from eventflow.dashboard.views import deliveries, run, runs
from eventflow.dashboard.views.filters import Address, read_address
from eventflow.dashboard.views.page import View
from eventflow.dashboard.views.tallies import Tallies
from eventflow.errors import EventflowError

__all__ = ["create_app"]


FOR_EVER: Final = "public, max-age=31536000, immutable"


class Assets(StaticFiles):
    """The files that never change under their address, which has a hash of their content."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        """Answer with a file."""
        answer = super().file_response(*arguments, **options)
        answer.headers["Cache-Control"] = FOR_EVER

        return answer


def create_app(token: str, names: Iterable[str] = ()) -> Starlette:
    """Make the application; `names` are those under which this host may be asked for it."""
    pages = _Pages()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(pages.feed.run)
            yield
            # Unlike a task of asyncio, it ends after the thread in which it reads.
            group.cancel_scope.cancel()
        pages.source.close()

    routes = [
        Route(HEALTH, _health),
        Route(f"/static/{STYLESHEET.name}", _stylesheet),
        Mount("/static", Assets(directory=FOLDER / "static")),
        *(
            Route(f"{live}{path}", pages.live if live else pages.show)
            for live in ("", "/live")
            for path in ("/", "/deliveries", *RUN_PATHS)
        ),
        *(Route(f"{path}/cancel", pages.cancel, methods=["POST"]) for path in RUN_PATHS),
        Route("/deliveries/redrive", pages.redrive, methods=["POST"]),
    ]
    handlers: dict[Any, Any] = {HTTPException: _refused, EventflowError: _unreadable}
    middleware = [Middleware(Guard, token=token, names=[*names])]

    app = Starlette(
        routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan
    )
    app.state.end_streams = pages.feed.end
    app.state.prepare = pages.prepare

    return app


OK: Final = 200

LARGEST: Final = 2**20
"""How many bytes a form may have."""

RUN_PATHS: Final = (
    "/flow-runs/flow-run/{run_id:uuid}",
    "/task-runs/task-run/{run_id:uuid}",
)


class _Pages:
    """Answers requests for pages."""

    def __init__(self) -> None:
        self.source = Source()
        self.tallies = Tallies()
        self.feed = Feed(self.source, self.tallies)

    def prepare(self) -> None:
        """Do what the first request would wait for: compile templates, open the journal."""
        compile_templates()
        address = read_address("/", (), ())
        # What is wrong with the journal is said by each page.
        with suppress(EventflowError), self.source.archive() as archive:
            page = runs.runs_page(archive, address, self.tallies, may_wait=False)
            render(page.part, **page.values)

    async def show(self, request: Request) -> Response:
        """Answer with a whole page."""
        address, view = self._view(request, may_wait=False)
        page = await self.source.read(view)
        part = render(page.part, **page.values)
        live = None if page.status != OK else address.live(mark_of(part))
        values = {
            **page.values,
            "title": page.title,
            "part": Markup(part),  # noqa: S704 - escaped by its template
            "live": live,
            "csrf": CSRF_HEADER,
            "problems": address.problems,
        }

        return HTMLResponse(render(page.template, **values), page.status)

    async def live(self, request: Request) -> Response:
        """Answer with the stream of a page's changes."""
        address, view = self._view(request, may_wait=True)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        # Not the port: each of its connections has one of its own.
        client = f"{request.client and request.client.host} {request.headers.get('user-agent')}"
        stream = self.feed.stream(str(address), view, client, after)

        if request.method == "HEAD":
            return Response(media_type="text/event-stream")

        return StreamingResponse(stream, media_type="text/event-stream")

    def _view(self, request: Request, *, may_wait: bool) -> tuple[Address, View]:
        """Return what a request asks for, and the view of that."""
        path = request.url.path.removeprefix("/live") or "/"
        items = request.query_params.multi_items()
        run_id = request.path_params.get("run_id")
        if run_id is not None:
            address = read_address(path, items, run.KNOWN)
            run_type = "task" if path.startswith("/task") else "flow"
            page = partial(run.run_page, run_type=run_type, run_id=run_id, may_wait=may_wait)
            return address, partial(page, address=address)
        if path == "/deliveries":
            address = read_address(path, items, deliveries.KNOWN)
            return address, partial(deliveries.deliveries_page, address=address)
        address = read_address(path, items, runs.KNOWN)
        tallies = self.tallies

        return address, partial(runs.runs_page, address=address, tallies=tallies, may_wait=may_wait)

    async def cancel(self, request: Request) -> Response:
        """Ask for the end of a run."""
        run_id: UUID = request.path_params["run_id"]
        said = await self.source.read(lambda archive: ask_cancel(archive, run_id))

        return HTMLResponse(render("said.html", said=said))

    async def redrive(self, request: Request) -> Response:
        """Make deliveries pending again: those that are named, or all that a filter selects."""
        form = await _form(request)
        every = read_address("/deliveries", request.query_params.multi_items(), deliveries.KNOWN)
        ids = [key for name, text in form if name == "id" and (key := _uuid(text)) is not None]
        address = every if ("all", "1") in form else None
        said = await self.source.read(lambda archive: redrive(archive, ids, address))

        return HTMLResponse(render("said.html", said=said))


async def _form(request: Request) -> list[tuple[str, str]]:
    """Read the fields of a form."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise HTTPException(413)

    return parse_qsl(body.decode("utf-8", "replace"))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


async def _stylesheet(_: Request) -> Response:
    return FileResponse(STYLESHEET, headers={"Cache-Control": FOR_EVER})


async def _health(_: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _refused(_: Request, error: HTTPException) -> Response:
    text = render("problem.html", title=error.detail, what=error.detail)

    return HTMLResponse(text, error.status_code, error.headers)


async def _unreadable(_: Request, error: EventflowError) -> Response:
    return HTMLResponse(render("problem.html", title="Unreadable", what=str(error)), 503)
