"""`forward`: declares a hook that sends the transitions of runs to another program."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import SecretStr

from eventflow.context import current_hook
from eventflow.errors import EventflowError, MissingExtraError
from eventflow.eventbus.bus import current_bus
from eventflow.eventbus.selections import States
from eventflow.eventbus.subscriptions import Subscription
from eventflow.forwarding.endpoints import Endpoint, is_redis, read_endpoint
from eventflow.forwarding.envelope import envelope, event_in_hook
from eventflow.forwarding.origins import own_origin
from eventflow.hooks.configured import ConfiguredHook, Find
from eventflow.hooks.declaration import Hook
from eventflow.hooks.receiver import HookReceiver
from eventflow.primitives.durations import read_seconds
from eventflow.primitives.loading import load
from eventflow.retries import Delays
from eventflow.runs.run import Run, RunType
from eventflow.states.state import AnyState

__all__ = ["RETRIES", "RETRY_DELAYS", "Forwarder", "forward"]

RETRIES: Final = 12
RETRY_DELAYS: Final = (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0)
"""Seconds before each retry, the last one repeated: together about three minutes."""

SOURCE: Final = "/eventflow"
TIMEOUT_SECONDS: Final = 10.0


def forward(
    url: str | SecretStr,
    *,
    run_type: RunType | None = None,
    state: States = None,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    headers: Mapping[str, str | SecretStr] | None = None,
    source: str = SOURCE,
    batch_size: int = 1,
    timeout_seconds: float = TIMEOUT_SECONDS,
    retries: int = RETRIES,
    retry_delay_seconds: Delays = RETRY_DELAYS,
    id: str | None = None,
) -> Subscription:
    """Forward the transitions of every run that matches, as CloudEvents 1.0, to HTTP or Redis.

    It declares a hook on the bus in force: each transition is sent before its run goes on, at least
    once, in order per run, and whatever happens to this process. An answer of 2xx accepts it. While
    there is none, or it is 408, 425, 429 or 5xx, the run waits, and it is sent again, `retries`
    times. After that, or any other answer, its delivery is dead: `eventflow deliveries redrive`.

    Args:
        url: an `https://` or `http://` URL; `"redis://localhost/0?stream=events"` for a stream of
            Redis; `"env:EVENTS_URL"` for the one that a variable holds when an event is sent.
        run_type: `"flow"` or `"task"`, for the transitions of one kind of run.
        state: a state's name or type, or several; without, every transition.
        name: a pattern over the definition's name.
        tags: tags that the run has to have.
        headers: headers of each request, such as `Authorization`; `env:` as well. They and the URL
            are encrypted where they are recorded, with the key of blocks.
        source: the `source` of the events, a URI reference.
        batch_size: how many events one request has at most, where several wait because runs are
            executed at the same time. More than 1 only for a receiver that takes
            `application/cloudevents-batch+json`, or for Redis.
        timeout_seconds: how long to wait for a connection, and for each part of an answer.
        retries: how often an event is sent again that was not accepted.
        retry_delay_seconds: the delays before that; by default they double from 0.2 to 30 s.
        id: the identity of the hook, for `eventflow hooks` and `eventflow deliveries`.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an argument has a wrong value.
        MissingExtraError: httpx, or for Redis redis, is not installed.
    """
    forwarder = Forwarder(
        url,
        headers=headers,
        source=source,
        batch_size=batch_size,
        timeout_seconds=timeout_seconds,
        module=sys._getframe(1).f_globals.get("__name__", ""),  # noqa: SLF001 - documented
    )
    declared = Hook(
        forwarder,
        run_type=run_type,
        state=state,
        name=name,
        tags=tags,
        id=id,
        retries=retries,
        retry_delay_seconds=retry_delay_seconds,
    )

    return current_bus().attach(forwarder, HookReceiver(declared), declared.filter(), hook=declared)


class Forwarder(ConfiguredHook):
    """A hook function that sends what it is called for as a CloudEvent, in one attempt.

    For the runs of one definition: `@flow(on_failure=[Hook(Forwarder(url), retries=8)])`. The
    arguments are those of `forward`.

    Raises:
        TypeError: an argument is of a wrong type.
        ValueError: an argument has a wrong value.
        MissingExtraError: httpx, or for Redis redis, is not installed.
    """

    def __init__(
        self,
        url: str | SecretStr,
        *,
        headers: Mapping[str, str | SecretStr] | None = None,
        source: str = SOURCE,
        batch_size: int = 1,
        timeout_seconds: float = TIMEOUT_SECONDS,
        module: str | None = None,
    ) -> None:
        caller = sys._getframe(1).f_globals.get("__name__", "")  # noqa: SLF001 - documented
        if isinstance(batch_size, bool) or not isinstance(batch_size, int):
            raise TypeError(f"batch_size must be a whole number, but is {batch_size!r}.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}.")
        _check_source(source)
        seconds = read_seconds("timeout_seconds", timeout_seconds)
        endpoint = read_endpoint(url, headers)
        is_stream = is_redis(endpoint.url.text.get_secret_value())
        package, extra = ("redis", "redis") if is_stream else ("httpx", "forwarding")
        if find_spec(package) is None:
            raise MissingExtraError("forward", package, extra)
        self._set(module or caller, endpoint, source, own_origin(), (batch_size, seconds))

    def _set(
        self, module: str, endpoint: Endpoint, source: str, origin: str, limits: tuple[int, float]
    ) -> None:
        self.__module__ = module
        self.__qualname__ = f"forward({endpoint.label})"
        self._endpoint = endpoint
        self._source = source
        self._origin = origin
        self._limits = limits

    def __repr__(self) -> str:
        return f"<{self.__qualname__}>"

    def __call__(self, definition: Any, run: Run, state: AnyState) -> None:  # noqa: ARG002 - a hook
        """Send the event, and return when it is accepted.

        Raises:
            ForwardingError: it is not accepted now; it may be later.
            ForwardingRefused: it will never be accepted.
        """
        event = event_in_hook(current_hook.get(), run, state)
        made = envelope(event, run, source=self._source, origin=self._origin)
        # Loaded where it is used: an import of blocks builds their models.
        sender = load("eventflow.forwarding.sending").sender_of(self._endpoint, *self._limits)
        sender.send(made)

    # -- in another process -----------------------------------------------------------------

    def problem(self) -> str | None:
        """Return why another process cannot make it again; None if it can."""
        try:
            self._recorded_endpoint  # noqa: B018 - encrypts it
        except EventflowError as error:
            return f"has a URL or headers that cannot be encrypted: {error}"

        return None

    @cached_property
    def _recorded_endpoint(self) -> dict[str, Any]:
        return self._endpoint.recorded()

    def configuration(self) -> dict[str, Any]:
        """Return all that it is made of, as JSON, its URL and its headers encrypted."""
        return {
            "module": self.__module__,
            "endpoint": self._recorded_endpoint,
            "source": self._source,
            "origin": self._origin,
            "limits": list(self._limits),
        }

    @classmethod
    def restored(cls, configuration: Any, find: Find) -> Self:  # noqa: ARG003 - it has no functions
        """Make it again.

        Raises:
            EventflowError: its URL or a header cannot be decrypted.
        """
        made = cls.__new__(cls)
        batch_size, timeout_seconds = configuration["limits"]
        made._set(  # noqa: SLF001 - its own
            configuration["module"],
            Endpoint.restored(configuration["endpoint"]),
            configuration["source"],
            configuration["origin"],
            (batch_size, timeout_seconds),
        )

        return made


def _check_source(source: object) -> None:
    if not isinstance(source, str):
        raise TypeError(f"source must be a string, but is {source!r}.")
    try:
        urlsplit(source)
        is_valid = bool(source) and source.isascii() and source.isprintable() and " " not in source
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"source must be a URI reference, such as {SOURCE!r} or 'https://example.com/etl', but "
            f"is {source!r}."
        )
