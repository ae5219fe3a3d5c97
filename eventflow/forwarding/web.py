"""Sends events over HTTP: one a request, or several in one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from ssl import SSLContext
from typing import Final

from eventflow.blocks.notifications import quiet
from eventflow.errors import MissingExtraError
from eventflow.forwarding.endpoints import ForwardingError, ForwardingRefused
from eventflow.forwarding.envelope import BATCH, STRUCTURED
from eventflow.forwarding.queueing import Sender, Waiting, settle
from eventflow.primitives.loggers import get_logger

try:
    import httpx
except ImportError:
    raise MissingExtraError("forward", "httpx", "forwarding") from None

__all__ = ["WebSender"]

BODY_READ: Final = 20_000

_RETRIED: Final = frozenset({408, 425, 429})
_SERVER_ERRORS: Final = range(500, 600)
_UNSUPPORTED: Final = 415

_log: Final = get_logger("forwarding")


class WebSender(Sender):
    """Sends events to an HTTP endpoint."""

    def send_batch(self, batch: Sequence[Waiting]) -> None:
        """Send several in one request, and each alone if that is refused."""
        if len(batch) > 1:
            try:
                self._post(BATCH, b"[" + b",".join(each.body for each in batch) + b"]")
            except ForwardingRefused:
                # One of them may be the reason, or that they are several.
                pass
            except ForwardingError as error:
                settle(batch, error)
                return
            else:
                settle(batch, None)
                return
        for each in batch:
            try:
                self._post(STRUCTURED, each.body)
            except ForwardingError as error:
                settle([each], error)
            else:
                settle([each], None)

    def _post(self, content_type: str, body: bytes) -> None:
        url = self.endpoint.url.value()
        headers = {name: value.value() for name, value in self.endpoint.headers}
        try:
            with (
                quiet(),
                self._client.stream(
                    "POST", url, content=body, headers={**headers, "Content-Type": content_type}
                ) as response,
            ):
                shown = _beginning(response)
        except httpx.TimeoutException:
            reason = f"there was no answer within {self.timeout_seconds:g} s"
            raise ForwardingError(self.endpoint.label, reason) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise self.failure(ForwardingRefused, f"{type(error).__name__}: {error}") from None
        except (httpx.HTTPError, OSError) as error:
            raise self.failure(ForwardingError, f"{type(error).__name__}: {error}") from None
        if response.is_success:
            return
        status = response.status_code
        if status == _UNSUPPORTED and content_type == BATCH:
            self.batch_size = 1
            _log.warning(f"{self.endpoint.label} takes no batches: events are sent one by one.")
        is_retried = status in _RETRIED or status in _SERVER_ERRORS
        reason = f"it answered {status} {response.reason_phrase} {shown}".strip()
        raise self.failure(ForwardingError if is_retried else ForwardingRefused, reason)

    @cached_property
    def _client(self) -> httpx.Client:
        """The client, which keeps connections open."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)

        return httpx.Client(timeout=self.timeout_seconds, limits=limits, verify=_certificates())


@lru_cache(maxsize=1)
def _certificates() -> SSLContext:
    """Load the certificates that are trusted: that takes longer than to send a hundred events."""
    return httpx.create_ssl_context()


def _beginning(response: httpx.Response) -> str:
    """Read an answer, as its connection can be used again then; a long one only in part."""
    read = b""
    for chunk in response.iter_raw():
        read += chunk
        if len(read) >= BODY_READ:
            break

    return " ".join(read[:BODY_READ].decode("utf-8", "replace").split())
