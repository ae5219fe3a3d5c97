"""Notification blocks: Slack through its webhook, and many other services through apprise."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - httpx needs it, and it cannot be imported at exit
import logging
import re
import socket
import threading
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias
from urllib.parse import unquote

from anyio import get_cancelled_exc_class, to_thread
from pydantic import BaseModel, Field, SecretStr, field_validator

from eventflow.blocks.core import Block
from eventflow.errors import EventflowError, MissingExtraError, NotificationError
from eventflow.primitives.escapes import one_line
from eventflow.primitives.loggers import get_logger
from eventflow.settings import MASK

if TYPE_CHECKING:
    import apprise
    import httpx

__all__ = ["Format", "Kind", "NotificationBlock", "Notify", "Sending", "SlackWebhook"]
__all__ += ["quiet", "without_url"]

# How much longer the outer wait is than the timeout, so that the inner error comes first.
GRACE_SECONDS = 0.5
BODY_READ = 20_000
BODY_SHOWN = 200
LOGGERS_OF_URLS = ("apprise", "httpx", "httpcore.http11", "urllib3.connectionpool")

Kind: TypeAlias = Literal["info", "success", "warning", "failure"]
Format: TypeAlias = Literal["text", "html", "markdown"]

log = get_logger("blocks")


class Sending:
    """A notification being sent; `wait` for it or await it to learn whether it arrived."""

    def __init__(self, service: str, future: Future[None], timeout_seconds: float) -> None:
        self._service = service
        self._future = future
        self._timeout_seconds = timeout_seconds

    def __await__(self) -> Generator[Any, Any, None]:
        return to_thread.run_sync(self.wait, abandon_on_cancel=True).__await__()

    def wait(self) -> None:
        """Block until the service has accepted the notification.

        Raises:
            NotificationError: it was not accepted, or not in time.
        """
        try:
            self._future.result(self._timeout_seconds + GRACE_SECONDS)

        except TimeoutError:
            raise NotificationError(self._service, _late(self._timeout_seconds)) from None


class NotificationBlock(Block):
    """The base of every block that notifies: a subclass writes `post`, callers use `notify`.

    `timeout_seconds` bounds the whole of one notification, from the connection to the answer.
    """

    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0

    @abstractmethod
    def post(self, body: str, subject: str | None = None) -> None:
        """Send the notification to the service, blocking; called in a thread of its own.

        Raises:
            NotificationError: the service does not accept it.
        """

    def notify(self, body: str, subject: str | None = None) -> Sending:
        """Send a notification.

        In sync code it has arrived when this returns. Where an event loop runs in the calling
        thread, the sending starts at once in a thread of its own and the result is to be
        awaited. If the await is forgotten it is sent all the same, and a failure is only logged.

        Raises:
            NotificationError: the service does not accept it, or not within `timeout_seconds`.
            MissingExtraError: the package it needs is not installed.
        """
        in_loop = _loop_is_running()
        sending = self._start(body, subject, unwatched=in_loop)
        if not in_loop:
            sending.wait()

        return sending

    async def anotify(self, body: str, subject: str | None = None) -> None:
        """Send a notification without holding up the event loop; see `notify`.

        Raises:
            NotificationError: the service does not accept it, or not within `timeout_seconds`.
            MissingExtraError: the package it needs is not installed.
        """
        await self._start(body, subject, unwatched=False)

    def _start(self, body: str, subject: str | None, *, unwatched: bool) -> Sending:
        future: Future[None] = Future()

        def run() -> None:
            try:
                with quiet():
                    self.post(body, subject)

            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                if unwatched:
                    # The message of a third party's error may hold a secret.
                    reason = error if isinstance(error, EventflowError) else type(error).__name__
                    log.warning("%s failed: %s", type(self).__name__, reason)

                future.set_exception(error)

            else:
                future.set_result(None)

        # Not a daemon: a program that ends right away still has to send it.
        thread = threading.Thread(target=run, name=f"notify-{self.get_block_type_slug()}")
        try:
            thread.start()

        except RuntimeError:  # the interpreter shuts down, and starts no thread any more
            run()

        return Sending(type(self).__name__, future, self.timeout_seconds)


class SlackWebhook(NotificationBlock):
    """Notifies a Slack channel, or any service with a compatible webhook."""

    url: SecretStr

    def __init__(self, url: SecretStr | str, **fields: Any) -> None:
        BaseModel.__init__(self, url=url, **fields)

    @field_validator("url")
    @classmethod
    def _is_web_url(cls, url: SecretStr) -> SecretStr:
        if not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must be an http:// or https:// URL")

        return url

    def post(self, body: str, subject: str | None = None) -> None:
        """Post `{"text": …}` to the webhook, blocking.

        Raises:
            NotificationError: the answer is not a 2xx, or there is none in time.
            MissingExtraError: httpx is not installed.
        """
        text = body if subject is None else f"*{subject}*\n{body}"
        with _Watch(self.timeout_seconds) as watch:
            reason = self._answer_to({"text": text}, watch)

        if reason is not None:
            shown = self._redacted(_late(self.timeout_seconds) if watch.is_over else reason)
            # Cut only what is redacted already: half a secret would not be recognised.
            cut = shown if len(shown) <= BODY_SHOWN else f"{shown[:BODY_SHOWN]}…"
            raise NotificationError(type(self).__name__, cut)

    def _answer_to(self, payload: dict[str, str], watch: _Watch) -> str | None:
        """Return why the webhook refused the payload, or None when it did not."""
        try:
            import httpx  # noqa: PLC0415 - optional, and slow to import

        except ImportError:
            raise MissingExtraError("SlackWebhook", "httpx", "blocks") from None

        url, extensions = self.url.get_secret_value(), {"trace": watch.trace}
        try:
            with (
                httpx.Client(timeout=self.timeout_seconds) as web,
                web.stream("POST", url, json=payload, extensions=extensions) as response,
            ):
                return None if response.is_success else _refusal(response)

        except httpx.TimeoutException:
            return _late(self.timeout_seconds)

        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"

    def _redacted(self, text: str) -> str:
        # Error pages often quote the path, which is the secret of a webhook.
        return without_url(self.url.get_secret_value(), text)


def without_url(url: str, text: str) -> str:
    """Mask a URL, and all its parts but the scheme, in a text."""
    _, _, address = url.partition("://")
    for part in (address, *re.split(r"[/?&=@:]", address)):
        for secret in {part, unquote(part)}:
            if len(secret) > 3:  # noqa: PLR2004 - shorter parts are words, not secrets
                text = text.replace(secret, MASK)

    return text


class Notify(NotificationBlock):
    """Notifies through any of the services that apprise knows, each given as an apprise URL.

    `timeout_seconds` bounds how long `notify` waits for all of them together; a notification that
    is still being sent by then may arrive later. Services show `kind` by a colour or a sign. With
    a `format`, apprise converts the body from it to what each service takes: `text` is escaped
    where that is markup. Without, the body is passed on as it is.
    """

    timeout_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    urls: Annotated[list[SecretStr], Field(min_length=1)]
    kind: Kind = "info"
    format: Format | None = None

    def __init__(self, urls: Sequence[SecretStr | str], **fields: Any) -> None:
        BaseModel.__init__(self, urls=urls, **fields)

    def post(self, body: str, subject: str | None = None) -> None:
        """Notify every service, one after another, blocking.

        Raises:
            NotificationError: a URL is not understood, or a service does not accept it; the
                others have been notified nevertheless.
            MissingExtraError: apprise is not installed.
        """
        refusals = [
            f"{place} ({_scheme(url)}) {refusal}"
            for place, url in enumerate(self.urls, start=1)
            if (refusal := self._refusal(url.get_secret_value(), body, subject))
        ]
        if refusals:
            count = f"{len(refusals)} of {len(self.urls)} URLs"
            raise NotificationError(type(self).__name__, f"{count}: {'; '.join(refusals)}")

    def _refusal(self, url: str, body: str, subject: str | None) -> str | None:
        """Return why a service did not accept the notification, or None if it did."""
        try:
            # Optional, and slow to import.
            from apprise import Apprise, OverflowMode  # noqa: PLC0415

        except ImportError:
            raise MissingExtraError("Notify", "apprise", "notifications") from None

        service = Apprise(asset=_asset())
        said = _sending.get()
        del said[:]
        try:
            if not service.add(url):
                return "is not a URL that apprise understands"

            if "overflow=" not in url:
                for plugin in service:
                    # What is too long is cut; else the service would refuse all of it.
                    plugin.overflow_mode = OverflowMode.TRUNCATE

            if service.notify(
                body, title=subject or "", notify_type=self.kind, body_format=self.format
            ):
                return None

        except Exception as error:  # noqa: BLE001 - plugins raise anything, with URLs in the message
            return f"failed with {type(error).__name__}"

        why = one_line(without_url(url, " ".join(said)), BODY_SHOWN).rstrip(".")
        return f"did not accept it: {why}" if why else "did not accept it"


def _asset() -> apprise.AppriseAsset:
    """Have apprise start no thread: this one is its own, and bounds what it does."""
    from apprise import AppriseAsset  # noqa: PLC0415 - optional, and slow to import

    try:
        return AppriseAsset(async_mode=False, service_timeout=0)

    except AttributeError:  # before apprise 2.3
        return AppriseAsset(async_mode=False)


def _scheme(url: SecretStr) -> str:
    scheme, separator, _ = url.get_secret_value().partition("://")
    return scheme if separator and scheme.isalnum() else "no scheme"


def _refusal(response: httpx.Response) -> str:
    shown = b""
    for chunk in response.iter_bytes():
        shown += chunk
        if len(shown) >= BODY_READ:
            break

    text = " ".join(shown.decode("utf-8", "replace").split())
    return f"it answered {response.status_code} {response.reason_phrase} {text}".strip()


class _Watch:
    """Shuts connections down when their time is up.

    httpx's timeouts bound each read and not the whole: a server that drips bytes would block it for
    ever. An event loop could be cancelled, but it cannot resolve a host name while the interpreter
    shuts down, and notifications are sent then as well.
    """

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        # No thread can be started while the interpreter shuts down; httpx's timeouts still apply.
        with suppress(RuntimeError):
            self._timer.start()

        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Record each socket that httpx opens or wraps in TLS."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sockets.append(info["return_value"].get_extra_info("socket"))

    def _cut(self) -> None:
        self.is_over = True
        for watched in self._sockets:
            # The method of the plain socket: that of SSLSocket would remove the TLS object while it
            # is being read. A socket that was wrapped or closed since is no longer valid.
            with suppress(OSError):
                socket.socket.shutdown(watched, socket.SHUT_RDWR)


def _late(seconds: float) -> str:
    return f"there was no answer within {seconds:g} s"


def _loop_is_running() -> bool:
    try:
        get_cancelled_exc_class()

    except RuntimeError:
        return False

    return True


# What a third party has said while it sends, in this thread's context.
_sending: ContextVar[list[str]] = ContextVar("sending")


class _Discretion(logging.Filter):
    """Drops the log records of third parties while they send, since they quote the secret URL.

    It checks a context variable and not the thread: apprise copies it into threads of its own.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        said = _sending.get(None)
        if said is not None and record.levelno >= logging.WARNING:
            said.append(record.getMessage())

        return said is None


_discretion = _Discretion()


@contextmanager
def quiet() -> Iterator[None]:
    """Have third parties log nothing within the block: they quote URLs."""
    # The filter is never removed, so that no record of another thread gets past it.
    for name in LOGGERS_OF_URLS:
        logging.getLogger(name).addFilter(_discretion)

    token = _sending.set([])
    try:
        yield

    finally:
        _sending.reset(token)
