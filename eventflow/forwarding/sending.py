"""Sends events to an endpoint over HTTP: one a request, or all that wait in one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import cached_property, lru_cache
from ssl import SSLContext
from typing import Final

from eventflow.blocks.notifications import quiet, without_url
from eventflow.errors import MissingExtraError
from eventflow.forwarding.endpoints import Endpoint, ForwardingError, ForwardingRefused
from eventflow.forwarding.envelope import BATCH, STRUCTURED
from eventflow.primitives.escapes import one_line
from eventflow.primitives.forks import in_children
from eventflow.primitives.loggers import get_logger
from eventflow.settings import MASK

try:
    import httpx
except ImportError:
    raise MissingExtraError("forward", "httpx", "forwarding") from None

__all__ = ["Sender", "sender_of"]

BODY_READ: Final = 20_000
BODY_SHOWN: Final = 200

_RETRIED: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = range(500, 600)
_UNSUPPORTED: Final = 415

_log: Final = get_logger("forwarding")


class _Waiting:
    """An event that is to be sent; `error` is why it was not accepted, once it `is_done`."""

    __slots__ = ("body", "error", "is_done")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.is_done = False
        self.error: ForwardingError | None = None


class Sender:
    """Sends events to one endpoint, from any thread; each caller waits for the answer to its own.

    While one request is under way in batched mode, the events that come meanwhile wait, and the
    next request has all of them, at most `batch_size`.
    """

    def __init__(self, endpoint: Endpoint, batch_size: int, timeout_seconds: float) -> None:
        self._endpoint = endpoint
        self._batch_size = batch_size
        self._timeout_seconds = timeout_seconds
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()

    def send(self, body: bytes) -> None:
        """Send an event, given as JSON, and return when it is accepted.

        Raises:
            ForwardingError: it is not accepted now; it may be later.
            ForwardingRefused: it will never be accepted.
        """
        if self._batch_size == 1:
            self._post(STRUCTURED, body)
            return
        mine = _Waiting(body)
        self._waiting.append(mine)
        # Whoever has the turn sends for all that wait, and they find it done.
        with self._turn:
            while not mine.is_done:
                self._send_next(mine)
        if mine.error is not None:
            # Of its own: several threads would share a traceback.
            raise type(mine.error)(mine.error.receiver, mine.error.reason)

    def _send_next(self, mine: _Waiting) -> None:
        count = min(len(self._waiting), self._batch_size)
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            self._send_batch(batch)
        except BaseException:
            # This thread was interrupted: the others send their own.
            others = [each for each in batch if each is not mine and not each.is_done]
            self._waiting.extendleft(reversed(others))
            raise

    def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        if len(batch) > 1:
            try:
                self._post(BATCH, b"[" + b",".join(each.body for each in batch) + b"]")
            except ForwardingRefused:
                # One of them may be the reason, or that they are several.
                pass
            except ForwardingError as error:
                _settle(batch, error)
                return
            else:
                _settle(batch, None)
                return
        for each in batch:
            try:
                self._post(STRUCTURED, each.body)
            except ForwardingError as error:
                _settle([each], error)
            else:
                _settle([each], None)

    def _post(self, content_type: str, body: bytes) -> None:
        url = self._endpoint.url.value()
        headers = {name: value.value() for name, value in self._endpoint.headers}
        try:
            with (
                quiet(),
                self._client.stream(
                    "POST", url, content=body, headers={**headers, "Content-Type": content_type}
                ) as response,
            ):
                shown = _beginning(response)
        except httpx.TimeoutException:
            reason = f"there was no answer within {self._timeout_seconds:g} s"
            raise ForwardingError(self._endpoint.label, reason) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise self._failure(ForwardingRefused, f"{type(error).__name__}: {error}") from None
        except (httpx.HTTPError, OSError) as error:
            raise self._failure(ForwardingError, f"{type(error).__name__}: {error}") from None
        if response.is_success:
            return
        status = response.status_code
        if status == _UNSUPPORTED and content_type == BATCH:
            self._batch_size = 1
            _log.warning(f"{self._endpoint.label} takes no batches: events are sent one by one.")
        is_retried = status in _RETRIED or status in _SERVER_ERRORS
        reason = f"it answered {status} {response.reason_phrase} {shown}".strip()
        raise self._failure(ForwardingError if is_retried else ForwardingRefused, reason)

    def _failure(self, kind: type[ForwardingError], reason: str) -> ForwardingError:
        """Return an error that shows no secret, which answers often quote."""
        for hidden in (value.value() for _, value in self._endpoint.headers):
            reason = reason.replace(hidden, MASK)
        shown = one_line(without_url(self._endpoint.url.value(), reason), BODY_SHOWN)

        return kind(self._endpoint.label, shown.rstrip("."))

    @cached_property
    def _client(self) -> httpx.Client:
        """The client, which keeps connections open."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)

        return httpx.Client(timeout=self._timeout_seconds, limits=limits, verify=_certificates())


@lru_cache(maxsize=1)
def _certificates() -> SSLContext:
    """Load the certificates that are trusted: that takes longer than to send a hundred events."""
    return httpx.create_ssl_context()


def _settle(batch: Sequence[_Waiting], error: ForwardingError | None) -> None:
    for each in batch:
        each.error = error
        each.is_done = True


def _beginning(response: httpx.Response) -> str:
    """Read an answer, as its connection can be used again then; a long one only in part."""
    read = b""
    for chunk in response.iter_raw():
        read += chunk
        if len(read) >= BODY_READ:
            break

    return " ".join(read[:BODY_READ].decode("utf-8", "replace").split())


_senders: Final[dict[tuple[Endpoint, int, float], Sender]] = {}
_inherited: Final[list[Sender]] = []


def sender_of(endpoint: Endpoint, batch_size: int, timeout_seconds: float) -> Sender:
    """Return the sender of this process to an endpoint, which all forwarders to it share."""
    key = (endpoint, batch_size, timeout_seconds)

    return _senders.get(key) or _senders.setdefault(key, Sender(*key))


@in_children
def _forget_senders() -> None:
    """Leave the connections to the parent: they stay open, as closing them would end them there."""
    _inherited.extend(_senders.values())
    _senders.clear()
