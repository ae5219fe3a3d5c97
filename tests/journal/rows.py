"""Runs for tests of the journal, with values made up, and the records that write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol
from uuid import UUID

from eventflow.hooks.ledger import DeliveryStatus
from eventflow.journal.contract import Fence, Group, Journal
from eventflow.journal.records import Acknowledged, Settled, pack, pack_run, run_hex
from eventflow.journal.rows import OwnerRow, micros
from eventflow.primitives.ids import delivery_id, event_number, id_of, new_number

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = micros(NOW)
SECOND = 1_000_000
HOOK = ("alerts:page", 1)
"""Identity and importability of a hook."""
ENDING = "CFKX"


class Identified(Protocol):
    @property
    def id(self) -> UUID: ...


def a_definition(number: int = 1, **given: Any) -> bytes:
    """Make the record of a definition."""
    facts: dict[str, Any] = {
        "run_type": "task",
        "name": "extract",
        "reference": "etl:extract",
        "version": None,
        "tags": ["prod"],
        "hooks": "",
        "global_hooks": "",
        "retries": 0,
    }

    return pack("D", [number, *(facts | given).values()])


def a_list(*hooks: tuple[str, int]) -> tuple[str, bytes]:
    """Return the id of a list of hooks, and its record."""
    key = sha256(repr(hooks).encode()).hexdigest()[:16]

    return key, pack("L", [key, *hooks])


class ARun:
    """A run for tests: each call of `enter` makes the records of its next transitions.

    The first of them is that of its definition, which is made of `definition`.
    """

    def __init__(
        self,
        *,
        id: int | None = None,
        parent: ARun | None = None,
        created: datetime = NOW,
        number: int = 1,
        named: str = "",
        facts: str = '[[{"url":"x"}]]',
        **definition: Any,
    ) -> None:
        self.number = new_number() if id is None else id
        self.parent = parent
        self.created = micros(created)
        self.definition = number
        self.named = named
        self.facts = facts
        self.described = a_definition(number, **definition)
        self.sequence = -1
        self.hooks: Sequence[tuple[str, int]] = ()

    @property
    def id(self) -> UUID:
        return id_of(self.number)

    def at(self, sequence: int | None = None) -> int:
        """Return when it made a transition, by default the last one: one each second."""
        return self.created + (self.sequence if sequence is None else sequence) * SECOND

    def moment(self, sequence: int | None = None) -> datetime:
        return NOW + timedelta(microseconds=self.at(sequence) - AT)

    def enter(
        self,
        states: str,
        *hooks: tuple[str, int],
        done: int = 0,
        begun: int | None = None,
        ended: int | None = None,
        events: str | None = None,
        listed: str | None = None,
        **record: Any,
    ) -> bytes:
        """Make the records of the next transitions, each a letter; the last is owed to hooks."""
        first, self.sequence = self.sequence + 1, self.sequence + len(states)
        self.hooks = hooks
        key, list_record = a_list(*hooks) if hooks else ("", b"")
        last = states[-1:]
        if events is None:
            events = "".join(
                f"{letter}{self.at(first + place) - self.created}"
                for place, letter in enumerate(states)
            )
            events = (f"!{first}\n" if first else "") + events
        if ended is None:
            ended = self.at() if last in ENDING else 0
        values: dict[str, Any] = {
            "run": self.number,
            "parent": self.parent.number if self.parent else 0,
            "number": self.definition,
            "created": self.created,
            "first": first,
            "last": self.sequence,
            "ended": ended,
            "state": last.encode(),
            "name": self.named.encode(),
            "facts": self.facts.encode(),
            "events": (events + (f"@{listed or key}" if hooks or listed else "")).encode(),
            "owed": len(hooks),
            "at": self.at(),
        }
        made = bytearray(pack_run(**values | record))
        if hooks:
            made[14] = max(done, min(1, len(hooks))) if begun is None else begun
            made[15] = done

        return self.described + list_record + bytes(made)

    def acknowledge(self, begun: int, done: int, at: int = AT) -> bytes:
        """Make the record of how far the hooks are that its last transition is owed to."""
        owed = len(self.hooks)

        return pack("A", Acknowledged(run_hex(self.number), self.sequence, owed, begun, done, at))

    def settled(
        self,
        status: DeliveryStatus,
        attempts: int = 1,
        *,
        ordinal: int = 0,
        sequence: int | None = None,
        updated: int = AT,
        **given: Any,
    ) -> Settled:
        """Return the status of the delivery of a transition, by default the last one."""
        hook = self.hooks[ordinal] if ordinal < len(self.hooks) else HOOK
        place = (self.sequence if sequence is None else sequence, ordinal)

        return Settled(run_hex(self.number), *place, *hook, str(status), attempts, updated, **given)

    def settle(self, status: DeliveryStatus, attempts: int = 1, **given: Any) -> bytes:
        """Make the record of that."""
        return pack("S", self.settled(status, attempts, **given))

    def event_id(self, sequence: int | None = None) -> UUID:
        return id_of(event_number(self.number, self.sequence if sequence is None else sequence))

    def delivery_id(self, ordinal: int = 0, sequence: int | None = None) -> UUID:
        return delivery_id(self.number, self.sequence if sequence is None else sequence, ordinal)


def commit(
    journal: Journal, *records: bytes, owner: str = "owner", fence: Fence | None = None
) -> None:
    """Commit records as one group, as those of an owner."""
    journal.commit(Group.read(b"".join(records)), owner if fence is None else fence.owner, fence)


def own_event(
    at: int = AT - SECOND, text: str = "{}", kind: str = "my.order", key: int | None = None
) -> bytes:
    """Make the record of a user's own event; by default of one before all runs."""
    number = new_number() if key is None else key

    return pack("E", [run_hex(number), kind, at, text])


def forget(journal: Journal) -> None:
    """Delete all but the last group from the feed, as if more than an hour had passed."""
    for _ in range(2):
        commit(journal, own_event())
    text = "DELETE FROM @feed WHERE place < (SELECT max(place) FROM @feed)"
    journal.transact(lambda session: session.run(text))  # type: ignore[attr-defined]
    assert not journal.keeps(NOW - timedelta(days=9_999))


def a_begun_run(**given: Any) -> tuple[ARun, bytes]:
    """Make a run in its first state, and its records."""
    run = ARun(**given)

    return run, run.enter("P")


def a_completed_run(
    *hooks: tuple[str, int], done: int | None = None, **given: Any
) -> tuple[ARun, bytes]:
    """Make a run that has completed, and its records; all hooks are done unless said."""
    run = ARun(**given)

    return run, run.enter("PRC", *hooks, done=len(hooks) if done is None else done)


def an_owner(id: str = "owner", **given: Any) -> OwnerRow:
    """Make an owner."""
    made = OwnerRow(
        id=id,
        host="host-1",
        boot="boot-1",
        pid=4711,
        started=NOW,
        main_file="/srv/etl.py",
        main_module=None,
        argv=("etl.py", "--day", "1"),
        cwd="/srv",
        sys_path=("/srv", "/usr/lib/python3"),
    )

    return made._replace(**given)


def ids(rows: Iterable[Identified]) -> list[UUID]:
    """Return the ids of rows."""
    return [row.id for row in rows]
