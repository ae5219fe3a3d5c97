"""`subscribe_remote`: has a function called with the events that come in by a stream of Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Self, TypeAlias

import pydantic
from pydantic import SecretStr

from eventflow.errors import MissingExtraError
from eventflow.forwarding.endpoints import Endpoint, is_redis, read_endpoint
from eventflow.forwarding.envelope import CloudEvent
from eventflow.forwarding.origins import own_origin
from eventflow.forwarding.streams import opened
from eventflow.primitives.callables import qualified_name
from eventflow.primitives.loggers import get_logger
from eventflow.retries import Delays, RetryPolicy

try:
    import redis
except ImportError:
    raise MissingExtraError("subscribe_remote", "redis", "redis") from None

__all__ = ["RemoteSubscription", "subscribe_remote"]

WAIT_SECONDS: Final = 0.5
"""How long one wait for entries lasts; the end of the subscription is checked in between."""

TIMEOUT_SECONDS: Final = 10.0
AGAIN_SECONDS: Final = 1.0
COUNT: Final = 100

Fields: TypeAlias = dict[bytes, bytes]
"""The fields of an entry."""

_log: Final = get_logger("forwarding")


def subscribe_remote(
    url: str | SecretStr,
    listener: Callable[[CloudEvent], object],
    *,
    group: str,
    retries: int = 3,
    retry_delay_seconds: Delays = 1.0,
) -> RemoteSubscription:
    """Have a function called with each CloudEvent of a stream of Redis, in a thread of its own.

    At least once, in the order of the stream, from its beginning: an entry is acknowledged when the
    function has returned. It is called again for one that it fails on; after the last retry the
    entry is appended to the stream of the same name with `:dead` behind it. What this home has sent
    itself is passed over, so that what two programs forward to each other does not go in circles.

    Args:
        url: the URL of the stream, `"redis://localhost/0?stream=events"`, or `env:` and a variable.
        listener: what is called with each event.
        group: the name of the consumer group, which keeps the place in the stream: one for each
            purpose. Several hosts with one name share the events; their order holds for one only.
        retries: how often the function is called again for an event that it fails on.
        retry_delay_seconds: the delays before that.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: the URL is none of a stream, or a number is negative.
    """
    endpoint = read_endpoint(url, None)
    if endpoint.url.variable is None and not is_redis(endpoint.url.text.get_secret_value()):
        raise ValueError(f"subscribe_remote reads streams of Redis, not {endpoint.label}.")
    if not group:
        raise ValueError("group must be the name of a consumer group, not empty.")
    if not callable(listener):
        raise TypeError(f"The listener must be callable, but is {listener!r}.")
    policy = RetryPolicy.of(retries, retry_delay_seconds, None)

    return RemoteSubscription(endpoint, listener, group, policy)


class RemoteSubscription:
    """A function's place in a stream. Cancel it, or use it as a context manager."""

    def __init__(
        self,
        endpoint: Endpoint,
        listener: Callable[[CloudEvent], object],
        group: str,
        policy: RetryPolicy,
    ) -> None:
        self._endpoint = endpoint
        self._listener = listener
        self._group = group
        self._policy = policy
        self._origin = own_origin()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="eventflow-remote", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Call the function no more, and return when the present call has ended."""
        self._ended.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.cancel()

    def _run(self) -> None:
        """Read until the end; after an error, from what is not acknowledged on."""
        while not self._ended.is_set():
            try:
                client, stream = opened(self._endpoint, TIMEOUT_SECONDS)
                with client:
                    self._read(client, stream)
            except Exception as error:  # noqa: BLE001 - it is tried again whatever it is
                # Its text may hold the URL.
                what = f"{type(error).__name__}, tried again in {AGAIN_SECONDS:g} s"
                _log.warning(f"{self._endpoint.label} cannot be read: {what}")
                self._ended.wait(AGAIN_SECONDS)

    def _read(self, client: redis.Redis, stream: str) -> None:
        try:
            client.xgroup_create(stream, self._group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):  # it is there already
                raise
        for key, fields in self._entries(client, stream):
            if not self._take(fields):
                return
            client.xack(stream, self._group, key)

    def _entries(self, client: redis.Redis, stream: str) -> Iterator[tuple[Any, Fields]]:
        """Yield the entries that were not acknowledged before, then new ones."""
        place = "0"
        while not self._ended.is_set():
            found: Any = client.xreadgroup(
                self._group,
                self._origin,
                {stream: place},
                count=COUNT,
                block=round(WAIT_SECONDS * 1000),
            )
            entries = found[0][1] if found else []
            yield from entries
            if not entries:
                place = ">"
            elif place != ">":
                place = entries[-1][0]

    def _take(self, fields: Fields) -> bool:
        """Have an entry taken care of; return False if the subscription ended before."""
        if self._ended.is_set():
            return False
        if not fields:  # it was deleted since it was delivered
            return True
        try:
            event = CloudEvent.model_validate_json(fields.get(b"event", b""))
        except pydantic.ValidationError:
            self._append_to_dead(fields, "an entry that is no CloudEvent")
            return True

        return event.originid == self._origin or self._call(event, fields)

    def _call(self, event: CloudEvent, fields: Fields) -> bool:
        """Call the listener until it does not fail, so often; return False if that was ended."""
        attempts = self._policy.retries + 1
        for attempt in range(1, attempts + 1):
            try:
                self._listener(event)
            except Exception as error:  # noqa: BLE001 - a listener may do anything
                _log.error(
                    f"{qualified_name(self._listener)} failed on {event.type} {event.id}, attempt "
                    f"{attempt} of {attempts}",
                    exc_info=error,
                )
            else:
                return True
            if attempt < attempts and self._ended.wait(self._policy.delay(attempt)):
                return False
        self._append_to_dead(fields, f"{event.type} {event.id}")

        return True

    def _append_to_dead(self, fields: Fields, what: str) -> None:
        """Keep an entry that cannot be taken care of in a stream of its own."""
        client, stream = opened(self._endpoint, TIMEOUT_SECONDS)
        with client:
            client.xadd(f"{stream}:dead", fields)  # type: ignore[arg-type]  # dicts are invariant
        _log.error(f"{what} was appended to the stream {stream}:dead")
