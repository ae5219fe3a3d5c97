"""Users' own events on a bus, which wait for the next commit to be encoded and appended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC
from typing import Any, Final

from pydantic_core import from_json, to_json

from eventflow.events import Event
from eventflow.journal.records import pack
from eventflow.journal.rows import micros
from eventflow.primitives import forks
from eventflow.primitives.loggers import get_logger
from eventflow.settings import EVENTFLOW_MASK_SECRETS, MASK
from eventflow.values.masking import (
    has_credentials,
    is_secret_name,
    is_secret_value,
    masked_text,
)

__all__ = ["OwnEvents"]

WAITING: Final = 1_000
"""How many events wait for a commit at most; of more, the newest are recorded."""

MAX_BYTES: Final = 4_096
"""How many bytes of JSON are recorded of an event; of one with more, no JSON is."""

MAX_TYPE: Final = 200
"""How many characters of its type are recorded."""


class OwnEvents:
    """A queue that publishers append to, in any thread, and that is emptied before each commit.

    In a forked child it is empty: the parent records what was published before.
    """

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque(maxlen=WAITING)
        self._overflown = self._reported = False
        # The classes of events of which one could not be encoded, so that each is logged once.
        self._failed: set[type[Event]] = set()
        forks.watch(self)

    def append(self, event: Event) -> None:
        """Add an event; if too many wait, the oldest is left out."""
        waiting = self._waiting
        if len(waiting) == WAITING:
            self._overflown = True
        waiting.append(event)

    def encoded(self) -> Iterator[bytes]:
        """Take all events that wait, and yield the record of each.

        One that cannot be encoded is left out, and that is logged.
        """
        if self._overflown and not self._reported:
            self._reported = True
            get_logger("journal").warning(
                f"More than {WAITING:,} events were published between two commits of the journal: "
                "of these and of later ones, only the newest are recorded."
            )
        # Not those that are published meanwhile: that might never end.
        for _ in range(len(self._waiting)):
            try:
                event = self._waiting.popleft()
            except IndexError:
                # Others have taken them, or left them out.
                return
            try:
                record = _record_of(event)
            except Exception as error:  # noqa: BLE001 - the class is the user's
                self._log(type(event), error)
            else:
                yield record

    def _log(self, kind: type[Event], error: Exception) -> None:
        if kind not in self._failed:
            self._failed.add(kind)
            failure = f"An event of the class {kind.__qualname__} could not be recorded"
            get_logger("journal").error(failure, exc_info=error)

    def before_fork(self) -> None:
        """Do nothing: no lock is held."""

    def after_fork(self, *, child: bool) -> None:
        """Drop, in a child, what the parent records."""
        if child:
            self._waiting = deque(maxlen=WAITING)
            self._overflown = False


def _record_of(event: Event) -> bytes:
    text = event.model_dump_json()
    if len(text.encode()) > MAX_BYTES:
        text = ""
    elif EVENTFLOW_MASK_SECRETS.value():
        given = from_json(text)
        masked = _masked(given)
        text = text if masked == given else to_json(masked).decode()
    kind = str(event.type)[:MAX_TYPE]
    # One without a time zone is in local time.
    occurred = micros(event.occurred.astimezone(UTC))

    return pack("E", [event.id.hex, kind, occurred, text])


def _masked(value: Any) -> Any:
    """Mask what is called like a secret, and the credentials of URLs."""
    if isinstance(value, dict):
        return {
            key: MASK if is_secret_name(key) and is_secret_value(each) else _masked(each)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_masked(each) for each in value]

    return masked_text(value) if isinstance(value, str) and has_credentials(value) else value
