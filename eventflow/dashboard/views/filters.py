"""The filters of a page, read from its address, of which every one is a link that lasts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.states import StateType

__all__ = ["Address", "read_address"]

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)

LONGEST: Final = 500
"""How many characters of a value are read."""


@dataclass(frozen=True, slots=True)
class Address:
    """A path and what its query asks for; what it cannot be is listed in `problems`."""

    path: str
    values: tuple[tuple[str, str], ...] = ()
    problems: list[str] = field(default_factory=list, compare=False)

    def all(self, name: str) -> list[str]:
        """Return the values of a name."""
        return [text for key, text in self.values if key == name]

    def one(self, name: str) -> str | None:
        """Return the last value of a name, if it has one."""
        return next(reversed(self.all(name)), None)

    def states(self) -> list[StateType]:
        """Return the types of states that are asked for."""
        known = {kind.value.casefold(): kind for kind in StateType}

        return [
            known[text.casefold()]
            for text in self.all("state")
            if text.casefold() in known or self._refuse("state", text, known)
        ]

    def statuses(self) -> list[DeliveryStatus]:
        """Return the statuses of deliveries that are asked for."""
        known = {str(status): status for status in DeliveryStatus}

        return [
            known[text]
            for text in self.all("status")
            if text in known or self._refuse("status", text, known)
        ]

    def id(self, name: str) -> UUID | None:
        """Return an id."""
        text = self.one(name)
        try:
            return None if text is None else UUID(text)
        except ValueError:
            self._refuse(name, text, ["the id of a run"])
            return None

    def moment(self, name: str) -> datetime | None:
        """Return a time; one without a zone is in that of this host."""
        text = self.one(name)
        if text is None:
            return None
        try:
            given = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            given = EARLIEST
        if EARLIEST < given < LATEST:
            return given
        self._refuse(name, text, ["a time such as 2026-03-01T12:30"])

        return None

    def _refuse(self, name: str, text: object, allowed: Iterable[str]) -> bool:
        problem = f"{name} cannot be {text!r}: it may be {', '.join(allowed)}. It is ignored."
        if problem not in self.problems:
            self.problems.append(problem)

        return False

    def __str__(self) -> str:
        return f"{self.path}?{urlencode(self.values)}" if self.values else self.path

    def live(self, mark: str) -> str:
        """Return the address of the stream that tells what has changed since a part was shown."""
        return f"/live{replace(self, values=(*self.values, ('after', mark)))}"

    def with_(self, **changes: Any) -> str:
        """Return the address with other values: None takes one away, a list gives several."""
        kept = [(name, text) for name, text in self.values if name not in changes]
        for name, change in changes.items():
            given: Sequence[Any] = change if isinstance(change, list | tuple) else [change]
            kept += [(name, str(each)) for each in given if each is not None]

        return str(replace(self, values=tuple(kept)))

    def toggled(self, name: str, value: str) -> str:
        """Return the address with a value of a name put in, or taken out."""
        before = self.all(name)
        after = [text for text in before if text.casefold() != value.casefold()]

        return self.with_(**{name: [*after, value] if len(after) == len(before) else after})

    def has(self, name: str, value: str) -> bool:
        """Return whether a value of a name is asked for."""
        return value.casefold() in map(str.casefold, self.all(name))


def read_address(path: str, items: Iterable[tuple[str, str]], known: Iterable[str]) -> Address:
    """Read an address; values that are empty, and names that are not known, are left out."""
    names = set(known)
    # No database has a NUL in a text.
    given = ((name, text.replace("\0", "\ufffd").strip()[:LONGEST]) for name, text in items)

    return Address(path, tuple((name, text) for name, text in given if text and name in names))
