"""Sends events to a stream of Redis: an entry each, several in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from eventflow.errors import MissingExtraError
from eventflow.forwarding.endpoints import Endpoint, ForwardingError, ForwardingRefused
from eventflow.forwarding.queueing import Sender, Waiting, settle

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, NoPermissionError
    from redis.retry import Retry
except ImportError:
    raise MissingExtraError("forward", "redis", "redis") from None

__all__ = ["RedisSender", "opened"]

_WRONG_TYPE: Final = "WRONGTYPE"


class RedisSender(Sender):
    """Sends events to a stream: fields are `id`, by which duplicates are known, and `event`."""

    def send_batch(self, batch: Sequence[Waiting]) -> None:
        """Append all to the stream, in their order, and wait for the answers."""
        client, stream = self._client
        pipeline = client.pipeline(transaction=False)
        for each in batch:
            pipeline.xadd(stream, {"id": each.event.id, "event": each.body})
        try:
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        except (redis.RedisError, OSError) as error:
            answers = [error] * len(batch)
        for each, answer in zip(batch, answers, strict=True):
            settle([each], self._error(answer) if isinstance(answer, Exception) else None)

    def _error(self, error: Exception) -> ForwardingError:
        """Return why an event was not accepted: for good, if Redis would refuse it again."""
        is_final = isinstance(error, AuthenticationError | NoPermissionError)
        # The driver has taken the word off.
        is_final = is_final or "wrong kind of value" in str(error) or _WRONG_TYPE in str(error)
        kind = ForwardingRefused if is_final else ForwardingError

        return self.failure(kind, f"{type(error).__name__}: {error}")

    @cached_property
    def _client(self) -> tuple[redis.Redis, str]:
        """The client, which keeps connections open, and the name of the stream."""
        return opened(self.endpoint, self.timeout_seconds)


def opened(endpoint: Endpoint, timeout_seconds: float) -> tuple[redis.Redis, str]:
    """Return a client, and the name of the stream.

    Raises:
        ForwardingRefused: the URL names no stream, or its variable is not set.
    """
    url, stream = _parted(endpoint.url.value())
    if not stream:
        raise ForwardingRefused(endpoint.label, "its URL names no stream: '?stream=...'")
    client = redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        # Who calls tries again, and tells of each attempt.
        retry=Retry(NoBackoff(), 0),
    )

    return client, stream


def _parted(url: str) -> tuple[str, str]:
    """Return a URL without `stream=`, and what that names."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    stream = query.pop("stream", "")

    return urlunsplit(parts._replace(query=urlencode(query))), stream
